"""Re-pricing over the API: asked for within one's customers, approved by another person, read as CSV."""

from __future__ import annotations

import csv
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction
from django.utils import timezone

from governance import ledger
from governance.models import LedgerEntry, Price
from observability import rows
from observability.repricing.services import run_waiting
from tests.governance.api.world import World, client_for, results, user_with
from tests.observability.records import a_posting, a_record

URL = "/api/v1/repricings/"
RATES: dict[str, Any] = {"input": 4, "output": 20, "cache_read": "0.2", "cache_write_5m": 5, "cache_write_1h": 8}


@pytest.fixture
def asked(world: World) -> dict[str, Any]:
    """A period in which Acme was charged 1 USD for what costs 4, for a model that a spreadsheet would calculate."""
    now = timezone.now()
    Price.objects.create(model_id="=claude-opus-5", effective_from=now - timedelta(days=90), **RATES)
    record = a_record(
        customer_id=world.acme.pk, team_id=world.core.pk, started_at=now - timedelta(days=2), input_tokens=1_000_000,
        output_tokens=0, cache_read_tokens=0, price_id=None, cost_quality="unpriced", cost_nano_usd=10**9,
        model="=claude-opus-5", attempts=[],
    )  # fmt: skip
    with transaction.atomic():
        rows.insert([record])
        ledger.post([a_posting(record)])
    return {
        "customer": "Acme", "starts_at": (now - timedelta(days=5)).isoformat(),
        "ends_at": (now - timedelta(days=1)).isoformat(), "reason": "it has a price now",
    }  # fmt: skip


def test_from_asking_to_the_adjustment(world: World, asked: dict[str, Any]) -> None:
    boss = user_with(
        "boss", "governance.view_repricing", "governance.decide_repricing", "governance.add_repricing",
        customer=world.acme,
    )  # fmt: skip
    made = world.alice.post(URL, asked, format="json")
    assert made.status_code == 201, made.json()
    url = f"{URL}{made.json()['id']}/"
    assert (made.json()["status"], made.json()["requested_by"]) == ("queued", "alice")
    early = client_for(boss).post(f"{url}approve/", {}, format="json")
    assert early.status_code == 409
    run_waiting()
    ready = world.alice.get(url).json()
    sums = {"old_usd": "1", "new_usd": "4", "difference_usd": "3"}
    assert ready["status"] == "ready"
    assert {name: ready[name] for name in sums} == sums
    assert ready["by_model"] == [{"model": "=claude-opus-5", "requests": 1, **sums}]
    own = world.alice.post(f"{url}approve/", {}, format="json")
    assert own.status_code == 400
    assert "Another person" in str(own.json())
    approver = world.root
    assert approver.post(f"{url}approve/", {"note": "checked"}, format="json").status_code == 200
    run_waiting()
    done = world.alice.get(url).json()
    assert (done["status"], done["posted"], done["posted_usd"], done["decided_by"]) == ("posted", 1, "3", "root")
    assert LedgerEntry.objects.get(kind="adjustment").amount_nano_usd == 3 * 10**9
    listed = results(world.alice.get(URL))
    assert [row["by_model"] for row in listed] == [None]


def test_every_line_as_csv(world: World, asked: dict[str, Any]) -> None:
    made = world.alice.post(URL, asked, format="json").json()
    run_waiting()
    answer: Any = world.alice.get(f"{URL}{made['id']}/lines/")
    content = answer.streaming_content

    async def body() -> bytes:
        return b"".join([piece async for piece in content])

    text = (async_to_sync(body)() if answer.is_async else b"".join(content)).decode()
    (line,) = csv.DictReader(text.splitlines())
    assert (line["old_usd"], line["new_usd"], line["difference_usd"]) == ("1", "4", "3")
    assert line["model"] == "'=claude-opus-5"
    assert (line["adjustment_id"], line["posted_at"]) == ("", "")


def test_who_may(world: World, asked: dict[str, Any]) -> None:
    made = world.alice.post(URL, asked, format="json").json()
    run_waiting()
    url = f"{URL}{made['id']}/"
    assert results(world.charlie.get(URL)) == []
    for path in (url, f"{url}lines/"):
        assert world.charlie.get(path).status_code == 404
        assert world.bob.get(path).status_code == 404  # a team is not the whole customer
    for verb in ("approve", "reject"):
        assert world.charlie.post(f"{url}{verb}/", {}, format="json").status_code == 404
    assert world.charlie.post(URL, asked, format="json").status_code == 400
    assert world.bob.post(URL, asked, format="json").status_code == 403
    assert world.alice.post(URL, {**asked, "customer": None}, format="json").status_code == 403
    assert world.root.post(URL, {**asked, "customer": None}, format="json").status_code == 201
    reader = client_for(user_with("reader", "governance.view_repricing", customer=world.acme))
    assert reader.get(url).status_code == 200
    assert reader.post(f"{url}approve/", {}, format="json").status_code == 403
    assert reader.post(URL, asked, format="json").status_code == 403


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"ends_at": "2030-01-01T00:00:00Z"}, "ends_at"),
        ({"reason": ""}, "reason"),
        ({"starts_at": "soon"}, "starts_at"),
    ],
)
def test_wrong_input_is_named(world: World, asked: dict[str, Any], body: dict[str, Any], field: str) -> None:
    answer = world.alice.post(URL, {**asked, **body}, format="json")
    assert (answer.status_code, list(answer.json())) == (400, [field]), answer.json()
