"""Fixtures of the whole suite, and how its databases are emptied between tests.

A test marked `django_db` is rolled back. One marked `django_db(transaction=True)` has its tables flushed; the
triggers that guard history would refuse that, so they are dropped before the flush, and the flush's own
`post_migrate` makes them again. Nothing in the product does so: `triggers.remove` is called only from here.
"""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import TransactionTestCase

from governance import triggers, watched

_flush = TransactionTestCase._fixture_teardown


def _flush_history_too(self: Any) -> None:
    triggers.remove(triggers.history_guards(connection))
    _flush(self)


TransactionTestCase._fixture_teardown = _flush_history_too  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def _budgets_are_read_anew() -> None:
    """The ledger keeps the budgets of a version of the configuration; emptied tables count versions from one again."""
    watched.forget()
