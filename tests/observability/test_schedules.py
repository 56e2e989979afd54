"""The default schedules: made once, never against a person's will, for tasks that exist."""

from __future__ import annotations

from typing import Any

import pytest
from celery import current_app
from django_celery_beat.models import PeriodicTask

from observability.schedules import SCHEDULES, ensure_schedules

pytestmark = pytest.mark.django_db


def test_made_once_and_a_persons_change_stays() -> None:
    assert ensure_schedules() == [schedule.name for schedule in SCHEDULES]
    PeriodicTask.objects.filter(name="Roll up usage").update(enabled=False)
    assert ensure_schedules() == []
    assert not PeriodicTask.objects.get(name="Roll up usage").enabled
    exports = PeriodicTask.objects.get(name="Export yesterday's log")
    assert (exports.crontab.hour, str(exports.crontab.timezone)) == ("2", "UTC")


def test_the_price_refresh_follows_its_setting(settings: Any) -> None:
    def start(hours: int) -> PeriodicTask | None:
        settings.COMPTROLLER = {**settings.COMPTROLLER, "COMPTROLLER_PRICE_REFRESH_HOURS": hours}
        ensure_schedules()
        return PeriodicTask.objects.filter(name="Refresh prices").first()

    assert start(0) is None
    for hours, enabled in ((6, True), (12, True), (0, False), (6, True)):
        task = start(hours)
        assert task is not None
        assert (task.enabled, task.interval.every) == (enabled, (hours or 12) * 60)


def test_every_task_exists() -> None:
    import gateway.celery  # noqa: F401  (finds the tasks of all apps)

    current_app.loader.import_default_modules()
    assert {schedule.task for schedule in SCHEDULES} <= set(current_app.tasks)
