"""Several workers at the same moment: each threshold once, each message once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TypeVar

import pytest
from django.db import connection

from governance.alerts.deliver import Tally, deliver
from governance.alerts.evaluate import evaluate
from governance.models import Alert, AlertDelivery, Budget, VirtualKey
from governance.services import alerts
from tests.fakes.receiver import Receiver
from tests.governance.alerts.conftest import NOW, USD, Spend

pytestmark = pytest.mark.django_db(transaction=True)
WORKERS = 8
T = TypeVar("T")


def at_once(work: Callable[[], T]) -> list[T]:
    """Run `work` in eight threads, each with a connection of its own, from the same moment on."""
    barrier = threading.Barrier(WORKERS)

    def run() -> T:
        try:
            barrier.wait(10)
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(WORKERS) as pool:
        return [future.result() for future in [pool.submit(run) for _ in range(WORKERS)]]


def test_eight_evaluations_at_once_tell_once(key: VirtualKey, spend: Spend) -> None:
    common = {"scope": "team", "team": key.team, "limit_nano_usd": 10 * USD, "owner_email": "owner@acme.test"}
    budgets = [Budget.objects.create(**common, alerts=[50, 80, 95, 100], period=period) for period in ("day", "month")]
    budgets.append(Budget.objects.create(**common, alerts=[50, 80], period="day", rolling=30))
    for spent, expected in ((6.0, [50]), (3.0, [80]), (2.0, [95, 100])):
        spend(spent)
        found = [alert for alerts in at_once(lambda: evaluate(NOW)) for alert in alerts]
        for budget in budgets:
            mine = sorted(alert.threshold or 0 for alert in found if alert.budget_id == budget.pk)
            assert mine == [threshold for threshold in expected if threshold in budget.alerts]
    assert Alert.objects.count() == 4 + 4 + 2
    # 50, 80 and 100 were told of the two of them, 50 and 80 of the third: 95 was passed together with 100.
    assert AlertDelivery.objects.count() == 3 + 3 + 2


def test_eight_workers_send_each_message_once(budget: Budget, spend: Spend, hook: Receiver) -> None:
    for number in range(5):
        alerts.create_channel(customer=budget.customer, name=f"hook {number}", kind="webhook", url=hook.url, actor=None)
    Budget.objects.update(owner_email="", approver_email="")
    spend(80)
    evaluate(NOW)
    tallies = at_once(deliver)
    assert sum(tally.sent for tally in tallies) == len(hook.posted) == 5
    assert len({posted.headers["x-comptroller-delivery"] for posted in hook.posted}) == 5
    assert set(AlertDelivery.objects.values_list("status", "attempts")) == {("sent", 1)}
    assert deliver(lambda: datetime.now(UTC)) == Tally()
