"""Customers, teams, projects and developers."""

from __future__ import annotations

from collections import defaultdict
from typing import Any
from zoneinfo import ZoneInfo

from django.contrib import admin, messages
from django.db.models import Count, Q, Sum
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.decorators import display

from governance.admin import cells
from governance.admin.base import VisibleAdmin, VisibleInline, VisibleRelatedFilter
from governance.domain.money import show_usd
from governance.models import Budget, Customer, Developer, LedgerEntry, Membership, Project, Team
from governance.querysets import scope_filter
from governance.selectors import BudgetStatus, budget_statuses, month_start
from governance.services import moves, tenants
from governance.templatetags import money

_RELATED = ("team__customer", "project__customer", "developer")


class TenantAdmin(VisibleAdmin):
    """Common part: spend of the month and the tightest budget in the list, switching on and off."""

    scope: str
    actions = ["switch_on", "switch_off"]

    def load_page(self, request: HttpRequest, rows: list[Any]) -> list[Any]:
        now, ids = timezone.now(), [row.pk for row in rows]
        column = f"{self.scope}_id"
        # Who sees one team of a customer sees that team's part of its spend, not the whole.
        theirs = scope_filter(request.user, customer="customer_id", team="team_id") or Q()
        spent = dict(
            LedgerEntry.objects.filter(theirs, **{f"{column}__in": ids}, occurred_at__gte=month_start(now))
            .order_by()
            .values_list(column)
            .annotate(total=Sum("amount_nano_usd"))
        )
        budgets = Budget.objects.visible_to(request.user).filter(
            scope=self.scope, is_active=True, **{f"{column}__in": ids}
        )
        found = list(budgets.select_related("customer", *_RELATED))
        if self.scope != "customer":
            # What also limits them, whoever may see it: the same rule as in the list of keys.
            above = Q(scope="customer", customer__in={row.customer_id for row in rows})
            if self.scope != "team":
                above |= Q(scope="team", team__in={row.team_id for row in rows if row.team_id})
            found += Budget.objects.filter(above, is_active=True).select_related("customer", *_RELATED)
        tightest: dict[tuple[str, int], BudgetStatus] = {}
        for status in budget_statuses(found, now).values():
            place = (status.budget.scope, getattr(status.budget, f"{status.budget.scope}_id"))
            if place not in tightest or status.share > tightest[place].share:
                tightest[place] = status
        for row in rows:
            places = [(self.scope, row.pk), ("customer", getattr(row, "customer_id", 0))]
            places.append(("team", getattr(row, "team_id", None) or 0))
            statuses = [tightest[place] for place in places if place in tightest]
            row.page_spent = spent.get(row.pk, 0)
            row.page_status = max(statuses, key=lambda status: status.share, default=None)
        return rows

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        # It stays with its customer: its costs, keys and memberships lean on that.
        return [*super().get_readonly_fields(request, obj), *(["customer"] if obj and self.scope != "customer" else [])]

    @display(description="This month (USD)")
    def num_spent(self, row: Any) -> str:
        return money.usd(row.page_spent)

    @display(description="Tightest budget")
    def bar(self, row: Any) -> SafeString:
        return cells.bar(row.page_status, name_it=self.scope != "customer")

    @display(description="Status", ordering="is_active")
    def status(self, row: Any) -> SafeString:
        return cells.active(row.is_active)

    @admin.action(description="Switch on", permissions=["change"])
    def switch_on(self, request: HttpRequest, queryset: Any) -> None:
        self._switch(request, queryset, on=True)

    @admin.action(description="Switch off: refuse their keys", permissions=["change"])
    def switch_off(self, request: HttpRequest, queryset: Any) -> None:
        self._switch(request, queryset, on=False)

    def _switch(self, request: HttpRequest, queryset: Any, *, on: bool) -> None:
        switch = tenants.activate if on else tenants.deactivate
        changed = [str(row) for row in queryset if switch(tenant=row, actor=request.user)]
        done = f"Switched {'on' if on else 'off'}: {', '.join(changed)}." if changed else "Nothing to change."
        self.message_user(request, done, messages.SUCCESS if changed else messages.INFO)


class MembershipInline(VisibleInline):
    """Who may see a customer or team."""

    model = Membership
    autocomplete_fields = ["user", "customer", "team"]
    verbose_name_plural = "who may see it"

    def get_queryset(self, request: HttpRequest) -> Any:
        return visible_memberships(super().get_queryset(request), request.user)


def visible_memberships(memberships: Any, user: Any) -> Any:
    """Memberships of the customers and teams that a user may see as a whole."""
    if user.is_superuser:
        return memberships
    mine = list(user.memberships.values_list("customer_id", "team_id"))
    return memberships.filter(
        Q(customer__in=[customer for customer, team in mine if team is None])
        | Q(team__in=[team for _, team in mine if team is not None])
    )


