"""The price catalog over the API: rows are added, never edited; proposals are decided once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from governance.models import AuditEntry, Price, PriceProposal
from tests.governance.api.world import World, client_for, results, user_with

PRICES = "/api/v1/prices/"
PROPOSALS = "/api/v1/price-proposals/"
RATES: dict[str, Any] = {
    "input": "5", "output": "25", "cache_read": "0.5", "cache_write_5m": "6.25", "cache_write_1h": "10",
}  # fmt: skip
BODY: dict[str, Any] = {"platform": "anthropic", "model_id": "claude-test-1", **RATES}


def proposal(**values: Any) -> PriceProposal:
    fields = {
        **RATES, "tiers": [], "multipliers": {}, "web_search": "0.01", "context_tokens": None,
        "max_output_tokens": None,
    }  # fmt: skip
    defaults = {
        "platform": "anthropic", "model_id": "claude-test-2", "effective_from": timezone.now(), "proposed": fields,
        "changes": [{"field": "input", "old": None, "new": "5", "percent": None}], "source": "a file",
    }  # fmt: skip
    return PriceProposal.objects.create(**{**defaults, **values})


class TestPrices:
    def test_a_change_is_a_new_row(self, world: World) -> None:
        first = world.root.post(PRICES, {**BODY, "web_search": "0.01"}, format="json")
        assert first.status_code == 201, first.json()
        row = first.json()
        assert {name: row[name] for name in RATES} == RATES
        assert row["effective_from"].endswith("Z")
        later = (timezone.now() + timedelta(days=7)).isoformat()
        assert (
            world.root.post(PRICES, {**BODY, "input": "4", "effective_from": later}, format="json").status_code == 201
        )
        assert [one["input"] for one in results(world.root.get(f"{PRICES}?model_id=claude-test-1"))] == ["5", "4"]
        assert list(AuditEntry.objects.values_list("action", flat=True)) == ["price.created"] * 2
        for method in ("put", "patch", "delete"):
            answer = getattr(world.root, method)(f"{PRICES}{row['id']}/", {"input": "1"}, format="json")
            assert answer.status_code == 405
            assert "later effective_from" in answer.json()["detail"]
        assert Price.objects.get(pk=row["id"]).input == 5

    def test_what_was_charged_does_not_change(self, world: World) -> None:
        Price.objects.create(**BODY, effective_from=datetime(2026, 1, 1, tzinfo=UTC))
        answer = world.root.post(PRICES, {**BODY, "effective_from": "2026-02-01T00:00:00Z"}, format="json")
        assert (answer.status_code, list(answer.json())) == (400, ["effective_from"])
        before_any = world.root.post(PRICES, {**BODY, "effective_from": "2025-01-01T00:00:00Z"}, format="json")
        assert before_any.status_code == 201

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"input": "-1"}, "detail"), ({"input": "free"}, "input"), ({"input": "1e9"}, "input"),
            ({"platform": "moon"}, "platform"), ({"tiers": [{"above": 1}]}, "tiers"), ({"tiers": {}}, "tiers"),
            ({"multipliers": {"fast": "0"}}, "multipliers"), ({"multipliers": {"quick": "2"}}, "multipliers"),
            ({"input": "0"}, "input"), ({"id": 7}, "id"),
        ],
    )  # fmt: skip
    def test_wrong_input_is_named(self, world: World, body: dict[str, Any], field: str) -> None:
        answer = world.root.post(PRICES, {**BODY, **body}, format="json")
        assert (answer.status_code, list(answer.json())) == (400, [field])
        assert not Price.objects.filter(model_id="claude-test-1").exists()

    def test_permissions(self, world: World) -> None:
        reader = client_for(user_with("reader", "governance.view_price", customer=world.acme))
        assert reader.get(PRICES).status_code == 200
        assert reader.post(PRICES, BODY, format="json").status_code == 403
        assert reader.get(PROPOSALS).status_code == 403


class TestProposals:
    def test_approve(self, world: World) -> None:
        waiting = proposal()
        answer = world.root.post(f"{PROPOSALS}{waiting.pk}/approve/", {"note": "as published"}, format="json")
        assert answer.status_code == 200, answer.json()
        row = answer.json()
        assert (row["status"], row["decided_by"], row["decision_note"]) == ("approved", "root", "as published")
        assert Price.objects.get(pk=row["price_id"]).input == 5
        again = world.root.post(f"{PROPOSALS}{waiting.pk}/reject/", {}, format="json")
        assert again.status_code == 409
        assert "already decided" in again.json()["detail"]
        assert list(AuditEntry.objects.values_list("action", flat=True)) == ["price_proposal.approved"]

    def test_reject(self, world: World) -> None:
        waiting = proposal()
        row = world.root.post(f"{PROPOSALS}{waiting.pk}/reject/", {}, format="json").json()
        assert (row["status"], row["price_id"]) == ("rejected", None)
        assert not Price.objects.filter(model_id="claude-test-2").exists()
        assert len(results(world.root.get(f"{PROPOSALS}?status=rejected"))) == 1
        assert results(world.root.get(f"{PROPOSALS}?status__in=pending,approved")) == []

    def test_permissions(self, world: World) -> None:
        waiting = proposal()
        reader = client_for(user_with("reader", "governance.view_priceproposal", customer=world.acme))
        assert reader.get(f"{PROPOSALS}{waiting.pk}/").status_code == 200
        for verb in ("approve", "reject"):
            assert reader.post(f"{PROPOSALS}{waiting.pk}/{verb}/", {}, format="json").status_code == 403
        decider = client_for(user_with("decider", "governance.decide_priceproposal", customer=world.acme))
        assert decider.post(f"{PROPOSALS}{waiting.pk}/reject/", {}, format="json").status_code == 200
        assert world.root.post(PROPOSALS, {}, format="json").status_code == 405
