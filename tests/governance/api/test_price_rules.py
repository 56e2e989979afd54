"""Customers' terms and mapped ids over the API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from governance.catalog import price_book
from governance.domain.usage import Usage
from governance.models import AuditEntry, ModelAlias, Price, PriceOverride
from tests.governance.api.world import World, client_for, results, user_with

OVERRIDES = "/api/v1/price-overrides/"
ALIASES = "/api/v1/model-aliases/"
ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
RATES: dict[str, Any] = {
    "input": 4, "output": 20, "cache_read": "0.2", "cache_write_5m": 5, "cache_write_1h": 8, "web_search": "0.01",
}  # fmt: skip


@pytest.fixture
def prices(db: None) -> None:
    for platform, model in (("anthropic", "claude-opus-5-5"), ("bedrock", "anthropic.claude-opus-5-5")):
        Price.objects.create(
            platform=platform, model_id=model, effective_from=datetime(2026, 1, 1, tzinfo=UTC), **RATES
        )


class TestOverrides:
    def test_terms_are_made_and_ended_and_never_edited(self, world: World, prices: None) -> None:
        made = world.alice.post(OVERRIDES, {"customer": "Acme", "percent": "-12.5", "note": "contract"}, format="json")
        assert made.status_code == 201, made.json()
        row = made.json()
        assert (row["customer"], row["percent"], row["models"], row["created_by"]) == ("Acme", "-12.5", [], "alice")
        now, used = timezone.now(), Usage(input_tokens=1_000_000)
        cost = price_book().charge("anthropic", "claude-opus-5-5", used, now, customer_id=world.acme.pk)
        assert (cost.nano_usd, cost.overrides) == (3_500_000_000, (row["id"],))
        for method in ("put", "patch", "delete"):
            answer = getattr(world.alice, method)(f"{OVERRIDES}{row['id']}/", {"percent": "-50"}, format="json")
            assert answer.status_code == 405
        ended = world.alice.post(f"{OVERRIDES}{row['id']}/end/", {"note": "over"}, format="json")
        assert ended.status_code == 200
        after = timezone.now() + timedelta(seconds=1)
        assert (
            price_book().charge("anthropic", "claude-opus-5-5", used, after, customer_id=world.acme.pk).overrides == ()
        )
        again = world.alice.post(f"{OVERRIDES}{row['id']}/end/", {}, format="json")
        assert again.status_code == 400
        assert list(AuditEntry.objects.values_list("action", flat=True))[::-1] == [
            "price_override.created", "price_override.ended",
        ]  # fmt: skip

    def test_fixed_rates(self, world: World, prices: None) -> None:
        made = world.alice.post(OVERRIDES, {"customer": "Acme", "rates": {"input": "1.5"}}, format="json")
        assert made.status_code == 201, made.json()
        used = Usage(input_tokens=1_000_000, output_tokens=1_000_000)
        cost = price_book().charge("anthropic", "claude-opus-5-5", used, timezone.now(), customer_id=world.acme.pk)
        assert cost.nano_usd == 21_500_000_000

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "detail"),
            ({"percent": "5", "rates": {"input": "1"}}, "detail"),
            ({"percent": "-100"}, "detail"),
            ({"percent": "1001"}, "detail"),
            ({"rates": {"inputs": "1"}}, "rates"),
            ({"rates": {"input": "0"}}, "rates"),
            ({"rates": {"input": "1e-12"}}, "rates"),
            ({"rates": []}, "rates"),
            ({"percent": "5", "models": "claude"}, "models"),
            ({"percent": "5", "effective_from": "2026-01-01T00:00:00Z"}, "effective_from"),
            ({"percent": "5", "effective_to": "2026-01-01T00:00:00Z"}, "effective_to"),
            ({"percent": "5", "customer": "Globex"}, "customer"),
        ],
    )
    def test_wrong_input_is_named(self, world: World, body: dict[str, Any], field: str) -> None:
        answer = world.alice.post(OVERRIDES, {"customer": "Acme", **body}, format="json")
        assert (answer.status_code, list(answer.json())) == (400, [field]), answer.json()
        assert not PriceOverride.objects.exists()

    def test_backdated_on_purpose(self, world: World) -> None:
        body = {"customer": "Acme", "percent": "-5", "effective_from": "2026-01-01T00:00:00Z", "backdated": True}
        assert world.alice.post(OVERRIDES, body, format="json").status_code == 201

    def test_an_end_is_never_in_the_past_and_what_has_not_begun_never_begins(self, world: World) -> None:
        later = timezone.now() + timedelta(days=3)
        made = world.alice.post(
            OVERRIDES, {"customer": "Acme", "percent": "-5", "effective_from": later.isoformat()}, format="json"
        ).json()
        ended = world.alice.post(f"{OVERRIDES}{made['id']}/end/", {}, format="json").json()
        assert ended["effective_to"] == ended["effective_from"]
        running = world.alice.post(OVERRIDES, {"customer": "Acme", "percent": "-5"}, format="json").json()
        PriceOverride.objects.filter(pk=running["id"]).update(effective_from=timezone.now() - timedelta(days=9))
        answer = world.alice.post(
            f"{OVERRIDES}{running['id']}/end/", {"at": (timezone.now() - timedelta(days=1)).isoformat()}, format="json"
        )
        assert answer.status_code == 400
        assert "in the past" in str(answer.json())

    def test_charlie_sees_nothing_of_it(self, world: World) -> None:
        row = world.alice.post(OVERRIDES, {"customer": "Acme", "percent": "-5"}, format="json").json()
        assert results(world.charlie.get(OVERRIDES)) == []
        assert world.charlie.get(f"{OVERRIDES}{row['id']}/").status_code == 404
        assert world.charlie.post(f"{OVERRIDES}{row['id']}/end/", {}, format="json").status_code == 404
        # Bob sees his customer's terms, but his team is not all of it.
        assert world.bob.post(OVERRIDES, {"customer": "Acme", "percent": "-9"}, format="json").status_code == 403
        assert world.bob.post(f"{OVERRIDES}{row['id']}/end/", {}, format="json").status_code == 403
        reader = client_for(user_with("reader", "governance.view_priceoverride", customer=world.acme))
        assert len(results(reader.get(OVERRIDES))) == 1
        assert reader.post(OVERRIDES, {"customer": "Acme", "percent": "-9"}, format="json").status_code == 403


class TestAliases:
    def test_an_arn_is_mapped_and_mapped_anew(self, world: World, prices: None) -> None:
        body = {"platform": "bedrock", "alias": ARN, "model_id": "anthropic.claude-opus-5-5", "region": "us-gov"}
        made = world.alice.post(ALIASES, body, format="json")
        assert made.status_code == 201, made.json()
        used = Usage(input_tokens=1_000_000)
        assert price_book().charge("bedrock", ARN, used, timezone.now()).nano_usd == 4_800_000_000
        changed = world.alice.patch(f"{ALIASES}{made.json()['id']}/", {"region": ""}, format="json")
        assert changed.status_code == 200, changed.json()
        assert price_book().charge("bedrock", ARN, used, timezone.now()).nano_usd == 4_000_000_000
        assert list(AuditEntry.objects.values_list("action", flat=True))[::-1] == [
            "model_alias.created", "model_alias.changed",
        ]  # fmt: skip
        twice = world.alice.post(ALIASES, body, format="json")
        assert twice.status_code == 400
        assert "mapped already" in str(twice.json())

    def test_a_mapped_id_is_no_target(self, world: World, prices: None) -> None:
        """A mapping is followed once: what leads to a second one would be unpriced."""
        body = {"platform": "bedrock", "alias": ARN, "model_id": "anthropic.claude-opus-5-5"}
        assert world.alice.post(ALIASES, body, format="json").status_code == 201
        second = world.alice.post(ALIASES, body | {"alias": f"{ARN}-2", "model_id": ARN}, format="json")
        assert second.status_code == 400
        assert "mapped itself" in second.json()["model_id"][0]
        assert ModelAlias.objects.count() == 1

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"model_id": "claude-nothing"}, "model_id"),
            ({"model_id": ARN}, "model_id"),
            ({"region": "mars"}, "region"),
            ({"model_id": "us.anthropic.claude-opus-5-5", "region": "eu"}, "region"),
            ({"platform": "anthropic", "model_id": "claude-opus-5-5", "region": "us"}, "region"),
            ({"alias": "anthropic.claude-opus-5-5"}, "alias"),
            ({"alias": "claude-*"}, "alias"),
        ],
    )
    def test_a_mapping_without_effect_is_refused(
        self, world: World, prices: None, body: dict[str, Any], field: str
    ) -> None:
        whole = {"platform": "bedrock", "alias": ARN, "model_id": "anthropic.claude-opus-5-5", **body}
        answer = world.alice.post(ALIASES, whole, format="json")
        assert (answer.status_code, list(answer.json())) == (400, [field]), answer.json()
        assert not ModelAlias.objects.exists()
