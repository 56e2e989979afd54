"""The other side of a book without a database: rows in memory that follow the same rule of granting.

For tests of decisions over values; what the real rows do is tested on them (`test_allowance_engine.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from governance.domain.allowance import Allowance, Answer, Exhausted, Order, grant
from governance.domain.book import Book, Hold, Short


@dataclass
class Window:
    settled: int = 0
    leases: dict[str, int] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)

    @property
    def held(self) -> int:
        return sum(self.leases.values())


@dataclass
class Bank:
    """Every window by place; `processes` is how many share them."""

    windows: dict[tuple[str, datetime, str], Window] = field(default_factory=dict)
    processes: int = 1

    def exchange(self, owner: str, orders: Iterable[Order]) -> list[Answer]:
        answers = []
        for order in orders:
            window = self.windows.setdefault(order.place, Window())
            lease = window.leases.get(owner, 0) - order.give
            covered = min(order.used, lease)
            window.settled += order.used
            window.leases[owner] = lease - covered
            room = order.allowance.limit - window.settled - window.held
            window.leases[owner] += grant(room, order.least, order.need, order.want, self.processes)
            version = window.versions[owner] = window.versions.get(owner, 0) + 1
            allowance, starts_at, definition = order.place
            leased, limit = window.leases[owner], order.allowance.limit
            answers.append(
                Answer(allowance, starts_at, definition, limit, window.settled, window.held, leased, version)
            )
        return answers

    def admit(
        self,
        book: Book,
        allowances: list[Allowance],
        now: datetime,
        nano_usd: int = 0,
        tokens: int = 0,
        owner: str = "p",
    ) -> Hold | Exhausted:
        """Admit, with one round of asking where the slices do not reach."""
        outcome = book.admit(allowances, now, nano_usd, tokens)
        if isinstance(outcome, Short):
            book.answered(self.exchange(owner, book.orders(now, [outcome])), now)
            outcome = book.admit(allowances, now, nano_usd, tokens)
        return book.exhausted(outcome, now) if isinstance(outcome, Short) else outcome


@dataclass
class Leasing:
    """What `gateway.leasing.Leasing` is to the request path, over a bank."""

    book: Book
    bank: Bank = field(default_factory=Bank)
    away = False

    async def ask(self, short: Short) -> None:
        now = short.missing[0][0].touched
        assert now is not None
        self.book.answered(self.bank.exchange("p", self.book.orders(now, [short])), now)
