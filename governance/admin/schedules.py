"""Schedules of background tasks (django-celery-beat) on unfold's widgets, with audited writes.

Its own pages leave inputs invisible under unfold, and their actions ask for no permission.
"""

from __future__ import annotations

from typing import Any

import django_celery_beat.admin  # noqa: F401  (registers its pages, which are replaced here)
from celery import current_app
from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget

from governance.admin import cells
from governance.admin.base import VisibleAdmin
from governance.services.records import save_with_audit

for model in (PeriodicTask, IntervalSchedule, CrontabSchedule, SolarSchedule, ClockedSchedule):
    admin.site.unregister(model)


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(VisibleAdmin):
    list_display = ["name", "task", "schedule_cell", "last_run", "status"]
    list_filter = ["enabled"]
    list_select_related = ["interval", "crontab", "solar", "clocked"]
    search_fields = ["name", "task"]
    fieldsets = [
        (None, {"fields": ["name", "task", "enabled", "description"]}),
        ("When: one of the two", {"fields": ["interval", "crontab"]}),
        ("With", {"fields": ["kwargs"], "classes": ["collapse"]}),
    ]
    actions = ["switch_on", "switch_off"]

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "task":
            current_app.loader.import_default_modules()
            names = sorted(name for name in current_app.tasks if not name.startswith("celery."))
            return forms.ChoiceField(choices=[(name, name) for name in names], widget=UnfoldAdminSelectWidget)
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    @display(description="When")
    def schedule_cell(self, row: PeriodicTask) -> str:
        return str(row.schedule)

    @display(description="Last run (UTC)", ordering="last_run_at")
    def last_run(self, row: PeriodicTask) -> SafeString | str:
        return cells.minute(row.last_run_at) if row.last_run_at else cells.quiet("never")

    @display(description="Status", ordering="enabled")
    def status(self, row: PeriodicTask) -> SafeString:
        return cells.active(row.enabled)

    @admin.action(description="Switch on", permissions=["change"])
    def switch_on(self, request: HttpRequest, queryset: Any) -> None:
        self._switch(request, queryset, on=True)

    @admin.action(description="Switch off", permissions=["change"])
    def switch_off(self, request: HttpRequest, queryset: Any) -> None:
        self._switch(request, queryset, on=False)

    def _switch(self, request: HttpRequest, queryset: Any, *, on: bool) -> None:
        names = [task.name for task in queryset if task.enabled != on]
        for task in queryset:
            task.enabled = on
            save_with_audit(instance=task, actor=request.user, fields=["enabled"])
        done = f"Switched {'on' if on else 'off'}: {', '.join(names)}." if names else "Nothing to change."
        self.message_user(request, done, messages.SUCCESS if names else messages.INFO)


@admin.register(IntervalSchedule)
class IntervalAdmin(VisibleAdmin):
    """How often, in hours or the like."""


@admin.register(CrontabSchedule)
class CrontabAdmin(VisibleAdmin):
    list_display = ["__str__", "human_readable"]
    fields = ["minute", "hour", "day_of_month", "month_of_year", "day_of_week", "timezone"]
