"""A dry run over the API: a draft in, figures out, and nobody else's requests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from ulid import ULID

from governance.models import Provider, RoutingRule
from observability.models import Request
from tests.governance.api.world import World, client_for, user_with

URL = "/api/v1/routes/dry-run/"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def add(world: World, **values: Any) -> None:
    Request.objects.create(
        id=str(ULID()), started_at=NOON, finished_at=NOON + timedelta(seconds=1), status="success",
        **{
            "customer": "Acme", "customer_id": world.acme.pk, "team": "Core", "team_id": world.core.pk,
            "model": "claude-opus-5-5", "model_requested": "claude-opus-5-5", "input_tokens": 1_000,
            "cost_nano_usd": 4_000_000, **values,
        },
    )  # fmt: skip


def asked(client: Any, **body: Any) -> Any:
    return client.post(URL, body, format="json")


def test_a_draft_is_tried_and_not_saved(world: World) -> None:
    Provider.objects.create(name="vertex", kind="vertex")
    add(world)
    add(world, model="claude-haiku-5-5", model_requested="claude-haiku-5-5")
    answer = asked(world.alice, condition='model.startsWith("claude-opus-")', deny="No.", team="Core")
    assert answer.status_code == 200, answer.content
    told = answer.json()
    assert (told["looked"], told["matched"], told["denied"], told["cost_usd"]) == (2, 1, 1, "0.004")
    assert told["lines"] == [
        {
            "model": "claude-opus-5-5", "becomes": "refused", "requests": 1.0, "cost_usd": "0.004", "then_usd": "0",
            "cold_usd": "0", "unpriced": False,
        }
    ]  # fmt: skip
    assert (told["oldest"], told["newest"]) == ("2026-11-20T12:00:00Z", "2026-11-20T12:00:00Z")
    moved = asked(world.alice, condition="true", targets=[{"provider": "vertex"}], most=1).json()
    assert (moved["looked"], moved["lines"][0]["unpriced"]) == (1, True)
    assert not RoutingRule.objects.exists()


def test_a_mistake_is_named(world: World) -> None:
    wrong = asked(world.alice, condition="model ==")
    assert (wrong.status_code, wrong.json()) == (400, {"condition": ["Line 1, column 9: it ends too early."]})
    wrong = asked(world.alice, condition="true", targets=[{"model": "a*"}])
    assert (wrong.status_code, list(wrong.json())) == (400, ["targets"])
    assert asked(world.alice, condition="true", most=10**6).status_code == 400
    assert asked(world.alice, condition="true", team="Ops").status_code == 400


def test_nobody_elses_requests(world: World) -> None:
    add(world)
    assert asked(world.charlie, condition="true").json()["looked"] == 0
    dave = client_for(user_with("dave", "observability.view_request", customer=world.acme))
    assert asked(dave, condition="true").status_code == 403
    erin = client_for(user_with("erin", "governance.view_routingrule", customer=world.acme))
    assert asked(erin, condition="true").status_code == 403
