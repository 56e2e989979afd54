"""The request log: a page of its own instead of Django's change list, which would count the table."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from governance.admin.base import ReadOnlyAdmin
from governance.models import Customer, Team, VirtualKey
from observability.filters import STATUSES, BadFilter
from observability.models import HourlyUsage, Request
from observability.selectors import detail
from observability.selectors.log import DEFAULT_RANGE, RANGES, LogPage, LogQuery, page
from observability.selectors.proof import prove
from observability.selectors.reporting import reporting_zone
from observability.selectors.volume import OUTCOMES, volume

MAX_MODELS = 50
MAX_CHOICES = 500
"""Keys offered in a select; of a larger installation a key is chosen from its own page or a row."""


@admin.register(Request)
class RequestAdmin(ReadOnlyAdmin):
    """List and detail of the request log."""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        now = timezone.now()
        wrong = ""
        try:
            query = LogQuery.parse(request.GET, now)
        except BadFilter as error:
            query, wrong = LogQuery.parse({}, now), str(error)
        rows = page(self.get_queryset(request), query)
        zone = reporting_zone(request.user)
        chosen = (
            {name: value for name, value in request.GET.dict().items() if name in _KNOWN and value} if not wrong else {}
        )
        options = filter_options(request.user)
        context = {
            **self.admin_site.each_context(request),
            "title": "Request log",
            "is_fullwidth": "1",
            "query": query,
            "wrong": wrong,
            "rows": rows.rows,
            "searched": rows.searched,
            "volume": None if query.names_one_thing else volume(request.user, query, zone),
            "outcomes": list(enumerate(OUTCOMES)),
            "zone": zone,
            "now": now,
            "ranges": [(name, label) for name, (label, _) in RANGES.items()],
            "options": options,
            "chips": chips(chosen, options),
            "links": {
                "newest": "?" + urlencode(chosen),
                "newer": rows.newer and "?" + urlencode({**chosen, "after": rows.newer}),
                "older": rows.older and "?" + urlencode({**chosen, "before": rows.older}),
                "further": rows.searched and further(chosen, rows, backwards=query.after is None),
            },
            **(extra_context or {}),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/observability/request/list.html", context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = self.get_queryset(request).find(object_id)
        if row is None:
            raise Http404("No request of this id, or it belongs to a customer that is not yours.")
        context = {
            **self.admin_site.each_context(request),
            "title": f"Request {row.pk}",
            "opts": self.opts,
            "row": row,
            "sentence": detail.sentence(row),
            "proof": prove(row),
            "may_see_prices": request.user.has_perm("governance.view_price"),
            "attempts": detail.attempts(row),
            "decisions": detail.decisions(row),
            "routing": detail.routing(row),
            "may_see_rules": request.user.has_perm("governance.view_routingrule"),
            "may_see_budgets": request.user.has_perm("governance.view_budget"),
            "raw": detail.raw(row),
            "zone": reporting_zone(request.user),
            **(extra_context or {}),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/observability/request/detail.html", context)


def further(chosen: dict[str, str], rows: LogPage, *, backwards: bool) -> str:
    """Where a search goes on whose time was up."""
    place = {"before": rows.older} if backwards else {"after": rows.newer}
    return "?" + urlencode({**chosen, **place})


_KNOWN = ("range", "customer", "team", "key", "model", "status", "q")


def filter_options(user: Any) -> dict[str, Any]:
    """What the filters offer this user."""
    customers = list(Customer.objects.visible_to(user).values_list("pk", "name"))
    several = len(customers) > 1
    teams = Team.objects.visible_to(user).values_list("pk", "name", "customer__name")
    keys = list(VirtualKey.objects.visible_to(user).values_list("pk", "name", "team__name")[: MAX_CHOICES + 1])
    return {
        "customers": customers if several else [],
        "teams": [(pk, f"{customer} / {name}" if several else name) for pk, name, customer in teams],
        "keys": [(pk, f"{name} ({team})") for pk, name, team in keys[:MAX_CHOICES]],
        "keys_cut": len(keys) > MAX_CHOICES,
        "statuses": [(value, Request.Status(value).label) for value in STATUSES],
        "models": models_served(user),
    }


def models_served(user: Any) -> list[str]:
    """Models of the user's requests. Each is looked up after the one before: DISTINCT would read every roll-up."""
    rows = HourlyUsage.objects.visible_to(user).order_by("model").values_list("model", flat=True)
    found: list[str] = []
    while len(found) < MAX_MODELS and (after := rows.filter(model__gt=found[-1] if found else "").first()):
        found.append(after)
    return found


def chips(chosen: dict[str, str], options: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The active filters: (name, value in words, address without it)."""
    names = {
        "customer": ("Customer", dict(options["customers"])),
        "team": ("Team", dict(options["teams"])),
        "key": ("Key", dict(options["keys"])),
        "status": ("Outcome", dict(options["statuses"])),
        "model": ("Model contains", {}),
        "q": ("Search", {}),
    }
    found = []
    for name, (label, words) in names.items():
        if value := chosen.get(name):
            word = words.get(int(value) if value.isdigit() else value, f"#{value}" if value.isdigit() else value)
            rest = {other: kept for other, kept in chosen.items() if other != name}
            found.append((label, str(word), "?" + urlencode(rest)))
    if (name := chosen.get("range", DEFAULT_RANGE)) != DEFAULT_RANGE:
        rest = {other: kept for other, kept in chosen.items() if other != "range"}
        found.append(("Range", RANGES[name][0], "?" + urlencode(rest)))
    return found
