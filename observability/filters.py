"""The filters of the request log: one meaning for the list, the live log's frames and its catch-up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet

from observability.models import Request

STATUSES = tuple(Request.Status.values)


class BadFilter(ValueError):
    """A filter has a value that it cannot take; the message says which and why."""


@dataclass(frozen=True, slots=True)
class LogFilter:
    """What a person chose to see. An empty field restricts nothing."""

    customer: int | None = None
    team: int | None = None
    key: int | None = None
    model: str = ""
    """Part of the id of the model served, or of the one asked for where none was; case does not matter."""
    status: str = ""

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> LogFilter:
        """From a query string or a message of the live log. Raises BadFilter."""
        status = _text(values, "status")
        if status and status not in STATUSES:
            raise BadFilter(f"Status must be one of {', '.join(STATUSES)}, not {status!r}.")
        return cls(
            customer=_identifier(values, "customer"),
            team=_identifier(values, "team"),
            key=_identifier(values, "key"),
            model=_text(values, "model").lower(),
            status=status,
        )

    def apply(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """The same restriction on the table."""
        if self.customer is not None:
            rows = rows.filter(customer_id=self.customer)
        if self.team is not None:
            rows = rows.filter(team_id=self.team)
        if self.key is not None:
            rows = rows.filter(virtual_key_id=self.key)
        if self.status:
            rows = rows.filter(status=self.status)
        if self.model:
            asked = Q(model="", model_requested__icontains=self.model)
            rows = rows.filter(Q(model__icontains=self.model) | asked)
        return rows

    def matches(self, row: Mapping[str, Any]) -> bool:
        """The same restriction on one row of a frame."""
        return (
            (self.customer is None or row["customer_id"] == self.customer)
            and (self.team is None or row["team_id"] == self.team)
            and (self.key is None or row["virtual_key_id"] == self.key)
            and (not self.status or row["status"] == self.status)
            and (not self.model or self.model in (row["model"] or row["model_requested"]).lower())
        )


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name) or ""
    if not isinstance(value, str) or len(value) > 200:
        raise BadFilter(f"{name.capitalize()} must be a text of at most 200 characters.")
    return value.strip()


def _identifier(values: Mapping[str, Any], name: str) -> int | None:
    value = values.get(name)
    if value is None or value == "":
        return None
    # 18 digits stay inside a signed 64-bit column: a longer number is no id, and would fail in the database.
    if isinstance(value, bool) or not str(value).isascii() or not str(value).isdigit() or len(str(value)) > 18:
        raise BadFilter(f"{name.capitalize()} must be a number from the list, not {value!r}.")
    return int(value)