@admin.register(Customer)
class CustomerAdmin(TenantAdmin):
    scope = "customer"
    list_display = ["name", "num_teams", "num_keys", "bar", "num_spent", "timezone", "status"]
    list_filter = ["is_active"]
    search_fields = ["name"]
    fieldsets = [
        (None, {"fields": ["name", "contact", "is_active"]}),
        ("Reporting", {"fields": ["timezone", "currency_display"]}),
        ("Policy", {"fields": ["content_policy", "unpriced_policy"]}),
        ("Raises", {"fields": ["emergency_reserve_nano_usd", "reserve_used"]}),
    ]
    readonly_fields = ["reserve_used"]
    inlines = [MembershipInline]

    @display(description="Reserve used")
    def reserve_used(self, row: Customer) -> str:
        if row._state.adding:
            return money.DASH
        now = timezone.now()
        month = moves.month_of(row, now).starts_at.astimezone(ZoneInfo(row.timezone))
        used = show_usd(moves.reserve_used(row, now))
        return f"{used} of {show_usd(row.emergency_reserve_nano_usd)} since {month:%Y-%m-%d} ({row.timezone})"

    def load_page(self, request: HttpRequest, rows: list[Any]) -> list[Any]:
        counts = {
            row["pk"]: row
            for row in Customer.objects.filter(pk__in=[row.pk for row in rows])
            .values("pk")
            .annotate(team_count=Count("teams", distinct=True), key_count=Count("teams__keys", distinct=True))
        }
        for row in rows:
            row.page_counts = counts[row.pk]
        return super().load_page(request, rows)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who sees only one team of a customer does not change the customer."""
        allowed: bool = super().has_change_permission(request, obj)
        user: Any = request.user
        if not allowed or obj is None or user.is_superuser:
            return allowed
        whole: bool = user.memberships.filter(customer=obj, team__isnull=True).exists()
        return whole

    @display(description="Teams")
    def num_teams(self, row: Any) -> str:
        return money.tokens(row.page_counts["team_count"])

    @display(description="Keys")
    def num_keys(self, row: Any) -> str:
        return money.tokens(row.page_counts["key_count"])


@admin.register(Team)
class TeamAdmin(TenantAdmin):
    scope = "team"
    list_display = ["name", "customer", "cost_center", "num_keys", "bar", "num_spent", "status"]
    list_filter = [("customer", VisibleRelatedFilter), "is_active"]
    list_select_related = ["customer"]
    search_fields = ["name", "cost_center", "customer__name"]
    autocomplete_fields = ["customer"]
    fields = ["customer", "name", "cost_center", "model_aliases", "is_active"]

    def load_page(self, request: HttpRequest, rows: list[Any]) -> list[Any]:
        counts: dict[int, int] = defaultdict(int)
        counts.update(
            Team.objects.filter(pk__in=[row.pk for row in rows])
            .order_by()
            .annotate(keys_count=Count("keys"))
            .values_list("pk", "keys_count")
        )
        for row in rows:
            row.page_keys = counts[row.pk]
        return super().load_page(request, rows)

    @display(description="Keys")
    def num_keys(self, row: Any) -> str:
        return money.tokens(row.page_keys)


@admin.register(Project)
class ProjectAdmin(TenantAdmin):
    scope = "project"
    list_display = ["name", "customer", "team_name", "bar", "num_spent", "status"]
    list_filter = [("customer", VisibleRelatedFilter), ("team", VisibleRelatedFilter), "is_active"]
    list_select_related = ["customer", "team"]
    search_fields = ["name", "customer__name"]
    autocomplete_fields = ["customer", "team"]
    fields = ["customer", "team", "name", "directories", "is_active"]

    @display(description="Team", ordering="team__name")
    def team_name(self, row: Project) -> str:
        return row.team.name if row.team else "every team"


@admin.register(Developer)
class DeveloperAdmin(TenantAdmin):
    scope = "developer"
    list_display = ["email", "name", "customer", "team_name", "bar", "num_spent", "status"]
    list_filter = [("customer", VisibleRelatedFilter), ("team", VisibleRelatedFilter), "is_active"]
    list_select_related = ["customer", "team"]
    search_fields = ["email", "name"]
    autocomplete_fields = ["customer", "team", "user"]
    fields = ["customer", "team", "email", "name", "user", "is_active"]

    @display(description="Team", ordering="team__name")
    def team_name(self, row: Developer) -> str:
        return row.team.name if row.team else money.DASH
