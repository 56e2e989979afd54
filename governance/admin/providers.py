"""Providers and their credentials; a stored secret can be replaced here, never read."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminPasswordWidget

from governance.admin import cells
from governance.admin.base import VisibleAdmin, VisibleInline
from governance.models import Provider, ProviderCredential
from governance.services.providers import change, seal_secret


class CredentialForm(forms.ModelForm):  # type: ignore[type-arg]
    """The secret goes in and does not come out: an empty input keeps what is stored."""

    new_secret = forms.CharField(
        label="Secret",
        required=False,
        max_length=8000,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password", "placeholder": "•••• unchanged"}),
        help_text="Stored encrypted and never shown again. Leave empty to keep the stored one.",
    )

    class Meta:
        model = ProviderCredential
        fields = ["name", "secret_env", "weight", "is_active"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.instance.secret:
            self.fields["new_secret"].widget.attrs["placeholder"] = "none stored"

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        if not values.get("new_secret") and not values.get("secret_env") and not self.instance.secret:
            self.add_error("new_secret", "Give the secret, or name the environment variable that holds it.")
        return values

    def save(self, commit: bool = True) -> Any:
        if self.cleaned_data.get("new_secret"):
            seal_secret(self.instance, self.cleaned_data["new_secret"])
            # The audit trail and the save look at columns: the column behind this input is `secret`.
            self.changed_data.append("secret")
        return super().save(commit)


class CredentialInline(VisibleInline):
    model = ProviderCredential
    form = CredentialForm
    fields = ["name", "new_secret", "secret_env", "weight", "is_active"]
    verbose_name_plural = "credentials: requests are spread over the active ones by weight"


@admin.register(Provider)
class ProviderAdmin(VisibleAdmin):
    list_display = ["name", "kind_cell", "address", "num_rank", "credentials_cell", "status"]
    list_filter = [("kind", ChoicesDropdownFilter), "is_active"]
    search_fields = ["name", "base_url"]
    fields = ["name", "kind", "base_url", "rank", "is_active"]
    inlines = [CredentialInline]
    actions = ["switch_on", "switch_off"]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("credentials")

    @display(description="Kind", ordering="kind")
    def kind_cell(self, row: Provider) -> SafeString | str:
        if row.kind == Provider.Kind.SIMULATED:
            return cells.state("at_risk", "▲", "Simulated: no real model, no real cost")
        return row.get_kind_display()

    @display(description="Address", ordering="base_url")
    def address(self, row: Provider) -> SafeString | str:
        return row.base_url or cells.quiet("the kind's default")

    @display(description="Rank", ordering="rank")
    def num_rank(self, row: Provider) -> str:
        return str(row.rank)

    @display(description="Credentials")
    def credentials_cell(self, row: Provider) -> SafeString | str:
        names = [credential.name for credential in row.credentials.all() if credential.is_active]
        if names:
            return ", ".join(names)
        if row.kind == Provider.Kind.SIMULATED:
            return cells.quiet("needs none")
        return cells.state("blocked", "■", "none: it cannot be called")

    @display(description="Status", ordering="is_active")
    def status(self, row: Provider) -> SafeString:
        return cells.active(row.is_active)

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
