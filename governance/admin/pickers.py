"""How rows are named where one is picked: a key with its team, since many teams have a key called `laptop`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.db.models import QuerySet
from django.utils import timezone

from governance.domain.money import show_usd
from governance.effective import InForce, limits_in_force
from governance.models import Budget, ProviderAccess, VirtualKey

RELATED: dict[str, tuple[str, ...]] = {
    "virtual_key": ("team__customer",),
    "provider_access": ("virtual_key__team__customer", "provider"),
    "budget": (
        "customer",
        "team__customer",
        "project__customer",
        "developer",
        "virtual_key",
        "provider_access__virtual_key",
        "provider_access__provider",
    ),
}
"""What to load with the rows of a form field."""


def label(row: Any) -> str:
    """`ada-laptop (Acme / Core)`, `Acme / Core per month: $100.00`; every other row as it names itself."""
    if isinstance(row, VirtualKey):
        return f"{row.name} ({row.team})"
    if isinstance(row, ProviderAccess):
        return f"{row.provider} of {label(row.virtual_key)}"
    if isinstance(row, Budget):
        return _of_budget(row, limits_in_force([row], timezone.now()))
    return str(row)


def _of_budget(budget: Budget, limits: Mapping[int, InForce]) -> str:
    return f"{budget}: {show_usd(limits[budget.pk].total)}"


LABELS: dict[str, Callable[[Any], str]] = dict.fromkeys(RELATED, label)
"""By the name of the form field."""


class Picker(AutocompleteJsonView):
    """The suggestions under a search field of the admin. Set it at `/admin/autocomplete/`, ahead of Django's own."""

    def get_queryset(self) -> QuerySet[Any]:
        found: QuerySet[Any] = super().get_queryset()
        if found.model is Budget:
            # Picked to ask for more of it: one that is switched off limits nothing.
            return found.filter(is_active=True).select_related(*RELATED["budget"])
        return found.select_related(*RELATED["virtual_key"]) if found.model is VirtualKey else found

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context_data(**kwargs)
        rows = context["object_list"] = list(context["object_list"])
        # Read once for the page, not for each row of it.
        self.limits = limits_in_force([row for row in rows if isinstance(row, Budget)], timezone.now())
        return context

    def serialize_result(self, obj: Any, to_field_name: str) -> dict[str, str]:
        text = _of_budget(obj, self.limits) if isinstance(obj, Budget) else label(obj)
        return {**super().serialize_result(obj, to_field_name), "text": text}
