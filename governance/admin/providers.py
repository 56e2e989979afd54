"""Providers and their credentials, and how the gateway finds them; a stored secret can be replaced, never read."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import StackedInline
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import action, display

from governance.admin import cells, provider_health
from governance.admin.base import VisibleAdmin, VisibleChoices
from governance.admin.provider_forms import CONDITIONS, OPTION_FIELDS, CredentialForm, ProviderForm
from governance.domain.access import most_specific_first
from governance.domain.provider_kinds import KINDS, METHODS
from governance.models import Provider, ProviderCredential
from governance.selectors_providers import provider_statuses
from governance.services.providers import change, rules_naming
from governance.templatetags import money

TEST_URL = "provider_test"
"""Name of the page that asks a provider: the gateway's own, which knows how each kind is called."""


class CredentialInline(VisibleChoices, StackedInline):
    model = ProviderCredential
    form = CredentialForm
    extra = 0
    fields = [
        "name", "method", "identifier", ("new_secret", "secret_env"), ("weight", "concurrent"),
        ("requests_per_minute", "tokens_per_minute"), "is_active",
    ]  # fmt: skip
    verbose_name_plural = "credentials: requests are spread over the active ones by weight"

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        """Offers the ways to prove who calls that the provider's kind takes."""
        formset = super().get_formset(request, obj, **kwargs)
        known = KINDS.get(obj.kind) if obj is not None else None
        field = formset.form.base_fields.get("method")
        if field is not None and known is not None and known.methods:
            field.choices = [(method, METHODS[method]) for method in known.methods]
            field.initial = known.methods[0]
        return formset


@admin.register(Provider)
class ProviderAdmin(VisibleAdmin):
    form = ProviderForm
    list_display = ["name_cell", "health", "credentials_cell", "num_failed", "num_first", "num_rank"]
    list_display_links = ["name_cell"]
    list_filter = [("kind", ChoicesDropdownFilter), "is_active"]
    list_fullwidth = True
    sortable_by: list[str] = []
    list_before_template = "admin/governance/providers_before.html"
    change_form_outer_before_template = "admin/governance/provider_verdict.html"
    search_fields = ["name", "base_url", "region", "project"]
    conditional_fields = CONDITIONS
    inlines = [CredentialInline]
    actions = ["switch_on", "switch_off"]
    actions_detail = ["test"]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("credentials")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        writes = self.has_change_permission(request, obj) if obj else self.has_add_permission(request)
        settings = [*OPTION_FIELDS] if writes else ["options_shown"]
        return [
            ("Where it is", {"fields": ["name", "kind", "base_url", "region", "project"]}),
            ("How it is used", {"fields": ["rank", "is_active"]}),
            ("Models and settings", {"fields": ["model_map" if writes else "models_shown", *settings]}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [*super().get_readonly_fields(request, obj), "models_shown", "options_shown"]

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """With the routing rules that name one of them: then nothing is deleted."""
        rows, counts, needed, protected = super().get_deleted_objects(objs, request)
        return rows, counts, needed, [*protected, *filter(None, map(rules_naming, objs))]

    # --- the list ---------------------------------------------------------------------------------------------
    def load_page(self, request: HttpRequest, rows: list[Any]) -> list[Any]:
        statuses = provider_statuses(rows)
        for row in rows:
            row.page_status = statuses[row.pk]
        return rows

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        return super().changelist_view(request, {"now": timezone.now(), **(extra_context or {})})

    @display(description="Provider", ordering="name")
    def name_cell(self, row: Provider) -> SafeString:
        if row.kind == Provider.Kind.SIMULATED:
            label = cells.state("at_risk", "▲", "Simulated: no real model")
            return format_html("{}<div>{}</div>", row.name, label)
        kind, _, _ = row.get_kind_display().partition(" (")
        place = [kind, row.region, row.project, urlsplit(row.base_url).netloc]
        return format_html('{}<div class="cmp-note">{}</div>', row.name, " · ".join(filter(None, place)))

    @display(description="Rank", ordering="rank")
    def num_rank(self, row: Provider) -> str:
        return str(row.rank)

    @display(description="Health")
    def health(self, row: Any) -> SafeString:
        return provider_health.cell(row.page_status)

    @display(description="Credentials")
    def credentials_cell(self, row: Any) -> SafeString | str:
        return provider_health.credentials_cell(row.page_status)

    @display(description="Failed in 5 min")
    def num_failed(self, row: Any) -> SafeString | str:
        return provider_health.failed_cell(row.page_status)

    @display(description="First token")
    def num_first(self, row: Any) -> str:
        return provider_health.seconds(row.page_status.ttft_ms)

    # --- one provider -----------------------------------------------------------------------------------------
    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> Any:
        provider, context = self.get_object(request, object_id), {"now": timezone.now(), **(extra_context or {})}
        if isinstance(provider, Provider):
            status = provider_statuses([provider])[provider.pk]
            known = KINDS.get(provider.kind)
            context |= {
                "status": status, "badge": provider_health.badge(status), "verdict": provider_health.verdict(status),
                "failed": provider_health.failed(status), "latency": provider_health.seconds(status.latency_ms),
                "first_token": provider_health.seconds(status.ttft_ms), "kind_note": known.note if known else "",
                "credential_lines": provider_health.credential_lines(status),
            }  # fmt: skip
        return super().change_view(request, object_id, form_url, context)

    @display(description="Models there")
    def models_shown(self, row: Provider) -> str:
        return (
            ", ".join(f"{pattern} → {name}" for pattern, name in most_specific_first(row.model_map)) or "its own names"
        )

    @display(description="Settings")
    def options_shown(self, row: Provider) -> str:
        shown = (f"{name.replace('_', ' ')}: {_shown(value)}" for name, value in row.options.items())
        return "; ".join(shown) or money.DASH

    def has_test_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return request.user.has_perm("governance.change_provider")

    @action(description="Test", permissions=["test"], icon="network_check")
    def test(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return HttpResponseRedirect(reverse(TEST_URL, args=[object_id]))

    # --- actions ----------------------------------------------------------------------------------------------
    @admin.action(description="Switch on", permissions=["change"])
    def switch_on(self, request: HttpRequest, queryset: Any) -> None:
        self._switch(request, queryset, on=True)

    @admin.action(description="Switch off: send no request to it", permissions=["change"])
    def switch_off(self, request: HttpRequest, queryset: Any) -> None:
        self._switch(request, queryset, on=False)

    def _switch(self, request: HttpRequest, queryset: Any, *, on: bool) -> None:
        names = [provider.name for provider in queryset if provider.is_active != on]
        for provider in queryset:
            change(row=provider, actor=request.user, is_active=on)
        done = f"Switched {'on' if on else 'off'}: {', '.join(names)}." if names else "Nothing to change."
        self.message_user(request, done, messages.SUCCESS if names else messages.INFO)


def _shown(value: Any) -> str:
    """A setting in words: a text, a number, a list, or lists by pattern."""
    if isinstance(value, dict):
        return ", ".join(f"{pattern} → {_shown(words)}" for pattern, words in most_specific_first(value))
    return (", ".join(value) if isinstance(value, list) else str(value)) or "none"
