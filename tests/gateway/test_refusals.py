"""What a client is told when a limit of requests or tokens refuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway.errors import _rate_answer
from governance.domain.allowance import Allowance, Exhausted, Unit

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def refused(unit: Unit, limit: int, seconds: int) -> tuple[str, dict[bytes, bytes]]:
    allowance = Allowance("rate:1", 1, unit, limit, "team", "Core", "Core", seconds=seconds)
    answer = _rate_answer(Exhausted(allowance, limit, limit, 0, NOW + timedelta(seconds=30), 30))
    return answer.message, dict(answer.headers)


@pytest.mark.parametrize(
    ("unit", "seconds", "what"),
    [
        (Unit.REQUESTS, 60, "0 requests per minute"),
        (Unit.TOKENS, 86400, "0 tokens per day"),
        (Unit.CONCURRENT, 0, "0 requests at once"),
    ],
)
def test_a_limit_of_zero_names_no_moment_when_there_is_room(unit: Unit, seconds: int, what: str) -> None:
    message, headers = refused(unit, 0, seconds)
    assert message == f"The limit of team Core is {what}: it lets none through until it is raised."
    assert b"retry-after" not in headers
    assert headers[b"x-should-retry"] == b"false"


def test_any_other_limit_names_it() -> None:
    message, headers = refused(Unit.REQUESTS, 60, 60)
    assert message == "The limit of team Core is 60 requests per minute; it has room again in 30 s."
    assert headers[b"retry-after"] == b"30"
