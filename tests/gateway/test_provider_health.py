"""What a process tells of its providers: to `/readyz`, to the metrics, and to the database beside the traffic."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from asgiref.sync import sync_to_async
from prometheus_client import REGISTRY

from gateway import provider_health
from gateway.availability import Availability, Outcome, Result
from gateway.provider_health import ProviderHealthTeller
from governance.models import Provider, ProviderState
from observability import metrics
from tests.gateway.availability.helpers import CREDENTIAL, FAILED, PROVIDER, with_credentials

pytestmark = pytest.mark.django_db(transaction=True)
OWNER = "01JDXYZ0000000000000000001"
REJECTED = Outcome(Result.CREDENTIAL, status=401)


@pytest.fixture
def pool() -> Availability:
    made = Availability()
    made.configured([PROVIDER], time.monotonic())
    return made


def attempt(pool: Availability, outcome: Outcome, times: int = 1) -> None:
    for _ in range(times):
        now = time.monotonic()
        pool.began(PROVIDER, CREDENTIAL, now).ended(now, outcome)


def value(name: str) -> float | None:
    return REGISTRY.get_sample_value(f"comptroller_{name}", {"provider": "anthropic"})


def test_ready_in_words(pool: Availability) -> None:
    teller = ProviderHealthTeller(pool, OWNER)
    assert (teller.check().ok, teller.check().detail) == (False, "no active provider")
    teller.look()
    assert (teller.check().ok, teller.check().detail) == (True, "1 up")
    attempt(pool, REJECTED)
    teller.look()
    check = teller.check()
    assert (check.ok, check.required) == (False, False)
    assert check.detail.startswith("anthropic is down: main: rejected with 401 at ")


def test_what_readyz_says_names_no_address(pool: Availability) -> None:
    teller = ProviderHealthTeller(pool, OWNER)
    attempt(pool, Outcome(Result.CONNECT, detail="it refused the connection (10.1.2.3:8443)"), times=5)
    teller.look()
    detail = teller.check().detail
    assert detail.startswith("anthropic is down: not asked after too many failures, the last: no connection (since ")
    assert "10.1.2.3" in pool.health(time.monotonic())[0].last_error


def test_metrics(pool: Availability) -> None:
    teller = ProviderHealthTeller(pool, OWNER)
    teller.look()
    assert [value(name) for name in ("provider_up", "provider_breaker_open", "credentials_usable")] == [1, 0, 1]
    attempt(pool, FAILED, times=5)
    teller.look()
    assert [value(name) for name in ("provider_up", "provider_breaker_open", "credentials_usable")] == [0, 1, 1]
    pool.configured([], time.monotonic())
    teller.look()
    assert [value(name) for name in ("provider_up", "provider_breaker_open", "credentials_usable")] == [None] * 3


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not await sync_to_async(condition)():
            await asyncio.sleep(0.01)


async def test_the_database_is_told_of_changes_and_nothing_stays(
    pool: Availability, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_health, "LOOK_SECONDS", 0.02)
    row = await sync_to_async(Provider.objects.create)(name="anthropic")
    provider = replace(PROVIDER, id=row.pk)
    pool.configured([provider], time.monotonic())
    teller = ProviderHealthTeller(pool, OWNER)
    teller.start()

    def state() -> tuple[str, str] | None:
        return ProviderState.objects.values_list("state", "credentials__0__state").first()

    await until(lambda: state() == ("up", "ready"))
    now = time.monotonic()
    pool.began(provider, CREDENTIAL, now).ended(now, REJECTED)
    await until(lambda: state() == ("down", "dead"))
    pool.configured([with_credentials(replace(CREDENTIAL, secret="another"), id=row.pk)], now)
    await until(lambda: state() == ("up", "ready"))
    await teller.stop()
    assert not await sync_to_async(ProviderState.objects.exists)()


async def test_a_database_that_is_away_is_told_later(pool: Availability, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_health, "LOOK_SECONDS", 0.02)
    row = await sync_to_async(Provider.objects.create)(name="anthropic")
    pool.configured([replace(PROVIDER, id=row.pk)], time.monotonic())
    real, failures = provider_health.provider_states.publish, []

    def away(*args: object) -> None:
        if len(failures) < 3:
            failures.append(args)
            raise OSError("the database is away")
        real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(provider_health.provider_states, "publish", away)
    teller = ProviderHealthTeller(pool, OWNER)
    teller.start()
    await until(lambda: ProviderState.objects.exists())
    assert len(failures) == 3
    await teller.stop()


@pytest.fixture(autouse=True)
def _no_series_stay() -> object:
    yield
    metrics.set_providers({})
    metrics.set_provider_pools({})
