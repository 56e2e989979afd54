"""What the pages of budgets and rate limits have in common: one target, chosen once, and models that exist."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest
from django.utils.text import capfirst
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from governance.admin import pickers
from governance.admin.base import VisibleAdmin, VisibleRelatedFilter
from governance.domain.access import matches
from governance.domain.model_ids import candidates, normalise
from governance.models import AllowanceWindow, Lease, Price, ScopedLimit

TARGETS = [scope.value for scope in ScopedLimit.Scope]
_RELATED = [
    "customer", "team__customer", "project__customer", "developer", "virtual_key__team__customer",
    "provider_access__virtual_key__team__customer", "provider_access__provider",
]  # fmt: skip
_COUNTERS = (AllowanceWindow, Lease)


class ScopedLimitForm(forms.ModelForm):  # type: ignore[type-arg]
    """One target, the one that the scope names; what was left in a hidden input does not count."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in TARGETS:
            if name in self.fields:
                self.fields[name].required = False
        for name, label in pickers.LABELS.items():
            if name in self.fields:
                choices: Any = self.fields[name]
                choices.label_from_instance = label
                choices.queryset = choices.queryset.select_related(*pickers.RELATED[name])

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        scope = values.get("scope")
        if scope is None:
            return values
        target = values.get(scope)
        if target is None:
            self.add_error(scope, f"Choose the {ScopedLimit.Scope(scope).label.lower()} that it limits.")
            return values
        limit = self._meta.model(scope=scope, **{scope: target})
        limit.fill_tenancy()
        values.update({name: None for name in TARGETS if name != scope})
        values.update(customer=limit.customer, team=limit.team)
        return values


class ScopedLimitAdmin(VisibleAdmin):
    """Common part: a target is chosen once and stays."""

    form = ScopedLimitForm
    list_select_related = _RELATED
    list_filter = [
        ("customer", VisibleRelatedFilter),
        ("team", VisibleRelatedFilter),
        ("scope", ChoicesDropdownFilter),
        "is_active",
    ]
    search_fields = [
        "customer__name", "team__name", "project__name", "developer__email", "virtual_key__name",
    ]  # fmt: skip
    autocomplete_fields = [name for name in TARGETS if name != "provider_access"]
    conditional_fields = {name: f"scope == '{name}'" for name in TARGETS}

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [*super().get_readonly_fields(request, obj), *(["target_link"] if obj else [])]

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Without its counters, which are no thing of their own to a person: they go with it."""
        rows, counts, needed, protected = super().get_deleted_objects(objs, request)
        for model in _COUNTERS:
            counts.pop(model._meta.verbose_name_plural, None)
        return _without_counters(rows), counts, needed, protected

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        pairs: dict[str, str] = getattr(obj, "downgrade", {})
        if not (obj.model_patterns or pairs):
            return
        known = set(Price.objects.values_list("model_id", flat=True))
        named = dict.fromkeys([*obj.model_patterns, *pairs])
        idle = [pattern for pattern in named if not any(matches((pattern,), model) for model in known)]
        if idle:
            told = f"No model in the price list fits {', '.join(idle)}: is it the id that requests name?"
            self.message_user(request, told, messages.WARNING)
        unknown = sorted({to for to in pairs.values() if not any(n in known for n, _ in candidates(normalise(to)))})
        if unknown:
            told = f"{', '.join(unknown)} is not in the price list: requests would be sent to a model without a price."
            self.message_user(request, told, messages.WARNING)

    @display(description="Limits")
    def target_link(self, row: ScopedLimit) -> str:
        return f"{row.get_scope_display()} {pickers.label(row.target)}"


def _without_counters(rows: list[Any]) -> list[Any]:
    """Django's nested list of what goes, each line `Kind: name`, less the lines of counters."""
    kinds = tuple(f"{capfirst(model._meta.verbose_name)}: " for model in _COUNTERS)
    kept = [_without_counters(row) if isinstance(row, list) else row for row in rows]
    return [row for row in kept if row and not (isinstance(row, str) and row.startswith(kinds))]
