"""A dry run: what is counted, what cannot be judged, and figures made by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from ulid import ULID

from governance.models import Customer, Membership, Price, Provider, RoutingRule, Team
from governance.services import routing
from observability.dryrun import DryRun, decided_by, dry_run
from observability.models import Request

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 28, 11, 30, tzinfo=UTC)
OPUS, HAIKU = "claude-opus-5-5", "claude-haiku-5-5"
PAGE = "/admin/routing/dry-run/"


@pytest.fixture
def acme() -> Customer:
    Price.objects.all().delete()
    for model, rates in ((OPUS, ("4", "20", "0.4", "5", "8")), (HAIKU, ("1", "5", "0.1", "1.25", "2"))):
        columns = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
        Price.objects.create(
            model_id=model,
            effective_from=datetime(2026, 1, 1, tzinfo=UTC),
            **dict(zip(columns, map(Decimal, rates), strict=True)),
        )
    return Customer.objects.create(name="Acme", timezone="Europe/Berlin")


@pytest.fixture
def root(acme: Customer) -> User:
    return User.objects.create_superuser("root")


def row(customer: Customer, minutes: int = 0, **values: Any) -> Request:
    at = NOW - timedelta(minutes=minutes)
    return Request.objects.create(
        id=str(ULID()), started_at=at, finished_at=at, customer=customer.name, customer_id=customer.pk,
        **{
            "status": "success", "model_requested": OPUS, "model": OPUS, "input_tokens": 1_000_000,
            "output_tokens": 100_000, "cache_read_tokens": 2_000_000, "cost_nano_usd": 6_800_000_000,
            "attempts": [{"platform": "anthropic"}], **values,
        },
    )  # fmt: skip


def tried(user: User, condition: str = "true", most: int = 100, **values: Any) -> DryRun:
    return dry_run(RoutingRule(name="r", condition=condition, **values), user, most=most)


def test_what_it_would_have_cost_with_the_cache_kept_and_cold(acme: Customer, root: User) -> None:
    row(acme)
    row(acme, 5, model_requested=HAIKU, model=HAIKU, cost_nano_usd=1_700_000_000)
    run = tried(root, 'model.startsWith("claude-opus-")', targets=[{"model": HAIKU}])
    assert (run.looked, run.matched, run.unjudged, run.failed) == (2, 1, 0, 0)
    (line,) = run.lines
    assert (line.model, line.becomes, line.requests, line.now) == (OPUS, HAIKU, 1, 6_800_000_000)
    # 1 × 1.00 + 0.1 × 5.00 + 2 × 0.10, and with the reads written at 1.25.
    assert (run.then, run.cold) == (1_700_000_000, 4_000_000_000)
    assert (run.oldest, run.newest) == (NOW - timedelta(minutes=5), NOW)


def test_targets_share_by_weight_and_what_stays_keeps_its_cache(acme: Customer, root: User) -> None:
    row(acme)
    run = tried(root, targets=[{"model": HAIKU, "weight": 3}, {"model": OPUS}])
    shares = {line.becomes: (line.requests, line.now, line.then, line.cold) for line in run.lines}
    assert shares == {
        HAIKU: (0.75, 5_100_000_000, 1_275_000_000, 3_000_000_000),
        OPUS: (0.25, 1_700_000_000, 1_700_000_000, 1_700_000_000),
    }
    assert run.now == 6_800_000_000


def test_another_provider_has_its_own_prices_and_none_is_marked(acme: Customer, root: User) -> None:
    row(acme)
    vertex = Provider.objects.create(name="vertex", kind="vertex")
    (line,) = tried(root, targets=[{"provider_id": vertex.pk, "provider": "vertex"}]).lines
    assert (line.becomes, line.unpriced) == (f"{OPUS} at vertex", True)
    (line,) = tried(root, targets=[{"provider_id": 999, "provider": "old"}]).lines
    assert line.becomes == f"{OPUS} at a provider that is gone"


def test_a_target_is_priced_by_the_id_that_its_provider_gets(acme: Customer, root: User) -> None:
    row(acme)
    columns = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
    for model, rate in ((f"anthropic.{HAIKU}", "9"), (f"eu.anthropic.{HAIKU}", "1")):
        Price.objects.create(
            platform="bedrock", model_id=model, effective_from=datetime(2026, 1, 1, tzinfo=UTC),
            **dict.fromkeys(columns, Decimal(rate)),
        )  # fmt: skip
    aws = Provider.objects.create(
        name="aws", kind="bedrock", region="eu-central-1", options={"inference_prefix": "eu"},
    )  # fmt: skip
    (line,) = tried(root, targets=[{"provider_id": aws.pk, "provider": "aws", "model": HAIKU}]).lines
    assert (line.unpriced, line.then) == (False, 3_100_000_000)


def test_a_rule_that_changes_nothing_costs_what_it_did(acme: Customer, root: User) -> None:
    aws = Provider.objects.create(name="aws", kind="bedrock", region="eu-central-1")
    row(acme, provider="aws", region="eu-central-1", cost_nano_usd=42, attempts=[{"platform": "bedrock"}])
    for target in ({"model": OPUS}, {"provider_id": aws.pk, "provider": "aws"}):
        run = tried(root, targets=[target])
        assert (run.now, run.then, run.cold) == (42, 42, 42)


def test_a_refusal_and_a_cap(acme: Customer, root: User) -> None:
    row(acme)
    row(acme, 1, output_tokens=10)
    run = tried(root, deny="No.")
    assert (run.denied, run.now, run.then) == (2, 13_600_000_000, 0)
    run = tried(root, max_tokens=1_000)
    assert (run.longer, run.now, run.then, run.cold) == (1, 13_600_000_000, 13_600_000_000, 13_600_000_000)


def test_the_facts_of_a_row(acme: Customer, root: User) -> None:
    row(acme, client="claude-cli/2.1.330", agent_id="a", tags={"task": "docs"}, team="Core", stream=True)
    for condition in (
        'client == "claude-cli" && client_version == "2.1.330" && stream',
        'request_class == "subagent" && team == "Core" && customer == "Acme"',
        '"task" in tags && tags["task"] == "docs"',
        'hour == 12 && weekday == "saturday"',  # in Berlin
        "prompt_tokens == 3000000",
    ):
        assert tried(root, condition).matched == 1, condition


def test_what_the_log_does_not_tell_is_not_judged_unless_it_does_not_matter(acme: Customer, root: User) -> None:
    row(acme)
    row(acme, 1, model_requested=HAIKU, model=HAIKU)
    row(acme, 2, routing={"facts": {"turns": 12, "session": "no fact of the row"}})
    run = tried(root, f'model == "{OPUS}" && turns > 10')
    assert (run.looked, run.matched, run.unjudged, run.unknown) == (3, 1, 1, ("turns",))
    assert tried(root, f'model == "{HAIKU}" || turns > 10').matched == 2
    run = tried(root, 'headers["x-a"] == "b"')
    assert (run.unjudged, run.unknown) == (3, ("headers",))


def test_an_alias_had_put_another_model_in_its_place(acme: Customer, root: User) -> None:
    row(acme, routing={"alias": {"from": OPUS, "to": HAIKU, "pattern": "*"}})
    assert tried(root, f'model == "{HAIKU}"').matched == 1


def test_a_condition_that_fails_says_why(acme: Customer, root: User) -> None:
    row(acme)
    run = tried(root, 'tags["task"] == "docs"')
    assert (run.failed, run.matched, run.reasons) == (1, 0, ('"task" is not there',))


def test_only_the_last_ones_of_those_whom_it_is_for(acme: Customer, root: User) -> None:
    team = Team.objects.create(customer=acme, name="Core")
    globex = Customer.objects.create(name="Globex")
    for minute in range(4):
        row(acme, minute, team_id=team.pk)
    row(globex)
    row(acme, request_class="models")
    assert tried(root).looked == 5
    assert tried(root, most=3).looked == 3
    assert tried(root, scope="team", team=team).looked == 4
    assert tried(root, scope="customer", customer=globex).looked == 1
    charlie = User.objects.create_user("charlie")
    Membership.objects.create(user=charlie, customer=globex)
    assert tried(charlie).looked == 1
    assert tried(charlie, scope="team", team=team).looked == 0


def test_rules_are_counted_by_what_they_decided(acme: Customer) -> None:
    for name in ("a", "a", "b", ""):
        row(acme, route_rule=name)
    assert decided_by(["a", "c"], Request.objects.all()) == {"a": 2}


def test_the_page_of_a_saved_rule_and_of_a_draft(acme: Customer, root: User, client: Client) -> None:
    row(acme)
    rule = routing.create_rule(
        name="r", target=acme, condition="turns > 3 || true", targets=[{"model": HAIKU}], actor=None
    )
    client.force_login(root)
    html = client.get(PAGE, {"rule": rule.pk}).content.decode()
    assert "1 of the last 1 requests match (100.0 %). They cost $6.80 and would have cost $1.70" in html
    draft = {"condition": "turns > 3", "targets": f"{HAIKU} x 2", "most": "1000", "customer": acme.pk}
    html = client.post(PAGE, draft).content.decode()
    assert "None of the last 1 requests match." in html
    assert "The log does not tell" in html
    html = client.post(PAGE, {**draft, "condition": "turns >"}).content.decode()
    assert "Line 1, column 8: it ends too early." in html
    assert RoutingRule.objects.count() == 1
    assert (
        "No requests to look at"
        in client.post(PAGE, {**draft, "customer": Customer.objects.create(name="New").pk}).content.decode()
    )


def test_who_may_not_see_the_rule_or_the_log(acme: Customer, client: Client) -> None:
    rule = routing.create_rule(name="r", target=acme, deny="No.", actor=None)
    user = User.objects.create_user("charlie", is_staff=True)
    Membership.objects.create(user=user, customer=Customer.objects.create(name="Globex"))
    client.force_login(user)
    assert client.get(PAGE).status_code == 403
    for codename in ("view_routingrule", "view_request"):
        user.user_permissions.add(Permission.objects.get(codename=codename))
    assert client.get(PAGE).status_code == 200
    assert client.get(PAGE, {"rule": rule.pk}).status_code == 404
    assert "Acme" not in client.get(PAGE).content.decode()
