"""Exports over the API: asked for within one's customers, downloaded once they are done."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from governance.models import AuditEntry
from observability.exports.worker import run_waiting
from observability.models import LogExport
from tests.governance.api.world import World, client_for, results, user_with
from tests.observability.api.test_requests import NOON, add

URL = "/api/v1/exports/"
DAY: dict[str, Any] = {"starts_at": "2026-11-20T00:00:00Z", "ends_at": "2026-11-21T00:00:00Z"}


async def _body(answer: Any) -> bytes:
    return b"".join([piece async for piece in answer.streaming_content])


def test_from_asking_to_the_file(world: World) -> None:
    row = add(world)
    add(world, customer="Globex", customer_id=world.globex.pk)
    asked = world.alice.post(URL, {**DAY, "customer": "Acme"}, format="json")
    assert asked.status_code == 201, asked.json()
    export = asked.json()
    url = f"{URL}{export['id']}/"
    assert (export["status"], export["format"], export["requested_by"]) == ("queued", "jsonl.gz", "alice")
    early = world.alice.get(f"{url}download/")
    assert early.status_code == 409
    assert "no file yet" in early.json()["detail"]
    run_waiting()
    done = world.alice.get(url).json()
    assert (done["status"], done["rows"]) == ("done", 1)
    assert "path" not in done
    assert world.charlie.get(f"{url}download/").status_code == 404
    assert world.bob.get(f"{url}download/").status_code == 404
    answer = world.alice.get(f"{url}download/")
    assert answer.status_code == 200
    assert "jsonl.gz" in answer.headers["Content-Disposition"]
    (line,) = gzip.decompress(async_to_sync(_body)(answer)).splitlines()
    assert json.loads(line)["id"] == row.pk
    actions = list(AuditEntry.objects.order_by("pk").values_list("action", flat=True))
    assert actions == ["log_export.requested", "log_export.downloaded"]


def test_who_may_ask(world: World) -> None:
    assert world.charlie.post(URL, {**DAY, "customer": "Acme"}, format="json").status_code == 400
    assert world.bob.post(URL, {**DAY, "customer": "Acme"}, format="json").status_code == 403
    everybody = world.alice.post(URL, DAY, format="json")
    assert everybody.status_code == 403
    assert "superusers" in everybody.json()["detail"]
    reader = client_for(user_with("reader", "observability.view_logexport", customer=world.acme))
    assert reader.post(URL, {**DAY, "customer": "Acme"}, format="json").status_code == 403
    assert not LogExport.objects.exists()
    assert not AuditEntry.objects.exists()
    assert world.root.post(URL, {**DAY, "format": "parquet"}, format="json").status_code == 201


def test_who_sees(world: World) -> None:
    start, end = datetime(2026, 11, 20, tzinfo=UTC), NOON
    for customer in (world.acme, world.globex, None):
        LogExport.objects.create(customer=customer, starts_at=start, ends_at=end)
    seen = {
        who: sorted(row["customer"] or "all" for row in results(getattr(world, who).get(URL)))
        for who in ("alice", "bob", "charlie", "root")
    }
    assert seen == {"alice": ["Acme"], "bob": [], "charlie": ["Globex"], "root": ["Acme", "Globex", "all"]}
    assert len(results(world.root.get(f"{URL}?customer=Acme&status=queued&scheduled=false"))) == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({**DAY, "ends_at": DAY["starts_at"]}, "detail"),
        ({"starts_at": DAY["starts_at"]}, "ends_at"),
        ({**DAY, "format": "xlsx"}, "format"),
        ({**DAY, "path": "/etc/passwd"}, "path"),
        ({**DAY, "customer": "Nowhere"}, "customer"),
    ],
)
def test_wrong_input_is_named(world: World, body: dict[str, Any], field: str) -> None:
    answer = world.root.post(URL, body, format="json")
    assert (answer.status_code, list(answer.json())) == (400, [field])


def test_it_does_not_change_afterwards(world: World) -> None:
    export = LogExport.objects.create(starts_at=datetime(2026, 11, 20, tzinfo=UTC), ends_at=NOON)
    for method in ("put", "patch", "delete"):
        answer = getattr(world.root, method)(f"{URL}{export.pk}/", {}, format="json")
        assert answer.status_code == 405
