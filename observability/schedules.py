"""The default schedules of the background tasks, made once; people may change or switch them off in the admin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask


@dataclass(frozen=True, slots=True)
class Schedule:
    """A task every so many minutes, or once a day at an hour and minute (UTC) when `every_minutes` is 0."""

    name: str
    task: str
    description: str
    every_minutes: int = 0
    at: tuple[int, int] = (0, 0)


SCHEDULES: tuple[Schedule, ...] = (
    Schedule("Roll up usage", "observability.tasks.roll_up", "Hourly sums of the request log.", every_minutes=1),
    Schedule("Write log exports", "observability.tasks.run_exports", "Exports that people asked for.", every_minutes=1),
    Schedule(
        "Evaluate alerts", "governance.tasks.evaluate_alerts", "Budget thresholds that were passed.", every_minutes=1
    ),
    Schedule(
        "Deliver alerts",
        "governance.tasks.deliver_alerts",
        "Messages that wait, and failed ones again.",
        every_minutes=1,
    ),
    Schedule(
        "Tend allowances",
        "governance.tasks.tend_allowances",
        "Gives back what silent gateway processes hold of limits (never of money); forgets old windows and processes.",
        every_minutes=2,
    ),
    Schedule(
        "Run re-pricings",
        "observability.tasks.run_repricings",
        "Previews that people asked for, and the adjustments of approved ones.",
        every_minutes=1,
    ),
    # Two hours after midnight: the longest streams that began yesterday have ended and are in the log.
    Schedule(
        "Export yesterday's log",
        "observability.tasks.schedule_daily_export",
        "Both formats, every customer; days that were missed are made up for.",
        at=(2, 0),
    ),
    Schedule(
        "Make month partitions",
        "observability.tasks.make_partitions",
        "PostgreSQL: the log and the ledger lie in months, made ahead.",
        at=(0, 40),
    ),
    # Before the day's work begins in Europe; reports are complete some minutes after the day.
    Schedule(
        "Reconcile with the provider",
        "observability.tasks.reconcile_days",
        "Reads the cost and usage reports of the last days (ANTHROPIC_ADMIN_KEY) and compares them with the ledger.",
        at=(4, 30),
    ),
    Schedule(
        "Compare changed days",
        "observability.tasks.compare_waiting_days",
        "Days of imported reports and of posted re-pricings are laid beside the provider's figures again.",
        every_minutes=1,
    ),
    Schedule(
        "Delete old request rows",
        "observability.tasks.apply_retention",
        "As COMPTROLLER_LOG_RETENTION_DAYS says; the ledger stays.",
        every_minutes=60,
    ),
)


def ensure_schedules() -> list[str]:
    """Make the schedules that are missing; gives their names. What a person changed stays as it is.

    The price refresh follows its setting, COMPTROLLER_PRICE_REFRESH_HOURS, at each start.
    """
    made: list[str] = []
    with transaction.atomic():
        for schedule in SCHEDULES:
            if not PeriodicTask.objects.filter(name=schedule.name).exists():
                _make(schedule)
                made.append(schedule.name)
        made += _follow_price_setting()
    return made


def _make(schedule: Schedule) -> PeriodicTask:
    task = PeriodicTask(name=schedule.name, task=schedule.task, description=schedule.description)
    if schedule.every_minutes:
        task.interval = _interval(schedule.every_minutes)
        # With no worker running, messages pile up; a sweep needs only the newest one.
        task.expire_seconds = schedule.every_minutes * 60
    else:
        hour, minute = schedule.at
        task.crontab, _ = CrontabSchedule.objects.get_or_create(
            minute=str(minute), hour=str(hour), day_of_week="*", day_of_month="*", month_of_year="*", timezone="UTC"
        )
    task.save()
    return task


def _follow_price_setting() -> Iterator[str]:
    name, hours = "Refresh prices", settings.COMPTROLLER["COMPTROLLER_PRICE_REFRESH_HOURS"]
    task = PeriodicTask.objects.filter(name=name).first()
    if task is None and hours:
        _make(
            Schedule(
                name,
                "governance.tasks.refresh_prices",
                "Reads COMPTROLLER_PRICE_SOURCE; differences become proposals.",
                every_minutes=hours * 60,
            )
        )
        yield name
    elif task is not None:
        if hours:
            task.interval, task.expire_seconds = _interval(hours * 60), hours * 3600
        task.enabled = bool(hours)
        task.save()


def _interval(minutes: int) -> IntervalSchedule:
    interval: IntervalSchedule
    interval, _ = IntervalSchedule.objects.get_or_create(every=minutes, period=IntervalSchedule.MINUTES)
    return interval
