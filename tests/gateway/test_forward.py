"""The order in which targets are asked, and what a row keeps of those that gave way."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.availability import Availability, Outcome, Result
from gateway.exchange import Exchange, Target
from gateway.forward import MOST_PASSED_OVER, _tries
from governance.domain.access import Access
from governance.snapshot import EMPTY, CredentialConfig, ProviderConfig
from tests.fakes.line import FakeLine

LIMITED = Outcome(Result.RATE_LIMITED, status=429, retry_after=60)


def target(number: int, concurrent: int | None = None) -> Target:
    credential = CredentialConfig("main", 1.0, "sk-secret", concurrent=concurrent)
    provider = ProviderConfig(number, f"p{number}", "anthropic", "https://p.test", 0, (credential,))
    return Target(provider, credential, Access(number, number), "claude-opus-5-5")


def opened(*targets: Target) -> Exchange:
    pool = Availability()
    pool.configured([each.provider for each in targets], time.monotonic())
    gateway: Any = SimpleNamespace(snapshot=EMPTY, availability=pool)
    exchange = Exchange.open(gateway, FakeLine(), "/v1/messages")
    exchange.targets = targets
    return exchange


def limit(exchange: Exchange, *targets: Target) -> None:
    for each in targets:
        now = time.monotonic()
        exchange.gateway.availability.began(each.provider, each.credential, now).ended(now, LIMITED)


def asked(exchange: Exchange) -> list[str]:
    return [each.provider.name for each, _, _ in _tries(exchange)]


def passed(exchange: Exchange) -> list[str]:
    return [each["provider"] for each in exchange.record.routing.get("passed_over", ())]


def test_a_target_that_gives_way_is_kept_with_why() -> None:
    slow, fine = target(1), target(2)
    exchange = opened(slow, fine)
    limit(exchange, slow)
    tries = _tries(exchange)
    assert next(tries)[0] is fine
    (kept,) = exchange.record.routing["passed_over"]
    assert (kept["provider"], kept["credential"]) == ("p1", "main")
    assert kept["why"].startswith("was refused: rate limited (429); left alone until ")
    assert [each for each, _, _ in tries] == [slow], "it is the last resort all the same"


def test_where_every_target_is_usable_nothing_is_kept() -> None:
    exchange = opened(target(1), target(2))
    assert asked(exchange) == ["p1", "p2"]
    assert exchange.record.routing == {}


@pytest.mark.parametrize("count", [1, 2])
def test_a_target_that_gave_way_to_none_is_not_kept(count: int) -> None:
    targets = [target(number) for number in range(1, count + 1)]
    exchange = opened(*targets)
    limit(exchange, *targets)
    assert asked(exchange)[0] == "p1"
    assert passed(exchange) == ["p2"][: count - 1]


def test_one_at_its_own_limit_is_kept_and_not_asked() -> None:
    full, fine = target(1, concurrent=1), target(2)
    for targets in ((full, fine), (fine, full)):
        exchange = opened(*targets)
        exchange.gateway.availability.began(full.provider, full.credential, time.monotonic())
        assert asked(exchange) == ["p2"]
        assert passed(exchange) == ["p1"]


def test_a_row_names_a_few() -> None:
    *many, fine = (target(number) for number in range(1, 9))
    exchange = opened(*many, fine)
    limit(exchange, *many)
    next(_tries(exchange))
    assert len(passed(exchange)) == MOST_PASSED_OVER
