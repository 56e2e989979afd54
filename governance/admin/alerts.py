"""Alerts: the channels that hear of them, what was told, and how each message fared."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Max
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.paginator import InfinitePaginator
from unfold.widgets import UnfoldAdminTextInputWidget

from governance.admin import cells
from governance.admin.base import ReadOnlyAdmin, VisibleAdmin, VisibleInline, VisibleRelatedFilter
from governance.admin.forms import LinesField
from governance.alerts.messages import compose
from governance.models import Alert, AlertChannel, AlertDelivery
from governance.services import alerts
from governance.templatetags import money

_STATUSES: dict[str, tuple[str, str, str]] = {
    AlertDelivery.Status.WAITING: ("at_risk", "▲", "Waiting"),
    AlertDelivery.Status.SENT: ("ok", "✓", "Sent"),
    AlertDelivery.Status.FAILED: ("blocked", "■", "Failed"),
}


class ChannelForm(forms.ModelForm):  # type: ignore[type-arg]
    """The address of a webhook goes in and does not come out: whoever knows it may post."""

    emails = LinesField(label="E-mail addresses", required=False, help_text="One address a line.")
    new_url = forms.CharField(
        label="Address",
        required=False,
        max_length=2000,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text="Where messages are posted, for example https://hooks.slack.com/services/…; stored encrypted, and "
        "afterwards only its host is shown. To keep the stored one, leave it empty.",
    )

    class Meta:
        model = AlertChannel
        fields = [
            "customer", "name", "kind", "emails", "thresholds_from", "on_unpriced", "on_zero_cost", "on_raises",
            "on_providers", "on_routing", "is_active",
        ]  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.url and "new_url" in self.fields:
            self.fields["new_url"].widget.attrs["placeholder"] = f"{self.instance.host}/•••• unchanged"

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        kind = values.get("kind") or self.instance.kind
        if kind == AlertChannel.Kind.EMAIL:
            # What was left in an input that the kind hides does not count.
            values["new_url"] = ""
            if not values.get("emails"):
                self.add_error("emails", "Give at least one e-mail address.")
            return values
        values["emails"] = []
        url = values.get("new_url", "").strip()
        try:
            if self.instance._state.adding:
                self.instance.kind = kind
                self.instance.made_secret = alerts.prepare(self.instance, url)
            elif url:
                alerts.put_url(self.instance, url)
                # The audit trail and the save look at columns: these stand behind the input.
                self.changed_data.extend(["url", "host"])
        except ValidationError as error:
            self.add_error("new_url", error.messages)
        return values


@admin.register(AlertChannel)
class AlertChannelAdmin(VisibleAdmin):
    form = ChannelForm
    list_display = ["name", "kind_cell", "where_cell", "for_whom", "events", "last_message", "status"]
    list_filter = [("customer", VisibleRelatedFilter), ("kind", ChoicesDropdownFilter), "is_active"]
    list_select_related = ["customer"]
    search_fields = ["name", "customer__name", "host"]
    autocomplete_fields = ["customer"]
    actions_detail = ["send_test", "renew_secret"]
    # On the page of a channel that exists the kind is no input: then the one field that it has is shown.
    conditional_fields = {
        "emails": "typeof kind === 'undefined' || kind == 'email'",
        "new_url": "typeof kind === 'undefined' || kind != 'email'",
    }
    fieldsets = [
        ("Where to", {"fields": ["customer", "name", "kind", "emails", "new_url", "is_active"]}),
        (
            "What it is told",
            {"fields": ["thresholds_from", "on_unpriced", "on_zero_cost", "on_raises", "on_providers", "on_routing"]},
        ),
    ]

    # --- who may ----------------------------------------------------------------------------------------------
    def has_try_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return request.user.has_perm("governance.change_alertchannel")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """A channel stays with its customer and its kind: the delivery log leans on both."""
        return [*super().get_readonly_fields(request, obj), *(["customer", "kind"] if obj else [])]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return super().get_fieldsets(request, obj)
        # The kind is fixed, so that the inputs of the other kind have nothing to hide behind.
        writes = self.has_change_permission(request, obj)
        address = "emails" if obj.kind == AlertChannel.Kind.EMAIL else "new_url" if writes else "where_cell"
        return [
            ("Where to", {"fields": ["customer", "name", "kind", address, "is_active"]}),
            super().get_fieldsets(request, obj)[1],
        ]

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        made = super().get_form(request, obj, change, **kwargs)
        if obj is None and "customer" in made.base_fields and not request.user.is_superuser:
            made.base_fields["customer"].required = True
        return made

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        channel = self.get_object(request, str(object_id))
        offered = super().get_actions_detail(request, object_id) if channel else []
        if channel and channel.kind != AlertChannel.Kind.WEBHOOK:
            return [one for one in offered if "renew_secret" not in one.action_name]
        return offered

    # --- the list ---------------------------------------------------------------------------------------------
    def load_page(self, request: HttpRequest, rows: list[Any]) -> list[Any]:
        newest = AlertDelivery.objects.filter(channel__in=rows).order_by().values("channel").annotate(last=Max("pk"))
        last = AlertDelivery.objects.filter(pk__in=newest.values("last"))
        by_channel = {delivery.channel_id: delivery for delivery in last}
        for row in rows:
            row.page_last = by_channel.get(row.pk)
        return rows

    @display(description="Kind", ordering="kind")
    def kind_cell(self, row: AlertChannel) -> str:
        return row.get_kind_display()

    @display(description="Where to")
    def where_cell(self, row: AlertChannel) -> str:
        return row.where

    @display(description="Hears of", ordering="customer__name")
    def for_whom(self, row: AlertChannel) -> str:
        return row.customer.name if row.customer else "every customer"

    @display(description="Is told")
    def events(self, row: AlertChannel) -> str:
        told = [
            f"budgets from {row.thresholds_from}%" if row.thresholds_from is not None else "",
            "missing prices" if row.on_unpriced else "",
            "zero cost" if row.on_zero_cost else "",
            "failing rules" if row.on_routing else "",
            "raises" if row.on_raises else "",
            "providers" if row.on_providers and row.customer_id is None else "",
        ]
        return ", ".join(filter(None, told)) or "nothing"

    @display(description="Last message")
    def last_message(self, row: Any) -> SafeString:
        last: AlertDelivery | None = getattr(row, "page_last", None)
        if last is None:
            return cells.quiet("none yet")
        return format_html("{} {}", cells.state(*_STATUSES[last.status]), cells.minute(last.sent_at or last.tried_at))

    @display(description="Status", ordering="is_active")
    def status(self, row: AlertChannel) -> SafeString:
        return cells.active(row.is_active)

    # --- add, with the signing secret shown once --------------------------------------------------------------
    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: Any = None) -> HttpResponse:
        secret = getattr(obj, "made_secret", "")
        if secret:
            return self._show_once(request, obj, secret, "The channel is made")
        answer: HttpResponse = super().response_add(request, obj, post_url_continue)
        return answer

    def _show_once(self, request: HttpRequest, channel: AlertChannel, secret: str, title: str) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.model._meta,
            "channel": channel,
            "secret": secret,
            "done_url": reverse("admin:governance_alertchannel_change", args=[channel.pk]),
        }
        return TemplateResponse(request, "admin/governance/channel_secret.html", context)

    # --- actions ----------------------------------------------------------------------------------------------
    @action(description="Send a test", permissions=["try"], icon="send")
    def send_test(self, request: HttpRequest, object_id: str) -> HttpResponse:
        channel = self._visible_channel(request, object_id)
        if request.method == "POST":
            arrived, said = alerts.try_channel(channel=channel, actor=request.user)
            self.message_user(request, said, messages.SUCCESS if arrived else messages.ERROR)
            return HttpResponseRedirect(reverse("admin:governance_alertchannel_change", args=[channel.pk]))
        intro = f"A message that says it is a test goes to {channel.where} now; the answer is shown."
        return self._confirm(request, channel, "Send a test", intro)

    @action(description="New signing secret…", permissions=["try"], icon="autorenew", variant=ActionVariant.DANGER)
    def renew_secret(self, request: HttpRequest, object_id: str) -> HttpResponse:
        channel = self._visible_channel(request, object_id)
        if request.method == "POST":
            try:
                secret = alerts.renew_secret(channel=channel, actor=request.user)
            except ValidationError as error:
                self.message_user(request, " ".join(error.messages), messages.ERROR)
                return HttpResponseRedirect(reverse("admin:governance_alertchannel_change", args=[channel.pk]))
            return self._show_once(request, channel, secret, "The channel has a new signing secret")
        intro = "A new secret is made and shown once. From then on messages are signed with it alone."
        return self._confirm(request, channel, "New signing secret", intro)

    def _visible_channel(self, request: HttpRequest, object_id: str) -> AlertChannel:
        channel = self.get_object(request, object_id)
        if not isinstance(channel, AlertChannel):
            raise Http404("No such channel, or none that you may see.")
        if not self.has_try_permission(request):
            raise PermissionDenied
        return channel

    def _confirm(self, request: HttpRequest, channel: AlertChannel, verb: str, intro: str) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": f"{verb}: {channel}",
            "opts": self.model._meta,
            "channel": channel,
            "verb": verb,
            "intro": intro,
            "back_url": reverse("admin:governance_alertchannel_change", args=[channel.pk]),
        }
        return TemplateResponse(request, "admin/governance/channel_confirm.html", context)


class DeliveryInline(VisibleInline):
    """Where an alert went. Reading it needs the permission to read the delivery log."""

    model = AlertDelivery
    fields = ["name", "state", "num_attempts", "when", "last_error"]
    readonly_fields = fields
    verbose_name_plural = "messages"
    can_delete = False
    hide_title = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @display(description="Status")
    def state(self, row: AlertDelivery) -> SafeString:
        return cells.state(*_STATUSES[row.status])

    @display(description="Tries")
    def num_attempts(self, row: AlertDelivery) -> str:
        return str(row.attempts)

    @display(description="Sent, or next try (UTC)")
    def when(self, row: AlertDelivery) -> SafeString | str:
        return cells.minute(row.sent_at or row.next_try_at)


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    list_display = ["time", "what", "whose", "num_threshold", "num_spent", "num_limit", "delivered"]
    list_display_links = ["time"]
    list_filter = [("kind", ChoicesDropdownFilter), ("customer", VisibleRelatedFilter), ("team", VisibleRelatedFilter)]
    search_fields = ["budget_name", "target_name", "model", "customer_name", "team_name"]
    search_help_text = "Budget, what it limits, model, customer or team"
    paginator = InfinitePaginator
    sortable_by: list[str] = []
    inlines = [DeliveryInline]
    readonly_fields = [
        "time", "what_happened", "customer_shown", "team_shown", "num_spent", "num_limit", "forecast",
        "period_range", "resets", "budget_link", "since", "until",
    ]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("deliveries")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        happened = ["time", "what_happened", "customer_shown", *(["team_shown"] if obj and obj.team_name else [])]
        if obj is not None and obj.kind == Alert.Kind.THRESHOLD:
            figures = [
                "budget_link",
                "threshold",
                "num_spent",
                "num_limit",
                "forecast",
                "period_range",
                "resets",
                "contact",
            ]
        elif obj is not None and obj.kind == Alert.Kind.RAISE:
            figures = ["budget_link", "contact"]
        elif obj is not None and obj.kind == Alert.Kind.PROVIDER:
            return [("What happened", {"fields": [*happened, "since", "until"]})]
        else:
            figures = ["model", "requests", "tokens", "num_spent", "contact"]
        return [("What happened", {"fields": happened}), ("Figures at that moment (USD)", {"fields": figures})]

    @display(description="Time (UTC)")
    def time(self, row: Alert) -> SafeString | str:
        return cells.minute(row.created_at)

    @display(description="What happened")
    def what(self, row: Alert) -> SafeString:
        message = compose(row)
        return format_html('<div>{}</div><div class="cmp-note">{}</div>', message.title, row.get_kind_display())

    @display(description="What happened")
    def what_happened(self, row: Alert) -> str:
        message = compose(row)
        return f"{message.title}. {message.text}"

    @display(description="Customer")
    def customer_shown(self, row: Alert) -> str:
        return row.customer_name or money.DASH

    @display(description="Team")
    def team_shown(self, row: Alert) -> str:
        return row.team_name

    @display(description="Whose")
    def whose(self, row: Alert) -> SafeString:
        note = row.team_name or (row.target_name if row.target_name != row.customer_name else "")
        whose = "the whole installation" if row.kind == Alert.Kind.PROVIDER else row.customer_name or money.DASH
        return format_html('<div>{}</div><div class="cmp-note">{}</div>', whose, note)

    @display(description="Threshold")
    def num_threshold(self, row: Alert) -> str:
        return f"{row.threshold}%" if row.threshold is not None else money.DASH

    @display(description="Spent (USD)")
    def num_spent(self, row: Alert) -> str:
        return money.DASH if row.spent_nano_usd is None else money.usd(row.spent_nano_usd)

    @display(description="Limit (USD)")
    def num_limit(self, row: Alert) -> str:
        return money.DASH if row.limit_nano_usd is None else money.usd(row.limit_nano_usd)

    @display(description="Forecast (USD)")
    def forecast(self, row: Alert) -> str:
        return "not enough history" if row.forecast_nano_usd is None else money.usd(row.forecast_nano_usd)

    @display(description="Period")
    def period_range(self, row: Alert) -> str:
        return dict(compose(row).facts).get("Period", row.period)

    @display(description="Resets")
    def resets(self, row: Alert) -> str:
        return dict(compose(row).facts).get("Resets", money.DASH)

    @display(description="Since (UTC)")
    def since(self, row: Alert) -> SafeString | str:
        return cells.minute(row.period_start)

    @display(description="Until (UTC)")
    def until(self, row: Alert) -> SafeString | str:
        return cells.minute(row.period_end) if row.period_end else "it goes on, as far as is known"

    @display(description="Budget")
    def budget_link(self, row: Alert) -> SafeString | str:
        if row.budget_id is None:
            return f"{row.budget_name} (deleted)"
        url = reverse("admin:governance_budget_change", args=[row.budget_id])
        return format_html('<a class="cmp-link" href="{}">{}</a>', url, row.budget_name)

    @display(description="Messages")
    def delivered(self, row: Alert) -> SafeString:
        if not row.told:
            return cells.quiet("told with the higher threshold")
        statuses = [delivery.status for delivery in row.deliveries.all()]
        if not statuses:
            return cells.quiet("nobody to tell: no address, no channel")
        counted = [
            cells.state(name, mark, f"{statuses.count(status)} {word.lower()}")
            for status, (name, mark, word) in _STATUSES.items()
            if status in statuses
        ]
        return SafeString(" ".join(counted))


@admin.register(AlertDelivery)
class AlertDeliveryAdmin(ReadOnlyAdmin):
    list_display = ["time", "alert_cell", "to", "outcome", "when", "error"]
    list_display_links = ["time"]
    list_filter = [
        ("status", ChoicesDropdownFilter),
        ("kind", ChoicesDropdownFilter),
        ("customer", VisibleRelatedFilter),
    ]
    list_select_related = ["alert"]
    search_fields = ["name", "alert__budget_name", "alert__model", "last_error"]
    paginator = InfinitePaginator
    sortable_by: list[str] = []
    actions = ["try_again"]
    fields = ["time", "alert_cell", "to", "state", "num_attempts", "answer", "tried_at", "when", "last_error"]
    readonly_fields = ["time", "alert_cell", "to", "state", "num_attempts", "answer", "when"]

    def has_retry_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("governance.retry_alertdelivery")

    @admin.action(description="Try again: send the failed ones within a minute", permissions=["retry"])
    def try_again(self, request: HttpRequest, queryset: Any) -> None:
        done = sum(alerts.try_again(delivery=delivery, actor=request.user) for delivery in queryset)
        if done:
            self.message_user(request, f"{done} will be sent again within a minute.", messages.SUCCESS)
        else:
            self.message_user(request, "None of these has failed: nothing to send again.", messages.INFO)

    @display(description="Time (UTC)")
    def time(self, row: AlertDelivery) -> SafeString | str:
        return cells.minute(row.created_at)

    @display(description="Alert")
    def alert_cell(self, row: AlertDelivery) -> SafeString:
        url = reverse("admin:governance_alert_change", args=[row.alert_id])
        return format_html('<a class="cmp-link" href="{}">{}</a>', url, compose(row.alert).title)

    @display(description="To")
    def to(self, row: AlertDelivery) -> SafeString:
        return format_html('<div>{}</div><div class="cmp-note">{}</div>', row.name, row.get_kind_display())

    @display(description="Status")
    def outcome(self, row: AlertDelivery) -> SafeString:
        tries = f"{row.attempts} {'try' if row.attempts == 1 else 'tries'}"
        answer = f", answer {row.response_status}" if row.response_status else ""
        return format_html('<div>{}</div><div class="cmp-note">{}{}</div>', self.state(row), tries, answer)

    @display(description="Last error")
    def error(self, row: AlertDelivery) -> str:
        return row.last_error or money.DASH

    @display(description="Status")
    def state(self, row: AlertDelivery) -> SafeString:
        return cells.state(*_STATUSES[row.status])

    @display(description="Tries")
    def num_attempts(self, row: AlertDelivery) -> str:
        return str(row.attempts)

    @display(description="Answer")
    def answer(self, row: AlertDelivery) -> str:
        return str(row.response_status or money.DASH)

    @display(description="Sent, or next try (UTC)")
    def when(self, row: AlertDelivery) -> SafeString | str:
        return cells.minute(row.sent_at or row.next_try_at)
