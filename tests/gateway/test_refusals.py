"""What a client is told when a limit or a budget refuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway.errors import _rate_answer, exhausted, key_missing, key_unknown
from gateway.wire.forms import Form
from governance.domain.access import Grant
from governance.domain.allowance import Allowance, Enforcement, Exhausted, Unit

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
GRANT = Grant(1, "ada-laptop", 1, "Acme", 1, "Core")


def refused(unit: Unit, limit: int, seconds: int) -> tuple[str, dict[bytes, bytes]]:
    allowance = Allowance("rate:1", 1, unit, limit, "team", "Core", "Core", seconds=seconds)
    answer = _rate_answer(Exhausted(allowance, limit, limit, 0, 1, NOW + timedelta(seconds=30), 30))
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


def test_a_budget_whose_room_is_only_held_asks_the_client_to_wait() -> None:
    budget = Allowance("budget:1", 1, Unit.USD, 10 * 10**9, "team", "Core", "Core per month", Enforcement.HARD)
    waits = exhausted(Exhausted(budget, 10 * 10**9, 10**9, 9 * 10**9, 2 * 10**9, NOW, 734_400), GRANT, 2 * 10**9).answer
    assert (waits.status, waits.type, dict(waits.headers)) == (429, "rate_limit_error", {b"retry-after": b"2"})
    assert "$9.00 left of $10.00" in waits.message
    gone = exhausted(Exhausted(budget, 10 * 10**9, 9 * 10**9, 0, 2 * 10**9, NOW, 734_400), GRANT, 2 * 10**9).answer
    assert dict(gone.headers)[b"x-should-retry"] == b"false"


@pytest.mark.parametrize(
    ("form", "variable"),
    [
        (Form.ANTHROPIC, "ANTHROPIC_AUTH_TOKEN"),
        (Form.VERTEX, "ANTHROPIC_AUTH_TOKEN"),
        (Form.BEDROCK, "AWS_BEARER_TOKEN_BEDROCK"),
        (Form.OPENAI_CHAT, "OPENAI_API_KEY"),
        (Form.OPENAI_RESPONSES, "OPENAI_API_KEY"),
    ],
)
def test_who_has_no_key_is_told_where_its_client_takes_it_from(form: Form, variable: str) -> None:
    assert f"Set {variable} to the key" in str(key_missing(form))
    assert f"Check {variable}, or" in str(key_unknown(form))
