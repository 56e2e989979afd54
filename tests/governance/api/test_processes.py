"""Gateway processes over the API: read only, amounts of what one may see."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from ulid import ULID

from governance import ledger
from governance.models import AllowanceWindow, Budget, GatewayProcess, Lease, RateLimit
from tests.governance.api.world import World, client_for, results, user_with

PROCESSES = "/api/v1/processes/"


def a_process(host: str) -> GatewayProcess:
    now = timezone.now()
    row: GatewayProcess = GatewayProcess.objects.create(
        id=str(ULID()), host=host, pid=7, started_at=datetime(2026, 11, 1, tzinfo=UTC), seen_at=now
    )
    return row


def hold(process: GatewayProcess, row: Budget | RateLimit, amount: int) -> None:
    money = isinstance(row, Budget)
    window = AllowanceWindow.objects.create(
        allowance=f"{'budget' if money else 'rate'}:{row.pk}", budget=row if money else None,
        rate_limit=None if money else row, definition=ledger.definition(row),
        starts_at=datetime(2026, 11, 1, tzinfo=UTC), limit=10**12, held=amount,
    )  # fmt: skip
    Lease.objects.create(window=window, owner=process.pk, amount=amount)


def test_what_each_holds_of_what_one_sees(world: World) -> None:
    first, second = a_process("gw-1"), a_process("gw-2")
    hold(first, Budget.objects.create(scope="team", team=world.core, limit_nano_usd=1), 1_500_000_000)
    hold(first, Budget.objects.create(scope="team", team=world.web, limit_nano_usd=1), 2_000_000_000)
    hold(first, RateLimit.objects.create(scope="team", team=world.core, unit="tokens", limit=1, per="day"), 900)
    GatewayProcess.objects.filter(pk=second.pk).update(seen_at=timezone.now() - timedelta(minutes=1))
    rows = results(world.alice.get(PROCESSES))
    assert [(row["host"], row["state"]) for row in rows] == [("gw-2", "silent"), ("gw-1", "running")]
    assert {name: rows[1][name] for name in ("held_usd", "held_requests", "held_tokens", "held_concurrent")} == {
        "held_usd": "3.5", "held_requests": 0, "held_tokens": 900, "held_concurrent": 0,
    }  # fmt: skip
    assert rows[1]["started_at"] == "2026-11-01T00:00:00Z"
    one = world.bob.get(f"{PROCESSES}{first.pk}/").json()
    assert (one["held_usd"], one["held_tokens"]) == ("1.5", 900)
    charlies = world.charlie.get(f"{PROCESSES}{first.pk}/").json()
    assert (charlies["held_usd"], charlies["held_tokens"]) == ("0", 0)
    assert [row["host"] for row in results(world.alice.get(f"{PROCESSES}?host=gw-1"))] == ["gw-1"]


def test_it_is_read_with_the_permission_and_never_written(world: World) -> None:
    row = a_process("gw-1")
    nobody = client_for(user_with("nobody", customer=world.acme))
    assert nobody.get(PROCESSES).status_code == 403
    for method in ("post", "patch", "put", "delete"):
        assert getattr(world.root, method)(f"{PROCESSES}{row.pk}/", {}, format="json").status_code == 405
    assert world.root.get(f"{PROCESSES}{ULID()}/").status_code == 404


def test_the_list_takes_the_same_queries_whatever_its_size(world: World) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            results(world.alice.get(PROCESSES))
        return len(captured)

    hold(a_process("gw"), Budget.objects.create(scope="team", team=world.core, limit_nano_usd=1), 5)
    before = queries()
    for number in range(20):
        hold(a_process(f"gw-{number}"), Budget.objects.create(scope="team", team=world.core, limit_nano_usd=1), 5)
    assert len(results(world.alice.get(PROCESSES))) == 21
    assert queries() == before
