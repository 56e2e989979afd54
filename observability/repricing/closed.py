"""Which requests lie in a closed month: re-pricing leaves them out, for a closed month's figures do not move."""

from __future__ import annotations

from datetime import UTC, datetime

from governance.models import Customer
from governance.months import is_locked

CLOSED = "the month is closed; reopen it, or correct it by hand in an open one"


class ClosedMonths:
    """Answers for many requests of few customers: one question for each stretch of time that lies in one month."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, datetime], bool] = {}

    def holds(self, customer_id: int, moment: datetime) -> bool:
        """Whether the customer's month that holds the moment (aware) is closed."""
        key = customer_id, _stretch(moment)
        if key not in self._known:
            try:
                self._known[key] = is_locked(customer_id, moment)
            except Customer.DoesNotExist:
                self._known[key] = False  # gone from the configuration: nobody closes its months any more
        return self._known[key]


def _stretch(moment: datetime) -> datetime:
    """A month begins, in any zone, within a day of the UTC month's start, and on a quarter of an hour."""
    moment = moment.astimezone(UTC)
    if 2 <= moment.day <= 27:
        return moment.replace(day=2, hour=0, minute=0, second=0, microsecond=0)
    return moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0)
