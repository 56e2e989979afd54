"""A limit of requests, tokens or requests at once that only watches: it counts all and refuses nothing."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from governance import leases, snapshot, watched
from governance.domain.allowance import Exhausted
from governance.domain.book import Book, Hold, Short
from governance.models import AllowanceWindow, Customer, RateLimit, Team

pytestmark = pytest.mark.django_db
OWNER = "01M82H00000000000000000000"


def made(unit: str, per: str, enforcement: str) -> RateLimit:
    team = Team.objects.create(customer=Customer.objects.create(name="Acme"), name="Core")
    limit: RateLimit = RateLimit.objects.create(
        scope="team", team=team, unit=unit, limit=2, per=per, enforcement=enforcement
    )
    return limit


def exchange(book: Book, now: datetime, waiting: list[Short]) -> None:
    orders = book.orders(now, waiting)
    answers, gone = leases.exchange(OWNER, orders, processes=1, now=now)
    assert not gone
    book.answered(answers, now)


def run(enforcement: str, unit: str, per: str) -> tuple[int, AllowanceWindow | None]:
    """(how many of 5 requests, one after the other and each of 10 tokens, were let through; the row)."""
    watched.forget()
    row = made(unit, per, enforcement)
    now = datetime.now(UTC)
    book, allowance = Book(), snapshot.load(now).allowances[f"rate:{row.pk}"]
    passed = 0
    for number in range(5):
        outcome = book.admit([allowance], now, 0, 10)
        if isinstance(outcome, Short):
            exchange(book, now, [outcome])
            outcome = book.admit([allowance], now, 0, 10)
        if isinstance(outcome, Hold):
            passed += 1
            if unit != "concurrent":
                book.release(outcome)
                book.charge(f"r{number}", [allowance], now, now, 0, 10)
        else:
            assert isinstance(outcome, Exhausted | Short)
    exchange(book, now, [])
    return passed, AllowanceWindow.objects.filter(rate_limit=row).first()


@pytest.mark.parametrize(("unit", "per", "counted"), [("requests", "day", 5), ("tokens", "day", 50)])
def test_requests_and_tokens_are_counted_beyond_the_limit(unit: str, per: str, counted: int) -> None:
    passed, window = run("observe", unit, per)
    assert passed == 5
    assert window is not None
    assert (window.settled, window.held, window.strict) == (counted, 0, False)
    assert window.beyond == counted - 2


def test_requests_at_once_are_let_through() -> None:
    passed, window = run("observe", "concurrent", "")
    assert passed == 5
    assert window is None or window.held == 0


@pytest.mark.parametrize(("unit", "per"), [("requests", "day"), ("concurrent", "")])
def test_the_same_limit_that_blocks_lets_two_through(unit: str, per: str) -> None:
    """What makes the tests above able to fail."""
    passed, window = run("stop", unit, per)
    assert passed == 2
    assert window is not None
    assert window.beyond == 0
