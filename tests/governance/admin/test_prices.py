"""Pages of prices: sentences instead of errors, terms, mappings, models without a price, proposals with a date."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from ulid import ULID

from governance.models import AuditEntry, LedgerEntry, ModelAlias, Price, PriceOverride, Repricing
from observability.models import Request
from observability.repricing.services import request_repricing, run_waiting
from tests.governance.admin.conftest import Tenant, sign_in

PRICE = {
    "platform": "anthropic", "model_id": "claude-page", "effective_from_0": "2026-01-01", "effective_from_1": "00:00",
    "input": "4", "output": "20", "cache_read": "0.4", "cache_write_5m": "5", "cache_write_1h": "8", "tiers": "[]",
    "multipliers": "{}", "web_search": "0.01", "context_tokens": "", "max_output_tokens": "", "source": "",
    "version": "",
}  # fmt: skip
ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tiers": '[{"above": 1}]'}, "above how many prompt tokens"),
        ({"tiers": '[{"above_prompt_tokens": 10}]'}, "no rate of its own"),
        ({"tiers": '[{"above_prompt_tokens": 10, "inputs": 1}]'}, "is no class"),
        ({"tiers": '[{"above_prompt_tokens": 10, "input": "x"}]'}, "above 0 and at most"),
        ({"tiers": '[{"above_prompt_tokens": 9, "input": 1}, {"above_prompt_tokens": 9, "input": 2}]'}, "Two tiers"),
        ({"tiers": "{}"}, "Give a list of tiers"),
        ({"multipliers": '{"quick": "2"}'}, "no factor that is ever applied"),
        ({"multipliers": '{"fast": "0"}'}, "above 0 and at most"),
        ({"multipliers": "[]"}, "Give factors by name"),
        ({"input": "0"}, "taken for a gap"),
    ],
)
def test_a_price_that_cannot_be_is_refused_with_a_sentence(root: Client, change: dict[str, str], sentence: str) -> None:
    page = root.post(reverse("admin:governance_price_add"), {**PRICE, **change})
    assert page.status_code == 200
    assert sentence in page.content.decode()
    assert not Price.objects.exists()


def test_a_price_begins_in_the_past_only_on_purpose(root: Client) -> None:
    add = reverse("admin:governance_price_add")
    assert root.post(add, PRICE).status_code == 302
    later = {**PRICE, "effective_from_0": "2026-02-01", "input": "3"}
    page = root.post(add, later)
    assert "cannot begin in the past" in page.content.decode()
    assert root.post(add, {**later, "backdated": "on"}).status_code == 302
    assert Price.objects.count() == 2


def test_terms_are_entered_rate_by_rate(root: Client, acme: Tenant) -> None:
    add = reverse("admin:governance_priceoverride_add")
    page = root.post(add, {"customer": acme.customer.pk, "model_patterns": "claude-opus-*", "percent": ""})
    assert "either a percentage or fixed rates" in page.content.decode()
    values = {"customer": acme.customer.pk, "model_patterns": "claude-opus-*", "rate_input": "1.5", "percent": ""}
    values["note"] = "Contract 12/2026"
    assert root.post(add, values).status_code == 302
    made = PriceOverride.objects.get()
    assert (made.rates, made.model_patterns, made.created_by) == (
        {"input": "1.5"}, ["claude-opus-*"], User.objects.get(username="root"),
    )  # fmt: skip
    assert AuditEntry.objects.get(action="price_override.created").note == "Contract 12/2026"
    old = {**values, "effective_from": "2026-01-01T00:00"}
    assert "begin in the past" in root.post(add, old).content.decode()
    ended = root.post(
        reverse("admin:governance_priceoverride_changelist"), {"action": "end_now", "_selected_action": [made.pk]}
    )
    assert ended.status_code == 302
    made.refresh_from_db()
    assert made.effective_to is not None


def test_another_customers_terms_are_not_shown(charlie: Client, acme: Tenant) -> None:
    made = PriceOverride.objects.create(customer=acme.customer, percent="-7.25", effective_from=timezone.now())
    assert "-7.25" not in charlie.get(reverse("admin:governance_priceoverride_changelist")).content.decode()
    assert charlie.get(reverse("admin:governance_priceoverride_change", args=[made.pk])).status_code == 302
    charlie.post(
        reverse("admin:governance_priceoverride_changelist"), {"action": "end_now", "_selected_action": [made.pk]}
    )
    made.refresh_from_db()
    assert made.effective_to is None


def charge(tenant: Tenant, model: str, amount: int) -> str:
    identity = str(ULID())
    LedgerEntry.objects.create(
        id=identity, request_id=identity, occurred_at=timezone.now() - timedelta(days=1),
        customer_id=tenant.customer.pk,
        team_id=tenant.team.pk, virtual_key_id=tenant.key.pk, model=model, amount_nano_usd=amount, tokens=10,
    )  # fmt: skip
    return identity


def test_models_without_a_price_and_what_to_do(root: Client, charlie: Client, acme: Tenant) -> None:
    empty = root.get(reverse("unpriced_models")).content.decode()
    assert "Every model has a price" in empty
    charge(acme, ARN, 77_130_000_000)
    charge(acme, "claude-gratis", 0)
    page = root.get(reverse("unpriced_models")).content.decode()
    assert ARN in page
    assert "77.13" in page
    assert "claude-gratis" in page
    assert reverse("admin:governance_modelalias_add") + "?platform=bedrock&amp;alias=arn" in page
    Price.objects.create(
        platform="bedrock", model_id="anthropic.claude-x", effective_from=datetime(2026, 1, 1, tzinfo=UTC),
        input=4, output=20, cache_read=1, cache_write_5m=5, cache_write_1h=8,
    )  # fmt: skip
    values = {"platform": "bedrock", "alias": ARN, "model_id": "anthropic.claude", "region": "", "note": ""}
    refused = root.post(reverse("admin:governance_modelalias_add"), values)
    assert "has no price on Amazon Bedrock" in refused.content.decode()
    values["model_id"] = "anthropic.claude-x"
    assert root.post(reverse("admin:governance_modelalias_add"), values).status_code == 302
    assert ModelAlias.objects.get().alias == ARN
    assert "has a price now" in root.get(reverse("unpriced_models")).content.decode()
    assert ARN not in charlie.get(reverse("unpriced_models")).content.decode()
    lead = sign_in("lead", role="Team lead", customer=acme.customer, team=acme.team)
    assert lead.get(reverse("unpriced_models")).status_code == 403


def test_a_model_needs_a_price_on_the_platform_that_served_it(root: Client, acme: Tenant) -> None:
    now = timezone.now()
    for number, attempt in enumerate(
        ({"platform": "openai"}, {"platform": "bedrock", "priced_as": "eu.anthropic.claude-x"}, {"platform": "openai"})
    ):
        identity = charge(acme, "claude-x", 1_000_000_000)
        Request.objects.create(
            id=identity, started_at=now, finished_at=now, status="success", provider=f"p{number}", attempts=[attempt]
        )
    rates = {"input": 4, "output": 20, "cache_read": 1, "cache_write_5m": 5, "cache_write_1h": 8}
    effective_from = datetime(2026, 1, 1, tzinfo=UTC)
    Price.objects.create(platform="gemini", model_id="claude-x", effective_from=effective_from, **rates)
    page = root.get(reverse("unpriced_models")).content.decode()
    assert "has a price now" not in page
    assert page.count("?platform=openai&amp;alias=claude-x") == 1
    assert "?platform=bedrock&amp;alias=eu.anthropic.claude-x" in page
    assert "?platform=bedrock&amp;model_id=eu.anthropic.claude-x" in page
    Price.objects.create(platform="openai", model_id="claude-x", effective_from=effective_from, **rates)
    assert root.get(reverse("unpriced_models")).content.decode().count("has a price now") == 1


def test_a_proposal_is_approved_from_a_date_on(root: Client, installation: dict[str, Any]) -> None:
    proposal = installation["proposal"]
    proposal.proposed = {
        "input": "4", "output": "25", "cache_read": "0.5", "cache_write_5m": "6.25", "cache_write_1h": "10",
        "tiers": [], "multipliers": {}, "web_search": "0.01", "context_tokens": None, "max_output_tokens": None,
    }  # fmt: skip
    proposal.save()
    page = root.get(reverse("admin:governance_priceproposal_change", args=[proposal.pk])).content.decode()
    assert "-20.00" in page
    decide = reverse("admin:governance_priceproposal_decide", args=[proposal.pk])
    past = root.post(decide, {"verb": "approve", "effective_from": "2026-03-01T00:00"})
    assert "cannot begin in the past" in past.content.decode()
    done = root.post(
        decide, {"verb": "approve", "effective_from": "2026-03-01T00:00", "backdated": "on", "note": "price page"}
    )
    assert done.status_code == 302
    proposal.refresh_from_db()
    assert (proposal.status, proposal.decision_note) == ("approved", "price page")
    assert proposal.price.effective_from == datetime(2026, 3, 1, tzinfo=UTC)


def test_a_repricing_is_asked_for_and_decided_by_two(root: Client, acme: Tenant, charlie: Client) -> None:
    values = {
        "customer": acme.customer.pk, "starts_at": "2026-01-01T00:00", "ends_at": "2026-02-01T00:00",
        "model_patterns": "", "reason": "contract",
    }  # fmt: skip
    future = root.post(reverse("admin:governance_repricing_add"), {**values, "ends_at": "2099-01-01T00:00"})
    assert "must have ended" in future.content.decode()
    assert root.post(reverse("admin:governance_repricing_add"), values).status_code == 302
    run = Repricing.objects.get()
    run_waiting()
    page = reverse("admin:governance_repricing_change", args=[run.pk])
    assert "another person must approve" in root.get(page).content.decode()
    assert charlie.get(page).status_code == 302
    assert charlie.get(reverse("admin:governance_repricing_csv", args=[run.pk])).status_code == 404
    decide = reverse("admin:governance_repricing_decide", args=[run.pk])
    assert charlie.post(decide, {"verb": "reject"}).status_code == 404
    finance = sign_in("fin", role="Finance", customer=acme.customer)
    assert "Reject" in finance.get(page).content.decode()
    assert finance.post(decide, {"verb": "reject", "note": "not yet"}).status_code == 302
    run.refresh_from_db()
    assert (run.status, run.decision_note) == ("rejected", "not yet")
    auditor = sign_in("aud", role="Auditor", customer=acme.customer)
    assert auditor.get(page).status_code == 200
    assert auditor.post(decide, {"verb": "reject"}).status_code == 403


def test_a_run_of_every_customer_is_for_superusers(charlie: Client, root: Client) -> None:
    run = request_repricing(
        customer=None, starts_at=datetime(2026, 1, 1, tzinfo=UTC), ends_at=datetime(2026, 2, 1, tzinfo=UTC),
        reason="all", actor=User.objects.get(username="root"),
    )  # fmt: skip
    assert charlie.get(reverse("admin:governance_repricing_change", args=[run.pk])).status_code == 302
    values = {"customer": "", "starts_at": "2026-01-01T00:00", "ends_at": "2026-02-01T00:00", "reason": "x"}
    assert charlie.post(reverse("admin:governance_repricing_add"), values).status_code == 200
    theirs, every = (one.get(reverse("admin:governance_repricing_add")).content.decode() for one in (charlie, root))
    assert "Every customer at once is for superusers." in theirs
    assert "Empty: every customer." not in theirs
    assert "Empty: every customer." in every
    assert re.search(r'name="_save"[^>]*>Preview<', every)
    asked = root.post(reverse("admin:governance_repricing_add"), {**values, "_save": ""})
    assert asked.status_code == 302
    Repricing.objects.exclude(pk=run.pk).delete()
    assert Repricing.objects.count() == 1
