"""Gateway processes over the API: to be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers

from governance.api.fields import UsdField
from governance.api.filters import filterset, text_filters
from governance.api.serializers import RowSerializer
from governance.api.views import ReadResource
from governance.domain.allowance import Unit
from governance.models import GatewayProcess
from governance.selectors_processes import ProcessStatus, process_statuses


class ProcessSerializer(RowSerializer):
    state = serializers.SerializerMethodField(
        help_text="running, silent (no sign of life for 15 s), ended (in order) or recovered (died, or was released)."
    )
    held_usd = serializers.SerializerMethodField(help_text="Of the budgets that you may see.")
    held_requests = serializers.SerializerMethodField()
    held_tokens = serializers.SerializerMethodField()
    held_concurrent = serializers.SerializerMethodField(help_text="Requests at once.")

    class Meta:
        model = GatewayProcess
        fields = (
            "id", "host", "pid", "state", "started_at", "seen_at", "ended_at", "note", "held_usd", "held_requests",
            "held_tokens", "held_concurrent",
        )  # fmt: skip
        read_only_fields = fields

    def get_state(self, row: GatewayProcess) -> str:
        return self._status(row).state

    def get_held_usd(self, row: GatewayProcess) -> str:
        return UsdField().to_representation(self._status(row).held_nano_usd)

    def get_held_requests(self, row: GatewayProcess) -> int:
        return self._status(row).held.get(Unit.REQUESTS, 0)

    def get_held_tokens(self, row: GatewayProcess) -> int:
        return self._status(row).held.get(Unit.TOKENS, 0)

    def get_held_concurrent(self, row: GatewayProcess) -> int:
        return self._status(row).held.get(Unit.CONCURRENT, 0)

    def _status(self, row: GatewayProcess) -> ProcessStatus:
        view: Processes = self.context["view"]
        return view.status_of(row)


class Processes(ReadResource):
    """Gateway processes, newest first, and what each holds of budgets and limits for running and coming requests."""

    queryset = GatewayProcess.objects.all()
    serializer_class = ProcessSerializer
    of_the_installation = True
    lookup_value_regex = r"[0-9A-Z]{26}"
    newest_first = True
    http_method_names = ["get", "head", "options"]
    not_offered = "Processes enter and leave by themselves; what a dead one holds is released in the admin."
    filterset_class = filterset("ProcessFilters", text_filters("host"))

    def paginate_queryset(self, queryset: QuerySet[Any] | Sequence[Any]) -> list[Any] | None:
        page = super().paginate_queryset(queryset)
        self._statuses = process_statuses(page or [], self.request.user)
        return page

    def status_of(self, row: GatewayProcess) -> ProcessStatus:
        """How the process is: read with its page, or now."""
        statuses: dict[str, ProcessStatus] = getattr(self, "_statuses", {})
        if row.pk not in statuses:
            self._statuses = statuses | process_statuses([row], self.request.user)
        return self._statuses[row.pk]
