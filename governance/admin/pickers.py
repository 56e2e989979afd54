"""How rows are named where one is picked: a key with its team, since many teams have a key called `laptop`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.db.models import QuerySet

from governance.models import ProviderAccess, VirtualKey

RELATED: dict[str, tuple[str, ...]] = {
    "virtual_key": ("team__customer",),
    "provider_access": ("virtual_key__team__customer", "provider"),
}
"""What to load with the rows of a form field."""


def label(row: Any) -> str:
    """`ada-laptop (Acme / Core)`; every other row as it names itself."""
    if isinstance(row, VirtualKey):
        return f"{row.name} ({row.team})"
    if isinstance(row, ProviderAccess):
        return f"{row.provider} of {label(row.virtual_key)}"
    return str(row)


LABELS: dict[str, Callable[[Any], str]] = dict.fromkeys(RELATED, label)
"""By the name of the form field."""


class Picker(AutocompleteJsonView):
    """The suggestions under a search field of the admin. Set it at `/admin/autocomplete/`, ahead of Django's own."""

    def get_queryset(self) -> QuerySet[Any]:
        found: QuerySet[Any] = super().get_queryset()
        return found.select_related(*RELATED["virtual_key"]) if found.model is VirtualKey else found

    def serialize_result(self, obj: Any, to_field_name: str) -> dict[str, str]:
        return {**super().serialize_result(obj, to_field_name), "text": label(obj)}
