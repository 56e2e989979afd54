"""Virtual keys: the list, one key's page, and issuing, rotating and revoking with the secret shown once.

A secret is rendered into the answer of the POST that made it, and nowhere else: not in a redirect, the session, a
message or the database. Loading that page again issues nothing, because the key's name is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Prefetch, Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import DropdownFilter
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from governance.admin import cells
from governance.admin.base import VisibleAdmin, VisibleInline, VisibleRelatedFilter
from governance.domain.keys import Secret
from governance.models import KeySecret, ProviderAccess, VirtualKey
from governance.selectors import KeyStatus, key_statuses, month_start, spent_by_key
from governance.services import keys
from governance.templatetags import money

Panel = Callable[[HttpRequest, VirtualKey], str]

LIFETIMES = {"": "Never", "30": "In 30 days", "90": "In 90 days", "365": "In a year"}
OVERLAPS = {"0": "None: the old secret stops at once", "1": "1 hour", "24": "1 day", "168": "7 days"}
_STATES = {
    "works": ("works", "✓", "Works"),
    "partly": ("at_risk", "▲", "Works partly"),
    "blocked": ("blocked", "■", "Blocked"),
    "expired": ("expired", "■", "Expired"),
    "revoked": ("revoked", "■", "Revoked"),
    "off": ("off", "○", "Off"),
}


class KeyFilter(DropdownFilter):
    """What a person looks for among keys."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("usable", "In use: neither revoked nor expired"),
            ("unused", "Unused for 30 days"),
            ("expiring", "Expiring within 14 days"),
            ("expired", "Expired"),
            ("revoked", "Revoked"),
        ]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        now = timezone.now()
        usable = queryset.filter(Q(expires_at__isnull=True) | Q(expires_at__gt=now), revoked_at__isnull=True)
        match self.value():
            case "usable":
                return usable
            case "unused":
                month_ago = now - timedelta(days=30)
                idle = Q(activity__isnull=True, created_at__lt=month_ago) | Q(activity__last_used_at__lt=month_ago)
                return usable.filter(idle)
            case "expiring":
                return usable.filter(expires_at__lte=now + timedelta(days=14))
            case "expired":
                return queryset.filter(revoked_at__isnull=True, expires_at__lte=now)
            case "revoked":
                return queryset.filter(revoked_at__isnull=False)
        return queryset


class IssueForm(forms.ModelForm):  # type: ignore[type-arg]
    """The five fields of a new key; the rest is set on its page."""

    lifetime = forms.ChoiceField(
        label="Expires", choices=list(LIFETIMES.items()), required=False, widget=UnfoldAdminSelectWidget
    )

    class Meta:
        model = VirtualKey
        fields = ["team", "name", "developer", "project"]

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        days = values.get("lifetime")
        self.instance.expires_at = timezone.now() + timedelta(days=int(days)) if days else None
        return values


class RotateForm(forms.Form):
    overlap = forms.ChoiceField(
        label="How long the old secret goes on working",
        choices=list(OVERLAPS.items()),
        initial="24",
        widget=UnfoldAdminSelectWidget,
    )


class RevokeForm(forms.Form):
    reason = forms.CharField(
        max_length=200,
        widget=UnfoldAdminTextInputWidget,
        help_text="Kept in the audit trail and shown on the key's page, for example: laptop lost.",
    )


class ProviderAccessInline(VisibleInline):
    model = ProviderAccess
    autocomplete_fields = ["provider"]
    fields = ["provider", "model_patterns", "weight"]
    verbose_name_plural = "providers: without any row, every active provider may be used"


