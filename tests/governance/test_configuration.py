"""Configuration as code: a file to rows and back, by name, all or nothing."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, get_args

import pytest
import yaml
from django.core.management import CommandError, call_command
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from governance.configuration import ConfigurationError, apply, export, parse
from governance.configuration.schema import Budget as SaidBudget
from governance.configuration.schema import Kind, Method
from governance.domain.keys import make_secret, parse_secret
from governance.domain.provider_kinds import KINDS, METHODS
from governance.models import (
    AuditEntry,
    Budget,
    ConfigurationVersion,
    Customer,
    Developer,
    Project,
    Provider,
    ProviderAccess,
    ProviderCredential,
    RateLimit,
    Team,
    VirtualKey,
)
from governance.services.keys import revoke_key

EXAMPLE = """
providers:
  - {name: anthropic, kind: anthropic, base_url: https://api.anthropic.com, credentials: [{name: main, secret_env: ANTHROPIC_API_KEY, weight: 1}]}
customers:
  - name: Acme
    timezone: Europe/Berlin
    budgets: [{limit_usd: 5000, period: month, enforcement: stop, alerts: [50, 80, 95, 100]}]
    teams:
      - name: Core
        cost_center: CC-100
        budgets: [{limit_usd: 1000, period: month, models: ["claude-opus-*"], enforcement: hard}]
        rate_limits: [{requests: 600, per: minute}, {tokens: 2000000, per: minute}, {concurrent: 50}]
        keys:
          - {name: ada-laptop, developer: ada@acme.test, secret_env: ADA_KEY, budgets: [{limit_usd: 30, period: day}], providers: [{name: anthropic, models: ["claude-*"], weight: 1}]}
projects: [{customer: Acme, name: billing, budgets: []}]
routes: []
"""  # noqa: E501  (the contract's own lines)
SECRET = make_secret()
ENVIRON = {"ANTHROPIC_API_KEY": "sk-ant-api03-" + "x" * 40, "ADA_KEY": str(SECRET)}

pytestmark = pytest.mark.django_db


def problems(text: str, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        apply(parse(text), environ=ENVIRON if environ is None else environ)
    return list(refused.value.problems)


class TestApply:
    def test_the_contract_example(self) -> None:
        outcome = apply(parse(EXAMPLE), environ=ENVIRON)

        core = Team.objects.get(customer__name="Acme", name="Core")
        assert (core.customer.timezone, core.cost_center) == ("Europe/Berlin", "CC-100")
        key = core.keys.get()
        assert (key.name, key.developer.email, key.developer.team) == ("ada-laptop", "ada@acme.test", core)
        assert key.secrets.get().public_id == SECRET.public_id
        assert outcome.secrets == {}
        access = key.accesses.get()
        assert (access.provider.name, access.model_patterns, access.weight) == ("anthropic", ["claude-*"], 1.0)
        budgets = {(b.scope, b.period): b for b in Budget.objects.all()}
        assert budgets["customer", "month"].alerts == [50, 80, 95, 100]
        assert budgets["team", "month"].model_patterns == ["claude-opus-*"]
        assert budgets["team", "month"].enforcement == "hard"
        assert budgets["virtual_key", "day"].limit_nano_usd == 30_000_000_000
        assert {(r.unit, r.limit, r.per) for r in RateLimit.objects.all()} == {
            ("requests", 600, "minute"),
            ("tokens", 2_000_000, "minute"),
            ("concurrent", 50, ""),
        }
        assert Project.objects.get().name == "billing"
        credential = Provider.objects.get().credentials.get()
        assert credential.secret_env == "ANTHROPIC_API_KEY"
        assert credential._meta.get_field("secret").reveal(credential) == ENVIRON["ANTHROPIC_API_KEY"]
        assert all(line.startswith("+ ") for line in outcome.lines)
        assert outcome.created == len(outcome.lines) == 14

    def test_again_changes_nothing_and_leaves_no_trace(self) -> None:
        apply(parse(EXAMPLE), environ=ENVIRON)
        entries, version = AuditEntry.objects.count(), ConfigurationVersion.objects.get().version

        outcome = apply(parse(EXAMPLE), environ=ENVIRON)

        assert (outcome.created, outcome.changed, outcome.unchanged) == (0, 0, 13)
        assert all(line.startswith("= ") for line in outcome.lines)
        assert AuditEntry.objects.count() == entries
        assert ConfigurationVersion.objects.get().version == version

    def test_a_change_shows_old_and_new_and_is_audited(self) -> None:
        apply(parse(EXAMPLE), environ=ENVIRON)
        changed = EXAMPLE.replace("CC-100", "CC-200").replace("limit_usd: 5000", "limit_usd: 5000.5")

        outcome = apply(parse(changed), environ=ENVIRON)

        assert [line for line in outcome.lines if not line.startswith("=")] == [
            "~ budget of customer Acme, per month, $5,000.50: limit_usd 5000 → 5000.5",
            "~ team Acme/Core: cost_center CC-100 → CC-200",
        ]
        entry = AuditEntry.objects.get(action="team.changed")
        assert (entry.actor_name, entry.changes) == ("manage.py apply", {"cost_center": ["CC-100", "CC-200"]})

    def test_what_is_not_named_stays(self) -> None:
        apply(parse(EXAMPLE), environ=ENVIRON)

        outcome = apply(parse("customers: [{name: ACME, contact: finance@acme.test}]"), environ={})

        customer = Customer.objects.get()
        assert (customer.name, customer.contact, customer.timezone) == ("ACME", "finance@acme.test", "Europe/Berlin")
        assert Budget.objects.count() == 3
        assert outcome.lines == ["~ customer ACME: name Acme → ACME, contact (none) → finance@acme.test"]
        assert "Nothing was deleted" in outcome.summary()

    def test_a_dry_run_says_the_same_and_writes_nothing(self) -> None:
        planned = apply(parse(EXAMPLE), environ=ENVIRON, dry_run=True)

        assert not Customer.objects.exists()
        assert not AuditEntry.objects.exists()
        assert planned.lines == apply(parse(EXAMPLE), environ=ENVIRON).lines

    def test_all_or_nothing(self) -> None:
        text = EXAMPLE.replace("{concurrent: 50}", "{concurrent: 50, per: minute}")

        assert problems(text) == [
            "customers[0].teams[0].rate_limits[2].per: leave the period out: concurrent has none."
        ]
        assert not Customer.objects.exists()
        assert not Provider.objects.exists()

    def test_budgets_are_known_by_target_period_rolling_and_models(self) -> None:
        text = """
        customers:
          - name: Acme
            budgets:
              - {limit_usd: 1, period: month}
              - {limit_usd: 2, period: month, rolling: 3}
              - {limit_usd: 3, period: month, models: [claude-opus-*, claude-sonnet-*]}
              - {limit_usd: 4, period: week, week_start: sunday, timezone: Asia/Tokyo, name: Weekly, active: false}
              - {limit_usd: 5, period: quarter, fiscal_start_month: 4, enforcement: observe}
        """
        apply(parse(text))
        again = text.replace("[claude-opus-*, claude-sonnet-*]", "[claude-sonnet-*, claude-opus-*]")

        outcome = apply(parse(again.replace("limit_usd: 2,", "limit_usd: 20,")))

        assert Budget.objects.count() == 5
        assert (outcome.created, outcome.changed) == (0, 1)
        weekly = Budget.objects.get(name="Weekly")
        assert (weekly.week_start, weekly.timezone, weekly.is_active) == (6, "Asia/Tokyo", False)

    def test_two_budgets_alike_are_matched_in_order(self) -> None:
        text = "customers: [{name: A, budgets: [{limit_usd: 1}, {limit_usd: 2}]}]"
        apply(parse(text))

        outcome = apply(parse(text.replace("limit_usd: 2", "limit_usd: 3")))

        assert [b.limit_nano_usd for b in Budget.objects.order_by("pk")] == [1_000_000_000, 3_000_000_000]
        assert outcome.changed == 1

    def test_budgets_on_every_scope(self) -> None:
        one = "budgets: [{limit_usd: 1}]"
        apply(
            parse(f"""
            providers: [{{name: sim, kind: simulated}}]
            customers:
              - name: A
                {one}
                teams: [{{name: T, {one}, keys: [{{name: k, {one}, providers: [{{name: sim, {one}}}]}}]}}]
                developers: [{{email: d@a.test, team: T, {one}}}]
            projects: [{{customer: A, name: P, {one}}}]
            """)
        )
        assert {b.scope for b in Budget.objects.all()} == set(Budget.Scope.values)

    def test_a_credential_keeps_a_sealed_copy_that_follows_its_variable(self) -> None:
        text = parse(EXAMPLE)
        apply(text, environ=ENVIRON)

        outcome = apply(text, environ=ENVIRON | {"ANTHROPIC_API_KEY": "sk-ant-other"})

        assert [line for line in outcome.lines if not line.startswith("=")] == [
            "~ credential anthropic/main: secret (set) → (new value)"
        ]
        credential = Provider.objects.get().credentials.get()
        assert credential._meta.get_field("secret").reveal(credential) == "sk-ant-other"
        assert "sk-ant-other" not in str(AuditEntry.objects.values_list())

    def test_a_copy_under_a_lost_encryption_key_is_replaced(self) -> None:
        apply(parse(EXAMPLE), environ=ENVIRON)
        credential = Provider.objects.get().credentials.get()
        credential.secret = "lost:AAAA"
        credential.save()

        assert apply(parse(EXAMPLE), environ=ENVIRON).changed == 1

        credential.refresh_from_db()
        assert credential._meta.get_field("secret").reveal(credential) == ENVIRON["ANTHROPIC_API_KEY"]


class TestKeys:
    TEXT = "customers: [{name: A, teams: [{name: T, keys: [{name: k%s}]}]}]"

    def test_a_random_secret_is_made_once(self) -> None:
        first = apply(parse(self.TEXT % ""))
        again = apply(parse(self.TEXT % ""))

        assert list(first.secrets) == ["A/T/k"]
        assert VirtualKey.objects.get().secrets.get().public_id == first.secrets["A/T/k"].public_id
        assert again.secrets == {}

    def test_a_dry_run_makes_none_that_works(self) -> None:
        apply(parse(self.TEXT % ""), dry_run=True)
        assert not VirtualKey.objects.exists()

    def test_a_new_secret_in_the_variable_rotates(self) -> None:
        text = parse(self.TEXT % ", secret_env: K")
        new = make_secret()
        apply(text, environ={"K": str(SECRET)})

        outcome = apply(text, environ={"K": str(new)})

        old, fresh = VirtualKey.objects.get().secrets.order_by("pk")
        assert (old.public_id, fresh.public_id) == (SECRET.public_id, new.public_id)
        assert timedelta(hours=23) < old.valid_until - timezone.now() < timedelta(hours=25)
        assert fresh.valid_until is None
        assert "rotated" in outcome.lines[-1]
        assert str(new) not in "\n".join(outcome.lines)

    def test_a_revoked_key_stays_revoked(self) -> None:
        apply(parse(self.TEXT % ""))
        revoke_key(key=VirtualKey.objects.get(), reason="lost", actor=None)

        outcome = apply(parse(self.TEXT % ", models: [claude-opus-5-5]"))

        key = VirtualKey.objects.get()
        assert key.revoked_at is not None
        assert key.model_patterns == []
        assert "was revoked" in outcome.lines[-1]
        assert "keys: []" in export()

    def test_every_field(self) -> None:
        text = """
        customers:
          - name: A
            teams:
              - name: T
                keys:
                  - name: k
                    project: P
                    models: [claude-haiku-5-5]
                    allowed_ips: [10.0.0.0/8]
                    content_policy: "on"
                    expires_at: 2099-01-31T00:00:00+01:00
        projects: [{customer: A, name: P, team: T, directories: ["*/p"]}]
        """
        apply(parse(text))
        key = VirtualKey.objects.get()
        assert key.expires_at == datetime(2099, 1, 30, 23, tzinfo=UTC)
        assert (key.project.name, key.allowed_ips, key.content_policy) == ("P", ["10.0.0.0/8"], "on")
        assert apply(parse(text)).changed == 0

        apply(parse(text.replace("2099-01-31T00:00:00+01:00", "never")))

        assert VirtualKey.objects.get().expires_at is None

    def test_a_developer_is_made_at_the_first_mention_only(self) -> None:
        text = "customers: [{name: A, teams: [{name: T, keys: [{name: k, developer: Ada@a.test}, {name: l, developer: ada@A.test}]}]}]"  # noqa: E501
        outcome = apply(parse(text))
        assert Developer.objects.count() == 1
        assert sum("developer A/" in line for line in outcome.lines) == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("routes: [{when: x}]", "routes[0].name: is missing."),
        (
            "providers: [{name: b, kind: bedrok}]",
            "providers[0].kind: must be one of anthropic, bedrock, vertex, foundry, compatible, openai, azure_openai, "
            "gemini, simulated, not 'bedrok'.",
        ),
        (
            "providers: [{name: b, kind: bedrock}]",
            "providers[0].region: Amazon Bedrock is called in a region: name it, for example eu-central-1.",
        ),
        (
            "providers: [{name: f, kind: foundry}]",
            "providers[0].base_url: Microsoft Foundry has no address of its own: give the one to call.",
        ),
        (
            "providers: [{name: a, models: {claude-*: a b}}]",
            "providers[0].models: 'a b' is not a model id: 1 to 200 characters without spaces.",
        ),
        (
            "providers: [{name: o, kind: openai, options: {region: x}}]",
            "providers[0].options: 'region' is no setting of OpenAI or compatible (OpenRouter, vLLM, Ollama). "
            "It takes api, max_tokens_field, max_output_tokens, efforts, effort_with_tools, reasoning_field, "
            "system_role, late_system_role, unsupported_fields, max_description_characters.",
        ),
        (
            "providers: [{name: g, kind: gemini, options: {region: x}}]",
            "providers[0].options: 'region' is no setting of Google Gemini API. It takes max_output_tokens.",
        ),
        (
            "providers: [{name: g, kind: gemini, options: {max_output_tokens: many}}]",
            "providers[0].options: max_output_tokens is a whole number above zero.",
        ),
        (
            "providers: [{name: o, kind: openai, options: {efforts: {gpt-*: low}}}]",
            "providers[0].options: efforts is a list of none, minimal, low, medium, high, xhigh, max, or such "
            "lists by pattern of models.",
        ),
        (
            "providers: [{name: a, credentials: [{name: c, method: aws_default}]}]",
            "providers[0].credentials[0].method: Anthropic API does not take “AWS: the environment's own role or "
            "variables”. It takes: API key.",
        ),
        (
            "providers: [{name: b, kind: bedrock, region: eu-west-1, credentials: [{name: c, method: aws_role}]}]",
            "providers[0].credentials[0].identifier: Give the role's ARN: “AWS: role to assume (its ARN here)” "
            "needs it.",
        ),
        ("customers: [{name: 12}]", 'customers[0].name: must be text, not 12. Put it in quotes: "…".'),
        ("customers: [{nme: A}]", "customers[0].name: is missing."),
        (
            "customers: [{name: A, teams: [{name: T, keys: [{name: k, budgets: [{limit_usd: lots}]}]}]}]",
            "customers[0].teams[0].keys[0].budgets[0].limit_usd: must be a number, not 'lots'.",
        ),
        (
            "customers: [{name: A, budgets: [{limit_usd: 0.0000000001}]}]",
            "customers[0].budgets[0].limit_usd: 1E-10 USD is finer than a nano-dollar (nine decimals).",
        ),
        (
            "customers: [{name: A, budgets: [{limit_usd: -1}]}]",
            "customers[0].budgets[0]: The limit must not be negative.",
        ),
        (
            "customers: [{name: A, budgets: [{limit_usd: 1, period: lifetime, rolling: 2}]}]",
            "customers[0].budgets[0]: A lifetime budget does not roll.",
        ),
        (
            "customers: [{name: A, timezone: Mars/Phobos}]",
            "customers[0].timezone: 'Mars/Phobos' is not a time zone. Use a name such as Europe/Berlin or UTC.",
        ),
        (
            "customers: [{name: A, teams: [{name: T, keys: [{name: k, models: ['a b']}]}]}]",
            "customers[0].teams[0].keys[0].models: 'a b' is not a model id or a pattern such as claude-opus-*.",
        ),
        (
            "customers: [{name: A, teams: [{name: T, keys: [{name: k, secret_env: NONE}]}]}]",
            "customers[0].teams[0].keys[0].secret_env: the environment variable NONE is not set here.",
        ),
        (
            "providers: [{name: a, credentials: [{name: main, secret_env: NONE}]}]",
            "providers[0].credentials[0].secret_env: the environment variable NONE is not set here.",
        ),
        (
            "customers: [{name: A, teams: [{name: T, keys: [{name: k, expires_at: 2099-01-01}]}]}]",
            "customers[0].teams[0].keys[0].expires_at: '2099-01-01' is not a moment with a time zone. "
            "Write 2027-01-31T00:00:00+01:00, or never.",
        ),
        (
            "customers: [{name: A, teams: [{name: T, keys: [{name: k, expires_at: '2001-01-01T00:00:00Z'}]}]}]",
            "customers[0].teams[0].keys[0].expires_at: This moment is past; the key would never work.",
        ),
        (
            "customers: [{name: A, teams: [{name: T, keys: [{name: k, project: p}]}]}]",
            "customers[0].teams[0].keys[0].project: A has no project 'p'.",
        ),
        (
            "customers: [{name: A, teams: [{name: T, keys: [{name: k, providers: [{name: p}]}]}]}]",
            "customers[0].teams[0].keys[0].providers[0].name: there is no provider 'p'. Known: none.",
        ),
        ("projects: [{customer: Z, name: p}]", "projects[0].customer: there is no customer 'Z'."),
        ("customers: [{name: A}, {name: a}]", "customers[1]: is the same customer as customers[0]. Keep one of them."),
        (
            "customers: [{name: A, rate_limits: [{requests: 1, tokens: 1, per: hour}]}]",
            "customers[0].rate_limits[0]: name exactly one of requests, tokens and concurrent.",
        ),
        (
            "customers: [{name: A, rate_limits: [{requests: 1}]}]",
            "customers[0].rate_limits[0].per: requests need a period.",
        ),
        ("customers: [{name: A, name: B}]", "Line 1: name is said twice in one place."),
        ("- A", "The file: must be a mapping of providers, customers, projects, routes, complexity_weights."),
    ],
)
def test_every_mistake_names_its_place(text: str, sentence: str) -> None:
    assert sentence in problems(text)


def test_an_unknown_field_is_refused_with_the_known_ones() -> None:
    (sentence,) = problems("customers: [{name: A, teams: [{name: T, budget: 3}]}]")
    assert sentence.startswith("customers[0].teams[0].budget: no such field. Known here: ")
    assert {"name", "cost_center", "budgets", "keys"} <= set(sentence.partition("here: ")[2].rstrip(".").split(", "))


def test_a_virtual_key_variable_must_hold_a_virtual_key() -> None:
    text = "customers: [{name: A, teams: [{name: T, keys: [{name: k, secret_env: K}]}]}]"
    (sentence,) = problems(text, {"K": "sk-ant-hunter2"})
    assert sentence.startswith("customers[0].teams[0].keys[0].secret_env: K does not hold a virtual key")
    assert "hunter2" not in sentence


def test_all_mistakes_of_form_are_told_at_once() -> None:
    assert len(problems("customers: [{name: 1, x: 2, budgets: [{period: eon}]}]\nproviders: 3")) == 5


class TestYaml:
    """Scalars mean what a person reads, not what YAML 1.1 makes of them."""

    @pytest.mark.parametrize("text", ["no", "on", "1:30", "1e3", "0x10", "2027-01-01", "1_000"])
    def test_what_looks_like_a_word_is_text(self, text: str) -> None:
        assert parse(f"customers: [{{name: {text}}}]").customers[0].name == text

    def test_amounts_are_exact(self) -> None:
        (customer,) = parse(
            "customers: [{name: A, budgets: [{limit_usd: 0.1}, {limit_usd: 123456789.123456789}]}]"
        ).customers
        assert [budget.limit_usd for budget in customer.budgets] == [Decimal("0.1"), Decimal("123456789.123456789")]

    @given(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip),
        st.decimals(0, 9_000_000_000, places=9),
    )
    def test_every_name_and_amount_survives_the_dumper(self, name: str, amount: Decimal) -> None:
        from governance.configuration.export import _Dumper

        text = yaml.dump(
            {"customers": [{"name": name, "budgets": [{"limit_usd": amount}]}]}, Dumper=_Dumper, allow_unicode=True
        )

        (customer,) = parse(text).customers

        assert customer.name == name
        assert customer.budgets == [SaidBudget(limit_usd=amount)]


class TestExport:
    def test_applied_again_it_changes_nothing(self) -> None:
        apply(parse(EXAMPLE), environ=ENVIRON)

        outcome = apply(parse(export()), environ={})

        # One more than the file had: the developer, whom it named only at her key.
        assert (outcome.created, outcome.changed, outcome.unchanged) == (0, 0, 14)

    def test_elsewhere_it_makes_the_same(self) -> None:
        text = """
        providers: [{name: sim, rank: 3, credentials: [{name: c, weight: 0.25, active: false}]}]
        customers:
          - name: "no"
            contact: "Finance, ☎ 12: ask"
            unpriced_policy: refuse
            content_policy: allow
            budgets: [{limit_usd: 0.000000001, period: week, week_start: sunday, rolling: 2, alerts: [100]}]
            teams:
              - name: "123"
                active: false
                keys: [{name: k, allowed_ips: ["::1/128"], expires_at: 2099-01-31T00:00:00Z, providers: [{name: sim, weight: 0, rate_limits: [{concurrent: 1}]}]}]
            developers: [{email: a@b.test, name: "null", team: "123", budgets: [{limit_usd: 7, models: ["claude-*"]}]}]
        projects: [{customer: "no", name: "~", directories: ["*/x"], team: "123", rate_limits: [{tokens: 5, per: day, models: [m], active: false}]}]
        """  # noqa: E501
        apply(parse(text))
        first = export()
        for table in (Budget, RateLimit, ProviderAccess, VirtualKey, Developer, Project, Team, Customer, Provider):
            table._base_manager.all().delete()

        apply(parse(first))

        assert export() == first

    PROVIDERS = """
        providers:
          - name: bedrock
            kind: bedrock
            region: eu-central-1
            models: {claude-opus-*: arn:aws:bedrock:eu-central-1:123:application-inference-profile/x}
            options: {inference_prefix: "", unsupported_betas: [one-beta]}
            credentials:
              - {name: role, method: aws_role, identifier: "arn:aws:iam::123:role/x", requests_per_minute: 50, concurrent: 4}
              - {name: own}
              - {name: key, secret_env: BEDROCK_KEY, tokens_per_minute: 100000}
          - {name: vertex, kind: vertex, region: global, project: acme-ai, credentials: [{name: own}]}
        """  # noqa: E501

    def test_what_a_kind_of_provider_needs_goes_in_and_comes_out(self) -> None:
        apply(parse(self.PROVIDERS), environ={"BEDROCK_KEY": "x"})
        first = export()
        bedrock = Provider.objects.get(name="bedrock")
        assert bedrock.options == {"inference_prefix": "", "unsupported_betas": ["one-beta"]}
        methods = {one.name: one.method for one in ProviderCredential.objects.order_by("provider_id", "name")}
        assert methods == {"key": "api_key", "own": "google_default", "role": "aws_role"}
        assert bedrock.credentials.get(name="own").method == "aws_default"
        outcome = apply(parse(first), environ={})
        assert (outcome.created, outcome.changed) == (0, 0)
        Provider.objects.all().delete()
        apply(parse(first), environ={"BEDROCK_KEY": "x"})
        assert export() == first

    def test_a_limit_of_zero_takes_it_away(self) -> None:
        apply(parse(self.PROVIDERS), environ={"BEDROCK_KEY": "x"})
        apply(parse("providers: [{name: bedrock, credentials: [{name: role, concurrent: 0}]}]"))
        role = ProviderCredential.objects.get(name="role")
        assert (role.concurrent, role.requests_per_minute) == (None, 50)

    def test_only_what_needs_a_secret_is_said_to_have_none(self) -> None:
        text = "providers: [{name: v, kind: vertex, region: global, project: p, credentials: [{name: own}]}]"
        assert not [line for line in apply(parse(text)).lines if "no secret" in line]
        text = "providers: [{name: a, credentials: [{name: main}]}]"
        assert [line for line in apply(parse(text)).lines if "a/main has no secret yet" in line]

    def test_the_file_knows_every_kind_and_method(self) -> None:
        assert set(get_args(Kind)) == set(KINDS)
        assert set(get_args(Method)) == set(METHODS)

    LADDER = """
        customers:
          - name: Acme
            emergency_reserve_usd: 250.5
            budgets:
              - limit_usd: 100
                carry_over: true
                owner_email: ada@acme.test
                approver_email: fay@acme.test
                downgrade_at: 80
                downgrade: {claude-opus-*: claude-sonnet-5-5}
                throttle_at: 90
                throttle_concurrent: 3
            rate_limits: [{tokens: 5, per: minute, enforcement: hard}]
        """

    def test_the_ladder_goes_in_and_comes_out(self) -> None:
        outcome = apply(parse(self.LADDER))
        assert any("downgrade {claude-opus-*: claude-sonnet-5-5}" in line for line in outcome.lines), outcome.lines
        assert any("emergency_reserve_usd 250.5" in line for line in outcome.lines), outcome.lines
        budget, customer = Budget.objects.get(), Customer.objects.get()
        assert (budget.downgrade, budget.downgrade_at) == ({"claude-opus-*": "claude-sonnet-5-5"}, 80)
        assert (budget.throttle_at, budget.throttle_concurrent, budget.carry_over) == (90, 3, True)
        assert (budget.owner_email, budget.approver_email) == ("ada@acme.test", "fay@acme.test")
        assert customer.emergency_reserve_nano_usd == 250_500_000_000
        assert RateLimit.objects.get().enforcement == "hard"
        first = export()
        assert yaml.safe_load(first)["customers"][0] == {
            **yaml.safe_load(self.LADDER)["customers"][0],
            "timezone": "UTC",
            "teams": [],
            "budgets": [
                {
                    **yaml.safe_load(self.LADDER)["customers"][0]["budgets"][0],
                    "period": "month",
                    "enforcement": "stop",
                }
            ],
        }
        assert apply(parse(first)).changed == 0
        for table in (Budget, RateLimit, Customer):
            table._base_manager.all().delete()
        apply(parse(first))
        assert export() == first

    def test_a_step_is_taken_away_with_0_and_what_is_left_out_stays(self) -> None:
        apply(parse(self.LADDER))
        text = "customers: [{name: Acme, budgets: [{limit_usd: 100, %s}]}]"
        assert apply(parse(text % "active: true")).changed == 0
        outcome = apply(parse(text % "downgrade_at: 0, downgrade: {}, throttle_at: 0"))
        assert [line for line in outcome.lines if line.startswith("~")] == [
            "~ budget of customer Acme, per month, $100.00: downgrade_at 80 → (none), "
            "downgrade {claude-opus-*: claude-sonnet-5-5} → (none), throttle_at 90 → (none)"
        ]
        said = export()
        assert "downgrade" not in said
        assert "throttle_at" not in said
        assert "carry_over: true" in said

    @pytest.mark.parametrize(
        ("budget", "problem"),
        [
            ("downgrade_at: 80", "downgrade: Say which model takes the place of which"),
            ("downgrade: {a: b}", "downgrade_at: Say from which percentage"),
            ("downgrade: [a]", "downgrade: must be a mapping, not a list."),
            ("downgrade: {a: 5}", "downgrade.a: must be text, not 5."),
            ("throttle_at: 100", "throttle_at: Give a whole percentage from 1 to 99"),
            ("carry_over: yes", "carry_over: must be true or false"),
        ],
    )
    def test_a_ladder_that_makes_no_sense_names_its_place(self, budget: str, problem: str) -> None:
        text = f"customers: [{{name: Acme, budgets: [{{limit_usd: 100, {budget}}}]}}]"
        (told,) = problems(text)
        assert told.startswith(f"customers[0].budgets[0].{problem}")

    def test_no_secret_is_in_it(self) -> None:
        apply(parse(EXAMPLE), environ=ENVIRON)
        text = export()
        assert SECRET.random not in text
        assert ENVIRON["ANTHROPIC_API_KEY"] not in text


class TestCommands:
    @pytest.fixture(autouse=True)
    def _environ(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        for name, value in ENVIRON.items():
            monkeypatch.setenv(name, value)
        return

    def run(self, *arguments: Any) -> str:
        output = io.StringIO()
        call_command(*arguments, stdout=output)
        return output.getvalue()

    def test_apply_prints_the_diff_and_new_secrets_once(self, tmp_path: Any) -> None:
        file = tmp_path / "acme.yaml"
        file.write_text(EXAMPLE.replace("secret_env: ADA_KEY, ", ""))

        planned = self.run("apply", str(file), "--dry-run")
        first = self.run("apply", str(file))
        again = self.run("apply", str(file))

        assert "sk-cmp-" not in planned
        assert "Dry run: nothing was written." in planned
        name, secret = first.splitlines()[-1].split()
        assert name == "Acme/Core/ada-laptop"
        assert parse_secret(secret) is not None
        assert "sk-cmp-" not in again
        assert "0 created, 0 changed, 13 unchanged." in again

    def test_export_config_prints_what_apply_takes(self, tmp_path: Any) -> None:
        file = tmp_path / "acme.yaml"
        file.write_text(EXAMPLE)
        self.run("apply", str(file))
        file.write_text(self.run("export_config"))
        assert "0 created, 0 changed" in self.run("apply", str(file))

    def test_a_file_that_is_wrong_or_missing_is_a_sentence(self, tmp_path: Any) -> None:
        with pytest.raises(CommandError, match="cannot be read"):
            self.run("apply", str(tmp_path / "none.yaml"))
        file = tmp_path / "bad.yaml"
        file.write_text("customers: [{}]")
        with pytest.raises(CommandError, match=r"nothing was written\.\ncustomers\[0\]\.name: is missing\."):
            self.run("apply", str(file))
