"""Availability as the request path uses it: targets that may be asked, turns, changes of the configuration, health."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.availability import Availability, CredentialState, Outcome, Reason, Result, State
from gateway.availability.breaker import LEAST_FAILURES
from gateway.availability.credentials import DEAD_SECONDS
from tests.gateway.availability.helpers import CREDENTIAL, FAILED, OK, PROVIDER, with_credentials

WALL = 1_800_000_000.0
REJECTED = Outcome(Result.CREDENTIAL, status=401)
LIMITED = Outcome(Result.RATE_LIMITED, status=429, headers=((b"retry-after", b"30"),))


@pytest.fixture
def told() -> list[tuple[Any, ...]]:
    return []


@pytest.fixture
def pool(told: list[tuple[Any, ...]]) -> Availability:
    made = Availability(wall=lambda: WALL, on_rejected=lambda *what: told.append(what))
    made.configured([PROVIDER], 0)
    return made


def attempt(pool: Availability, outcome: Outcome, now: float, provider: Any = PROVIDER, credential: Any = None) -> None:
    pool.began(provider, credential or provider.credentials[0], now).ended(now, outcome)


def test_a_healthy_target_is_usable(pool: Availability) -> None:
    assert pool.usable(PROVIDER, CREDENTIAL, 0) is None
    attempt(pool, OK, 1)
    assert pool.usable(PROVIDER, CREDENTIAL, 1) is None


def test_failures_open_the_breaker_for_all_its_credentials_and_a_probe_closes_it(pool: Availability) -> None:
    for _ in range(LEAST_FAILURES):
        attempt(pool, FAILED, 1)
    told = pool.usable(PROVIDER, CREDENTIAL, 2)
    assert told is not None
    assert (told.reason, told.until, told.last_resort) == (Reason.BREAKER, 6, True)
    assert told.why == "not asked after too many failures, the last: failed (500)"
    assert pool.usable(PROVIDER, replace(CREDENTIAL, name="other"), 2) is not None
    probe = pool.began(PROVIDER, CREDENTIAL, 6)
    assert pool.usable(PROVIDER, CREDENTIAL, 6.1) is not None
    probe.answered(6.5)
    assert pool.usable(PROVIDER, CREDENTIAL, 6.5) is None


@pytest.mark.parametrize("result", [Result.RATE_LIMITED, Result.RELAY, Result.MODEL, Result.NOTHING, Result.CREDENTIAL])
def test_what_is_not_the_providers_trouble_never_opens_it(pool: Availability, result: Result) -> None:
    for _ in range(LEAST_FAILURES * 3):
        attempt(pool, Outcome(result), 1)
    assert not pool.health(1)[0].breaker_open


@pytest.mark.parametrize("result", [Result.OVERLOADED, Result.FAILED, Result.CONNECT, Result.TIMEOUT, Result.CUT])
def test_what_is_opens_it(pool: Availability, result: Result) -> None:
    for _ in range(LEAST_FAILURES):
        attempt(pool, Outcome(result), 1)
    assert pool.health(1)[0].breaker_open


def test_a_refused_credential_cools_down_as_long_as_it_was_told_and_the_others_do_not(pool: Availability) -> None:
    provider = with_credentials(CREDENTIAL, replace(CREDENTIAL, name="second"))
    pool.configured([provider], 0)
    attempt(pool, LIMITED, 1, provider)
    told = pool.usable(provider, provider.credentials[0], 2)
    assert told is not None
    assert (told.reason, told.until, told.why) == (Reason.COOLING, 31, "was refused: rate limited (429)")
    assert pool.usable(provider, provider.credentials[1], 2) is None
    assert pool.usable(provider, provider.credentials[0], 31) is None


def test_headers_of_an_answer_make_it_rest_before_it_is_refused(pool: Availability) -> None:
    turn = pool.began(PROVIDER, CREDENTIAL, 0)
    turn.answered(1, ((b"x-ratelimit-remaining-requests", b"0"), (b"x-ratelimit-reset-requests", b"20s")))
    told = pool.usable(PROVIDER, CREDENTIAL, 2)
    assert told is not None
    assert (told.reason, told.until, told.why) == (Reason.RESTING, 21, "has no requests left")


def test_a_rejected_credential_is_dead_until_it_is_replaced(pool: Availability, told: list[tuple[Any, ...]]) -> None:
    attempt(pool, REJECTED, 1)
    attempt(pool, REJECTED, 1)
    assert told == [("anthropic", "main", 401, True, ""), ("anthropic", "main", 401, False, "")]
    assert pool.usable(PROVIDER, CREDENTIAL, 2).reason == Reason.DEAD  # type: ignore[union-attr]
    pool.configured([replace(PROVIDER, rank=3)], 2)
    assert pool.usable(PROVIDER, CREDENTIAL, 2) is not None, "nothing of the credential changed"
    replaced = replace(CREDENTIAL, secret="sk-another")
    pool.configured([with_credentials(replaced)], 3)
    assert pool.usable(PROVIDER, replaced, 3) is None


def test_a_refusal_of_the_secret_that_was_replaced_does_not_kill_the_new_one(pool: Availability) -> None:
    turn = pool.began(PROVIDER, CREDENTIAL, 0)
    replaced = with_credentials(replace(CREDENTIAL, secret="sk-another"))
    pool.configured([replaced], 1)
    turn.ended(2, REJECTED)
    attempt(pool, REJECTED, 3)
    assert pool.usable(replaced, replaced.credentials[0], 4) is None


def test_another_address_begins_anew(pool: Availability) -> None:
    for _ in range(LEAST_FAILURES):
        attempt(pool, FAILED, 1)
    moved = replace(PROVIDER, base_url="https://other.example.com")
    pool.configured([moved], 2)
    assert pool.usable(moved, CREDENTIAL, 2) is None


def test_a_probe_that_succeeds_brings_a_dead_one_back(pool: Availability) -> None:
    attempt(pool, REJECTED, 0)
    assert pool.usable(PROVIDER, CREDENTIAL, DEAD_SECONDS) is None
    attempt(pool, OK, DEAD_SECONDS)
    assert pool.usable(PROVIDER, CREDENTIAL, DEAD_SECONDS + 1) is None
    assert pool.health(DEAD_SECONDS + 1)[0].credentials[0].state == CredentialState.READY


def test_limits_of_a_credential_and_a_turn_ends_once(pool: Availability) -> None:
    limited = replace(CREDENTIAL, concurrent=1, tokens_per_minute=100)
    provider = with_credentials(limited)
    pool.configured([provider], 0)
    turn = pool.began(provider, limited, 0, tokens=100)
    assert pool.usable(provider, limited, 1).why == "is at its limit of 1 requests at once"  # type: ignore[union-attr]
    turn.ended(1, Outcome(Result.OK, tokens=60))
    turn.ended(1, FAILED)
    assert pool.usable(provider, limited, 1) is None
    assert pool.health(1)[0].requests == 1
    pool.began(provider, limited, 2, tokens=40).ended(2, Outcome(Result.CUT))
    assert pool.usable(provider, limited, 3).why == "is at its limit of 100 tokens a minute"  # type: ignore[union-attr]


def test_a_target_that_the_configuration_does_not_name_works_too(pool: Availability) -> None:
    nameless = replace(CREDENTIAL, name="none", secret="")
    simulated = replace(PROVIDER, id=9, kind="simulated", credentials=())
    attempt(pool, OK, 1, simulated, nameless)
    assert pool.usable(simulated, nameless, 1) is None
    pool.configured([simulated], 2)
    assert [(one.state, one.credentials) for one in pool.health(2)] == [(State.UP, ())]


def test_health_in_words(pool: Availability) -> None:
    provider = with_credentials(CREDENTIAL, replace(CREDENTIAL, name="second", problem="SECOND_KEY is not set"))
    pool.configured([provider], 0)
    pool.began(provider, CREDENTIAL, 0).ended(2, Outcome(Result.OK, latency=2.0, ttft=0.5))
    pool.began(provider, CREDENTIAL, 0).ended(4, Outcome(Result.OK, latency=4.0))
    (health,) = pool.health(10)
    assert (health.state, health.why) == (State.DEGRADED, "second: SECOND_KEY is not set")
    assert (health.requests, health.failures, health.latency_p50, health.ttft_p50) == (2, 0, 3.0, 0.5)
    assert [one.state for one in health.credentials] == [CredentialState.READY, CredentialState.PROBLEM]
    assert health.usable_credentials == 1
    assert health.since.timestamp() == WALL
    attempt(pool, REJECTED, 20, provider)
    (health,) = pool.health(20)
    assert health.state == State.DOWN
    assert health.why.startswith("main: rejected with 401 at ")
    assert (health.last_error, health.credentials[0].last_error) == ("rejected the credential (401)",) * 2
    attempt(pool, Outcome(Result.CREDENTIAL, status=401, said="key is off"), 21, provider)
    (health,) = pool.health(21)
    assert health.last_error == "rejected the credential (401): key is off"
    assert "off" not in health.why, "that anybody may read"
    (health,) = pool.health(30)
    assert health.since.timestamp() == WALL - 10, "it has been so since then"


def test_the_share_of_failures_degrades_it(pool: Availability) -> None:
    for number in range(20):
        attempt(pool, FAILED if number % 5 == 0 else OK, 1 + number)
    (health,) = pool.health(30)
    assert (health.state, health.why) == (State.DEGRADED, "4 of 20 requests failed in the last 5 minutes")


def test_a_provider_without_a_credential_is_down(pool: Availability) -> None:
    pool.configured([with_credentials()], 0)
    (health,) = pool.health(0)
    assert (health.state, health.why) == (State.DOWN, "it has no credential")


def test_no_secret_is_kept_or_shown(pool: Availability) -> None:
    attempt(pool, REJECTED, 1)
    assert "sk-secret" not in repr(pool.health(2))
    assert "sk-secret" not in repr(vars(pool))
