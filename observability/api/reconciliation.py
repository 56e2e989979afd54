"""Reconciliation over the API, to be read: days, exceptions, imports of reports and closed months."""

from __future__ import annotations

from typing import Any

import django_filters
from rest_framework import serializers

from governance.api.fields import UsdField
from governance.api.filters import BooleanFilter, filterset, range_filters, text_filters
from governance.api.serializers import RowSerializer
from governance.api.views import ReadResource
from governance.models import (
    MonthLock,
    ReconciliationDay,
    ReconciliationException,
    ReconciliationLine,
    ReportImport,
)


def _usd(name: str) -> UsdField:
    return UsdField(source=f"{name}_nano_usd", read_only=True)


class LineSerializer(RowSerializer):
    ours_usd, theirs_usd = _usd("ours"), _usd("theirs")

    class Meta:
        model = ReconciliationLine
        fields = (
            "model", "token_class", "workspace_id", "ours_usd", "theirs_usd", "ours_tokens", "theirs_tokens", "status",
            "remark",
        )  # fmt: skip
        read_only_fields = fields


class DaySerializer(RowSerializer):
    ours_usd, theirs_usd, drift_usd, ledger_usd = _usd("ours"), _usd("theirs"), _usd("drift"), _usd("ledger")
    lines = LineSerializer(many=True, read_only=True)

    class Meta:
        model = ReconciliationDay
        fields = (
            "day", "state", "is_final", "ours_usd", "theirs_usd", "drift_usd", "ledger_usd", "compared_at", "lines",
        )  # fmt: skip
        read_only_fields = fields


class DayListSerializer(DaySerializer):
    """A day without its lines: those are at its own address."""

    lines = None  # type: ignore[assignment]

    class Meta:
        model = ReconciliationDay
        fields = tuple(name for name in DaySerializer.Meta.fields if name != "lines")
        read_only_fields = fields


class ExceptionSerializer(RowSerializer):
    ours_usd, theirs_usd, difference_usd = _usd("ours"), _usd("theirs"), _usd("difference")
    decided_by = serializers.SlugRelatedField[Any](slug_field="username", read_only=True)
    assigned_to = serializers.SlugRelatedField[Any](slug_field="username", read_only=True)
    customer_id = serializers.IntegerField(read_only=True, allow_null=True)

    class Meta:
        model = ReconciliationException
        fields = (
            "id", "kind", "day", "model", "token_class", "workspace_id", "customer_id", "ours_usd", "theirs_usd",
            "difference_usd", "ours_tokens", "theirs_tokens", "remark", "status", "note", "opened_at", "assigned_to",
            "decided_by", "decided_at",
        )  # fmt: skip
        read_only_fields = fields


class ImportSerializer(RowSerializer):
    class Meta:
        model = ReportImport
        fields = (
            "id", "source", "kind", "first_day", "last_day", "imported_at", "imported_by_name", "file_name", "sha256",
            "days", "lines", "unknown",
        )  # fmt: skip
        read_only_fields = fields


class LockSerializer(RowSerializer):
    total_usd = _usd("total")
    customer_id = serializers.IntegerField(read_only=True, allow_null=True, help_text="null: every customer.")
    unlocked_by = serializers.SlugRelatedField[Any](slug_field="username", read_only=True)

    class Meta:
        model = MonthLock
        fields = (
            "id", "customer_id", "month", "locked_by_name", "locked_at", "total_usd", "entries", "unlocked_by",
            "unlocked_at", "unlock_reason",
        )  # fmt: skip
        read_only_fields = fields


class Days(ReadResource):
    """UTC days, newest first: our figure, the provider's, and what became of the difference."""

    queryset = ReconciliationDay.objects.prefetch_related("lines")
    serializer_class = DaySerializer
    keyset = ("day",)
    newest_first = True
    lookup_value_regex = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    not_offered = "A day is made by comparing it; see docs/reconciliation.md."
    filterset_class = filterset(
        "DayFilters",
        {
            **text_filters("state"),
            **range_filters("day", django_filters.DateFilter),
            "is_final": BooleanFilter(field_name="is_final"),
        },
    )

    def get_serializer_class(self) -> type[DaySerializer]:
        return DayListSerializer if self.action == "list" else DaySerializer


class Exceptions(ReadResource):
    """What does not add up, newest first, and what was decided about it."""

    queryset = ReconciliationException.objects.select_related("decided_by", "assigned_to")
    serializer_class = ExceptionSerializer
    newest_first = True
    not_offered = "Exceptions are decided in the admin."
    filterset_class = filterset(
        "ExceptionFilters",
        {
            **text_filters("status"),
            **text_filters("kind"),
            **text_filters("model"),
            **range_filters("day", django_filters.DateFilter),
        },
    )


class Imports(ReadResource):
    """Reports that were read, newest first."""

    queryset = ReportImport.objects.all()
    serializer_class = ImportSerializer
    newest_first = True
    not_offered = "Reports are imported by the daily task, in the admin, or with manage.py reconcile."
    filterset_class = filterset("ImportFilters", {**text_filters("kind"), **text_filters("source")})


class Locks(ReadResource):
    """Closed months, newest first, with what they came to when they were closed."""

    queryset = MonthLock.objects.select_related("unlocked_by")
    serializer_class = LockSerializer
    newest_first = True
    not_offered = "Months are locked and unlocked in the admin."
    filterset_class = filterset("LockFilters", {**range_filters("month", django_filters.DateFilter)})