@admin.register(VirtualKey)
class KeyAdmin(VisibleAdmin):
    """`panels` are further parts of a key's page; apps above this one add theirs in `AppConfig.ready`."""

    panels: list[Panel] = []

    list_display = ["key", "owner", "project_name", "state", "bar", "num_spent", "last_used", "expires"]
    list_filter = [KeyFilter, ("team__customer", VisibleRelatedFilter), ("team", VisibleRelatedFilter)]
    list_select_related = ["team__customer", "developer", "project", "activity"]
    list_before_template = "admin/governance/keys_before.html"
    search_fields = ["name", "secrets__public_id", "developer__email", "developer__name", "team__name"]
    autocomplete_fields = ["team", "developer", "project"]
    change_form_outer_before_template = "admin/governance/key_verdict.html"
    change_form_outer_after_template = "admin/governance/key_panels.html"
    actions_detail = ["rotate", "revoke"]
    inlines = [ProviderAccessInline]
    add_fieldsets = [(None, {"fields": ["team", "name", "developer", "project", "lifetime"]})]
    fieldsets = [
        ("Whose it is", {"fields": ["team", "name", "developer", "project"]}),
        (
            "What it may do",
            {"fields": ["model_patterns", "model_aliases", "allowed_ips", "content_policy", "expires_at"]},
        ),
    ]
    created_action = "virtual_key.issued"

    # --- who may ----------------------------------------------------------------------------------------------
    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("governance.issue_virtualkey")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: a key is revoked, so that what it spent keeps its name."""
        return False

    def has_rotate_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("governance.issue_virtualkey")

    def has_revoke_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("governance.revoke_virtualkey")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [*super().get_readonly_fields(request, obj), *(["team"] if obj else [])]

    # --- the list ---------------------------------------------------------------------------------------------
    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related(Prefetch("secrets", KeySecret.objects.order_by("-pk")))

    def load_page(self, request: HttpRequest, rows: list[Any]) -> list[Any]:
        now = timezone.now()
        statuses, spent = key_statuses(rows, now), spent_by_key(rows, month_start(now))
        for row in rows:
            row.page_status, row.page_spent = statuses[row.pk], spent.get(row.pk, 0)
        return rows

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        return super().changelist_view(request, {"now": timezone.now(), **(extra_context or {})})

    @display(description="Key", ordering="name")
    def key(self, row: VirtualKey) -> SafeString:
        newest = next(iter(row.secrets.all()), "no secret")
        return format_html('<div>{}</div><div class="cmp-note cmp-mono">{}</div>', row.name, newest)

    @display(description="Owner", ordering="developer__email")
    def owner(self, row: VirtualKey) -> SafeString:
        who = row.developer or "nobody in particular"
        return format_html('<div>{}</div><div class="cmp-note">{}</div>', who, row.team)

    @display(description="Project", ordering="project__name")
    def project_name(self, row: VirtualKey) -> str:
        return row.project.name if row.project else money.DASH

    @display(description="Status")
    def state(self, row: Any) -> SafeString:
        return cells.state(*_STATES[row.page_status.state])

    @display(description="Tightest budget that applies")
    def bar(self, row: Any) -> SafeString | str:
        status: KeyStatus = row.page_status
        return money.DASH if status.state in {"revoked", "expired"} else cells.bar(status.binding, name_it=True)

    @display(description="Spent this month")
    def num_spent(self, row: Any) -> str:
        return money.usd(row.page_spent)

    @display(description="Last used", ordering="activity__last_used_at")
    def last_used(self, row: VirtualKey) -> SafeString | str:
        activity = getattr(row, "activity", None)
        return cells.minute(activity.last_used_at) if activity else cells.quiet("never")

    @display(description="Expires", ordering="expires_at")
    def expires(self, row: VirtualKey) -> SafeString | str:
        if row.expires_at is None:
            return cells.quiet("never")
        if timedelta(0) < row.expires_at - timezone.now() < timedelta(days=14):
            return cells.state("expiring", "▲", f"{row.expires_at:%Y-%m-%d}")
        return cells.day(row.expires_at)

    # --- one key ----------------------------------------------------------------------------------------------
    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> Any:
        key = self.get_object(request, object_id)
        context = {"now": timezone.now(), "show_save_and_add_another": False, **(extra_context or {})}
        if isinstance(key, VirtualKey):
            context |= self._about(request, key)
        return super().change_view(request, object_id, form_url, context)

    def _about(self, request: HttpRequest, key: VirtualKey) -> dict[str, Any]:
        now = timezone.now()
        status: KeyStatus = key_statuses([key], now)[key.pk]
        secrets = [(secret, secret.valid_until is None or secret.valid_until > now) for secret in key.secrets.all()]
        return {
            "key_status": status,
            "key_verdict": _verdict(status),
            "key_spent": spent_by_key([key], month_start(now)).get(key.pk, 0),
            "key_secrets": secrets,
            "gateway_url": settings.GATEWAY_URL,
            "secret_place": "<your key>",
            "key_panels": [panel(request, key) for panel in self.panels],
        }

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        if obj is None:
            kwargs["form"] = IssueForm
        return super().get_form(request, obj, change, **kwargs)

    def get_inlines(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.inlines if obj else []

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        """A revoked key is neither rotated nor revoked again."""
        key = self.get_object(request, str(object_id))
        return super().get_actions_detail(request, object_id) if key and key.revoked_at is None else []

    # --- issue ------------------------------------------------------------------------------------------------
    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> Any:
        context = {
            "title": "Issue a virtual key",
            "show_save_and_add_another": False,
            "show_save_and_continue": False,
            **(extra_context or {}),
        }
        return super().add_view(request, form_url, context)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        issued, secret = keys.issue_key(
            team=obj.team,
            name=obj.name,
            developer=obj.developer,
            project=obj.project,
            expires_at=obj.expires_at,
            actor=request.user,
        )
        obj.pk, obj._state.adding = issued.pk, False
        self.require_visible(request, obj)
        request._issued_secret = secret  # type: ignore[attr-defined]  # lives as long as this answer is made

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: Any = None) -> HttpResponse:
        return self._show_once(request, obj, request._issued_secret, "The key is issued")  # type: ignore[attr-defined]

    def _show_once(
        self, request: HttpRequest, key: VirtualKey, secret: Secret, title: str, note: str = ""
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.model._meta,
            "key": key,
            "secret": str(secret),
            "gateway_url": settings.GATEWAY_URL,
            "note": note,
            "done_url": reverse("admin:governance_virtualkey_change", args=[key.pk]),
        }
        return TemplateResponse(request, "admin/governance/key_secret.html", context)

    # --- rotate and revoke ------------------------------------------------------------------------------------
    @action(description="Rotate…", permissions=["rotate"], icon="autorenew")
    def rotate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        key, form = self._visible_key(request, object_id), RotateForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            overlap = timedelta(hours=int(form.cleaned_data["overlap"]))
            try:
                secret = keys.rotate_key(key=key, overlap=overlap, actor=request.user)
            except ValidationError as error:
                form.add_error(None, error.messages)
            else:
                until = f"{timezone.now() + overlap:%Y-%m-%d %H:%M} UTC"
                note = f"The old secret works until {until}." if overlap else "The old secret has stopped working."
                return self._show_once(request, key, secret, "The key is rotated", note)
        intro = "A new secret is made and shown once. The key keeps its name, budgets and history."
        return self._confirm(request, key, form, "Rotate", intro)

    @action(description="Revoke…", permissions=["revoke"], icon="block", variant=ActionVariant.DANGER)
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        key, form = self._visible_key(request, object_id), RevokeForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            won = keys.revoke_key(key=key, reason=form.cleaned_data["reason"], actor=request.user)
            done = "is revoked: every process refuses it within a second" if won else "was revoked before"
            self.message_user(request, f"{key} {done}.", messages.SUCCESS if won else messages.INFO)
            return HttpResponseRedirect(reverse("admin:governance_virtualkey_change", args=[key.pk]))
        intro = "Every gateway process refuses this key within a second, for good. Running requests end as they would."
        return self._confirm(request, key, form, "Revoke", intro, danger=True)

    def _visible_key(self, request: HttpRequest, object_id: str) -> VirtualKey:
        key = self.get_object(request, object_id)
        if not isinstance(key, VirtualKey):
            raise Http404("No such key, or none that you may see.")
        if not self.has_view_permission(request, key):
            raise PermissionDenied
        return key

    def _confirm(
        self, request: HttpRequest, key: VirtualKey, form: forms.Form, verb: str, intro: str, *, danger: bool = False
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": f"{verb} {key}",
            "opts": self.model._meta,
            "key": key,
            "form": form,
            "verb": verb,
            "intro": intro,
            "danger": danger,
            "back_url": reverse("admin:governance_virtualkey_change", args=[key.pk]),
        }
        return TemplateResponse(request, "admin/governance/key_confirm.html", context)


def _verdict(status: KeyStatus) -> SafeString:
    name, mark, _ = _STATES[status.state]
    told = {"works": "Works: it can send requests.", "partly": f"Works partly. {status.reason}"}
    return cells.state(name, mark, told.get(status.state, status.reason))
