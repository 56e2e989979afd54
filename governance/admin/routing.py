"""Routing rules, in the order in which they are looked at, and the weights of the complexity score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from governance.admin import cells, pickers
from governance.admin.base import VisibleAdmin, VisibleRelatedFilter
from governance.admin.routing_forms import TARGETS, RuleForm, WeightsForm
from governance.domain.cel import ConditionFailed
from governance.domain.facts import LANGUAGE, VARIABLES, Facts, values_of
from governance.domain.model_ids import candidates, normalise
from governance.domain.routing import describe
from governance.models import Price, Provider, RoutingRule, RoutingSettings
from governance.services import routing
from governance.templatetags import money

Counter = Callable[[HttpRequest, Sequence[str]], Mapping[str, int]]
_SHOWN_CONDITION = 140


@admin.register(RoutingRule)
class RoutingRuleAdmin(VisibleAdmin):
    """`counters` count what rules did, by their names; apps above this one add theirs."""

    counters: list[Counter] = []
    form = RuleForm
    list_display = ["num_order", "whose", "name_cell", "condition_cell", "action_cell", "num_matches", "status"]
    list_display_links = ["name_cell"]
    list_select_related = ["customer", "team__customer", "virtual_key__team__customer"]
    list_filter = [
        ("scope", ChoicesDropdownFilter),
        ("customer", VisibleRelatedFilter),
        ("team", VisibleRelatedFilter),
        "is_active",
    ]
    search_fields = ["name", "description", "condition"]
    # Arranged over all of them: an installation has some dozens, a few hundred at most.
    list_per_page = 500
    list_fullwidth = True
    sortable_by: list[str] = []
    list_before_template = "admin/governance/rules_before.html"
    change_form_outer_before_template = "admin/governance/rule_verdict.html"
    change_form_after_template = "admin/governance/rule_variables.html"
    autocomplete_fields = list(TARGETS)
    conditional_fields = {name: f"scope == '{name}'" for name in TARGETS}
    actions = ["move_up", "move_down", "switch_on", "switch_off"]
    _rest: list[tuple[str | None, dict[str, Any]]] = [
        ("When", {"fields": ["condition"]}),
        (
            "Then",
            {
                "fields": ["targets", "fallbacks", "deny"],
                "description": "Targets, or a refusal, decide: no later rule is looked at. What is below applies and "
                "the next rule is looked at.",
            },
        ),
        (
            "Besides",
            {"fields": ["max_tokens", "on_rate_limit", "hedge_ms", "set_headers"], "classes": ["collapse"]},
        ),
    ]
    add_fieldsets = [
        (None, {"fields": ["name", "description", "scope", *TARGETS, "position", "is_active"]}),
        *_rest,
    ]
    fieldsets = [
        (None, {"fields": ["name", "description", "target_link", "position", "is_active"]}),
        *_rest,
    ]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        found = self.fieldsets if obj else self.add_fieldsets
        if obj is not None and (obj.max_tokens or obj.on_rate_limit or obj.hedge_ms or obj.set_headers):
            # What is in use stands open.
            return [(title, {name: told for name, told in part.items() if name != "classes"}) for title, part in found]
        return found

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [*super().get_readonly_fields(request, obj), *(["target_link"] if obj else [])]

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        for told in _warnings(obj):
            self.message_user(request, told, messages.WARNING)

    # --- the list -------------------------------------------------------------------------------------------------
    def load_page(self, request: HttpRequest, rows: list[Any]) -> list[Any]:
        providers = {row.pk: row for row in Provider.objects.all()}
        names = {pk: row.name for pk, row in providers.items()}
        active = {pk: row.is_active for pk, row in providers.items()}
        matches = self._matches(request, rows)
        ordered: list[Any] = []
        arranged: list[Any] = routing.in_order(rows)
        for _, group in groupby(arranged, key=lambda row: (row.scope, row.target and row.target.pk)):
            for number, row in enumerate(group, 1):
                row.page_number, row.page_names = number, names
                row.page_problem, row.page_matches = routing.problem(row, active), matches.get(row.name, 0)
                ordered.append(row)
        return ordered

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> Any:
        rule = self.get_object(request, object_id)
        context = {"variables": VARIABLES, **(extra_context or {})}
        if isinstance(rule, RoutingRule):
            self.load_page(request, [rule])
            context |= {
                "rule": rule,
                "rule_action": self._told(rule),
                "rule_matches": self.num_matches(rule),
                "rule_state": self.status(rule),
            }
        return super().change_view(request, object_id, form_url, context)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        answer: HttpResponse = super().add_view(request, form_url, {"variables": VARIABLES, **(extra_context or {})})
        return answer

    def _matches(self, request: HttpRequest, rows: list[Any]) -> dict[str, int]:
        found: dict[str, int] = {}
        for counter in self.counters:
            found |= counter(request, [row.name for row in rows])
        return found

    def _told(self, row: Any) -> str:
        if row.deny:
            return f"Refused: “{row.deny}”"
        told = describe(row.action, row.page_names)
        return told[:1].upper() + told[1:]

    @display(description="#")
    def num_order(self, row: Any) -> str:
        return str(row.page_number)

    @display(description="For")
    def whose(self, row: RoutingRule) -> SafeString:
        if row.target is None:
            return format_html("<strong>{}</strong>", "Everybody")
        return format_html('{}<div class="cmp-note">{}</div>', pickers.label(row.target), row.get_scope_display())

    @display(description="Rule")
    def name_cell(self, row: RoutingRule) -> SafeString:
        return format_html('{}<div class="cmp-note cmp-change">{}</div>', row.name, row.description)

    @display(description="When")
    def condition_cell(self, row: RoutingRule) -> SafeString | str:
        if row.condition.strip() == "true":
            return cells.quiet("always")
        text = " ".join(row.condition.split())
        short = text if len(text) <= _SHOWN_CONDITION else f"{text[: _SHOWN_CONDITION - 1]}…"
        return format_html('<span class="cmp-mono cmp-change" title="{}">{}</span>', row.condition, short)

    @display(description="Then")
    def action_cell(self, row: Any) -> SafeString:
        warning = format_html('<div class="cmp-note cmp-state--at_risk">▲ {}</div>', row.page_problem)
        return format_html('<div class="cmp-change">{}</div>{}', self._told(row), warning if row.page_problem else "")

    @display(description="Decided, 24 h")
    def num_matches(self, row: Any) -> str:
        if not row.action.decides:
            return money.DASH
        return f"{row.page_matches:,}" if row.page_matches else money.DASH

    @display(description="Status")
    def status(self, row: RoutingRule) -> SafeString:
        return cells.active(row.is_active)

    @display(description="For")
    def target_link(self, row: RoutingRule) -> str:
        return f"{row.get_scope_display()} {pickers.label(row.target)}" if row.target else "Everybody"

    # --- what people do -------------------------------------------------------------------------------------------
    @admin.action(description="Move up: look at it earlier", permissions=["change"])
    def move_up(self, request: HttpRequest, queryset: Any) -> None:
        self._move(request, queryset, up=True)

    @admin.action(description="Move down: look at it later", permissions=["change"])
    def move_down(self, request: HttpRequest, queryset: Any) -> None:
        self._move(request, queryset, up=False)

    def _move(self, request: HttpRequest, queryset: Any, *, up: bool) -> None:
        rows = routing.in_order(queryset.select_related(*self.list_select_related))
        moved = [
            row.name for row in (rows if up else reversed(rows)) if routing.move(rule=row, up=up, actor=request.user)
        ]
        told = f"Moved {'up' if up else 'down'}: {', '.join(moved)}." if moved else "It stands at the end already."
        self.message_user(request, told, messages.SUCCESS if moved else messages.INFO)

    @admin.action(description="Switch on", permissions=["change"])
    def switch_on(self, request: HttpRequest, queryset: Any) -> None:
        self._switch(request, queryset, on=True)

    @admin.action(description="Switch off: as if it were not there", permissions=["change"])
    def switch_off(self, request: HttpRequest, queryset: Any) -> None:
        self._switch(request, queryset, on=False)

    def _switch(self, request: HttpRequest, queryset: Any, *, on: bool) -> None:
        changed = [row for row in queryset if row.is_active != on]
        for row in changed:
            routing.change(rule=row, actor=request.user, is_active=on)
        names = ", ".join(row.name for row in changed)
        done = f"Switched {'on' if on else 'off'}: {names}." if changed else "Nothing to change."
        self.message_user(request, done, messages.SUCCESS if changed else messages.INFO)


def _warnings(rule: RoutingRule) -> list[str]:
    """What is allowed and most likely not meant."""
    told = []
    condition = LANGUAGE.compile(rule.condition)
    try:
        condition.holds(LANGUAGE.bind(values_of(Facts(), condition.names)))
    except ConditionFailed as error:
        told.append(
            f"On a request without headers and tags the condition fails ({error}): the rule is then passed over, "
            'counted and told. Ask first whether it is there: "x-a" in headers && headers["x-a"] == "b".'
        )
    known = set(Price.objects.values_list("model_id", flat=True))
    models = {target.model for target in (*rule.action.targets, *rule.action.fallbacks) if target.model}
    unknown = sorted(model for model in models if not any(name in known for name, _ in candidates(normalise(model))))
    if unknown:
        told.append(f"{', '.join(unknown)} is not in the price list: requests would go to a model without a price.")
    active = dict(Provider.objects.values_list("pk", "is_active"))
    if problem := routing.problem(rule, active):
        told.append(problem)
    return told


@admin.register(RoutingSettings)
class RoutingSettingsAdmin(VisibleAdmin):
    """One row, made when somebody looks for it."""

    form = WeightsForm
    list_display = ["__str__", "weights_cell"]
    actions = None
    change_form_outer_before_template = "admin/governance/weights_before.html"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return list(WeightsForm(instance=obj or RoutingSettings()).fields)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        return self.form

    def get_queryset(self, request: HttpRequest) -> Any:
        RoutingSettings.objects.get_or_create(pk=1)
        return super().get_queryset(request)

    @display(description="Weights")
    def weights_cell(self, row: RoutingSettings) -> str:
        return ", ".join(f"{name} {weight:g}" for name, weight in row.weights.items())

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        routing.set_weights(weights=obj.complexity_weights, actor=request.user)
