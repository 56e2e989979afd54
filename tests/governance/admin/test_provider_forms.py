"""Providers in the admin: each kind's inputs, their checks in sentences, health, and who may see what."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from governance.models import AuditEntry, Provider, ProviderCredential
from tests.governance.admin.conftest import Tenant, sign_in
from tests.governance.provider_world import dead, process, provider, tell

ADD = reverse("admin:governance_provider_add")
LIST = reverse("admin:governance_provider_changelist")
SERVICE_ACCOUNT = '{"client_email": "a@b.test", "private_key": "x", "token_uri": "https://t.test"}'


def page(made: Provider) -> str:
    return reverse("admin:governance_provider_change", args=[made.pk])


def form(**values: str) -> dict[str, str]:
    return {
        "name": "one", "kind": "anthropic", "base_url": "", "region": "", "project": "", "rank": "0", "is_active": "on",
        "model_map": "", "credentials-TOTAL_FORMS": "0", "credentials-INITIAL_FORMS": "0", **values,
    }  # fmt: skip


def with_credential(number: int = 0, **values: str) -> dict[str, str]:
    filled = {"name": "main", "method": "api_key", "weight": "1", "is_active": "on", "new_secret": "", **values}
    return {
        "credentials-TOTAL_FORMS": str(number + 1),
        **{f"credentials-{number}-{name}": value for name, value in filled.items()},
    }


def said(answer: Any) -> str:
    assert answer.status_code == 200, "it was saved"
    return str(answer.content.decode())


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"kind": "bedrock"}, "Amazon Bedrock is called in a region: name it, for example eu-central-1."),
        ({"kind": "vertex", "region": "global"}, "Google Vertex AI is called in a project"),
        ({"kind": "foundry"}, "Microsoft Foundry has no address of its own: give the one to call."),
        ({"kind": "azure_openai"}, "Azure OpenAI has no address of its own"),
        ({"kind": "compatible"}, "has no address of its own"),
        ({"kind": "bedrock", "region": "Frankfurt am Main"}, "is not a region"),
        ({"model_map": "claude-opus-*"}, "“claude-opus-*” is no pair"),
        ({"kind": "openai", "option_efforts": "a -> b -> c"}, "is not one pattern of models"),
        ({"kind": "gemini", "option_max_output_tokens": "0"}, "greater than or equal to 1"),
        (with_credential(method="aws_default"), "Anthropic API does not take"),
        (with_credential(name="second"), "Give the secret, or name the environment variable"),
        (
            {"kind": "bedrock", "region": "eu-west-1", **with_credential(method="aws_role")},
            "Give the role&#x27;s ARN",
        ),
        (
            {"kind": "bedrock", "region": "eu-west-1", **with_credential(method="aws_static", identifier="AKIA")},
            "Give the secret, or name the environment variable",
        ),
        ({"kind": "bedrock", "region": "eu-west-1", "option_inference_prefix": "europe"}, "inference_prefix is one of"),
        ({"base_url": "https://api.anthropic.com/v1"}, "Leave /v1 out: https://api.anthropic.com."),
        ({"kind": "simulated", **with_credential(new_secret="x")}, "needs none: leave the credential out."),
        (
            {"kind": "bedrock", "region": "eu-west-1", **with_credential(method="aws_default", new_secret="x")},
            "has no secret of its own: leave it empty.",
        ),
        (
            {
                "kind": "vertex", "region": "global", "project": "p",
                **with_credential(method="google_service_account", new_secret="x"),
            },
            "That is no key of a service account",
        ),
        (with_credential(new_secret="x", concurrent="0"), "greater than or equal to 1"),
    ],
)  # fmt: skip
def test_what_is_missing_or_wrong_is_said(root: Client, values: dict[str, str], sentence: str) -> None:
    assert sentence in said(root.post(ADD, form(**values)))
    assert not Provider.objects.exists()


def test_settings_have_inputs_of_their_own_and_no_json(root: Client) -> None:
    values = {
        "kind": "bedrock", "region": "eu-central-1", "model_map": "claude-opus-* -> my-profile",
        "option_inference_prefix": '""', "option_unsupported_betas": "one-beta\ntwo-beta",
        "option_max_tokens_field": "left over from another kind",
        **with_credential(method="aws_role", identifier="arn:aws:iam::1:role/x", requests_per_minute="60"),
    }  # fmt: skip
    assert root.post(ADD, form(**values)).status_code == 302
    made = Provider.objects.get()
    assert made.model_map == {"claude-opus-*": "my-profile"}
    assert made.options == {"inference_prefix": "", "unsupported_betas": ["one-beta", "two-beta"]}
    role = ProviderCredential.objects.get()
    assert (role.method, role.requests_per_minute, role.concurrent) == ("aws_role", 60, None)
    html = said(root.get(page(made)))
    assert "claude-opus-* -&gt; my-profile" in html
    assert "one-beta\ntwo-beta" in html
    changed = values | {
        "option_unsupported_betas": "", "option_inference_prefix": "eu", "credentials-INITIAL_FORMS": "1",
        "credentials-0-id": str(role.pk), "credentials-0-provider": str(made.pk),
    }  # fmt: skip
    assert root.post(page(made), form(**changed)).status_code == 302
    made.refresh_from_db()
    assert made.options == {"inference_prefix": "eu"}
    (entry,) = AuditEntry.objects.filter(action="provider.changed")
    assert list(entry.changes) == ["options"]


@pytest.mark.parametrize(
    ("typed", "efforts"),
    [
        ("low, high", ["low", "high"]),
        ("gpt-oss* -> low, high\n* ->", {"gpt-oss*": ["low", "high"], "*": []}),
    ],
)
def test_lists_by_pattern_and_numbers_go_in_and_come_out(root: Client, typed: str, efforts: Any) -> None:
    values = {"kind": "openai", "option_efforts": typed, "option_max_description_characters": "1024"}
    assert root.post(ADD, form(**values)).status_code == 302
    made = Provider.objects.get()
    assert made.options == {"efforts": efforts, "max_description_characters": 1024}
    assert typed.replace(">", "&gt;") in said(root.get(page(made)))
    assert root.post(page(made), form(**values)).status_code == 302
    assert not AuditEntry.objects.filter(action="provider.changed").exists(), "nothing changed"


def test_what_the_kind_hides_does_not_count(root: Client) -> None:
    assert root.post(ADD, form(region="eu-central-1", project="p")).status_code == 302
    assert Provider.objects.values_list("region", "project").get() == ("", "")


def test_only_the_methods_of_the_kind_are_offered(root: Client) -> None:
    made = provider("vertex", kind="vertex", region="global", project="p")
    html = said(root.get(page(made)))
    assert 'value="google_service_account"' in html
    assert 'value="aws_static"' not in html


def test_a_service_accounts_key_goes_in(root: Client) -> None:
    values = with_credential(method="google_service_account", new_secret=SERVICE_ACCOUNT)
    assert root.post(ADD, form(kind="vertex", region="global", project="p", **values)).status_code == 302
    assert SERVICE_ACCOUNT not in said(root.get(page(Provider.objects.get())))


def test_health_is_on_the_list_and_the_page(root: Client) -> None:
    made, quiet = provider(), provider("quiet")
    provider("switched off", is_active=False)
    since = datetime.now(UTC) - timedelta(minutes=3, seconds=30)
    tell(
        process(), made, "down", dead(since), why="main: rejected with 401", since=since, requests=40, failures=4,
        ttft_ms=850, last_error="rejected the credential (401)", last_error_at=since,
    )  # fmt: skip
    html = said(root.get(LIST))
    for words in ("Down", "for 3 min: main: rejected with 401", "10.0%", "of 40", "0.85 s", "Rejected", "Off"):
        assert words in html, words
    assert "no running gateway process tells of it" in html
    html = said(root.get(page(made)))
    for words in (
        "Left alone for 3 min, unless nothing else can be asked: main: rejected with 401.",
        "rejected with 401 at 12:00:00 UTC", "rejected the credential (401)", "4 of 40 (10.0%)",
    ):  # fmt: skip
        assert words in html, words
    assert "No running gateway process tells of it." in said(root.get(page(quiet)))


def test_who_only_reads_sees_models_settings_and_health(acme: Tenant) -> None:
    options = {"inference_prefix": "", "unsupported_betas": ["x"]}
    made = provider("b", kind="bedrock", region="eu-west-1", model_map={"a-*": "b"}, options=options)
    auditor = sign_in("audrey", role="Auditor", customer=acme.customer)
    html = said(auditor.get(page(made)))
    for words in ("a-* → b", "inference prefix: none; unsupported betas: x", "Not known"):
        assert words in html, words
    test_page = reverse("provider_test", args=[made.pk])
    assert test_page not in html
    assert auditor.post(test_page).status_code == 403
