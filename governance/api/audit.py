"""The audit trail over the API: read only."""

from __future__ import annotations

import django_filters

from governance.api.filters import NumberFilter, filterset, range_filters, text_filters
from governance.api.serializers import RowSerializer
from governance.api.views import ReadResource
from governance.models import AuditEntry


class AuditSerializer(RowSerializer):
    class Meta:
        model = AuditEntry
        fields = (
            "id", "at", "actor_name", "action", "target_type", "target_id", "target_name", "customer_id",
            "team_id", "changes", "note", "ip", "previous_hash", "hash",
        )  # fmt: skip
        read_only_fields = fields


class Audit(ReadResource):
    """Who did what to which thing, newest first. Each entry's hash covers the one before it."""

    queryset = AuditEntry.objects.all()
    serializer_class = AuditSerializer
    newest_first = True
    not_offered = "The audit trail is written by the product alone."
    filterset_class = filterset(
        "AuditFilters",
        {
            **text_filters("action"),
            **text_filters("actor_name"),
            **text_filters("target_type"),
            **text_filters("target_id"),
            **range_filters("at", django_filters.IsoDateTimeFilter),
            "customer_id": NumberFilter(field_name="customer_id"),
            "team_id": NumberFilter(field_name="team_id"),
        },
    )
