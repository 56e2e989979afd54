"""Forms around raises: to ask for one, of whichever kind, and to decide about one."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import NON_FIELD_ERRORS, PermissionDenied, ValidationError
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from governance.admin import pickers
from governance.domain.money import show_usd
from governance.fields import UsdFormField
from governance.models import Budget, Raise
from governance.services import moves, raises

Kind = Raise.Kind
_KINDS = {
    Kind.RAISE: "Raise: another person approves it",
    Kind.TRANSFER: "Transfer: move what another budget has left",
    Kind.RESET: "Reset: add back what was spent in this period",
    Kind.EMERGENCY: "Emergency: at once, out of the customer's reserve",
}


class MomentField(forms.DateTimeField):
    """A local date and time, without a zone: the form gives it that of the budget."""

    widget = UnfoldAdminTextInputWidget

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.widget = type(self.widget)(attrs={"type": "datetime-local"})
        self.widget.is_required = self.required

    def prepare_value(self, value: Any) -> Any:
        return f"{value:%Y-%m-%dT%H:%M}" if isinstance(value, datetime) else value


class ChoiceOfBudget(forms.ModelChoiceField):  # type: ignore[type-arg]
    """Budgets that the user sees, searched for: thousands would fill the page. With what each has for its period."""

    def __init__(self, **kwargs: Any) -> None:
        widget = AutocompleteSelect(Raise._meta.get_field("budget"), admin.site)
        super().__init__(Budget.objects.none(), widget=widget, **kwargs)

    def label_from_instance(self, budget: Any) -> str:
        return pickers.label(budget)


class AskForm(forms.Form):
    """What is asked for; `carry_out` calls the service of the kind."""

    kind = forms.ChoiceField(
        label="What", widget=UnfoldAdminSelectWidget(attrs={"x-model": "kind"}), choices=list(_KINDS.items())
    )
    budget = ChoiceOfBudget()
    source = ChoiceOfBudget(
        label="Taken from",
        required=False,
        help_text="A budget of the same customer. Only what it has neither spent nor held moves.",
    )
    amount = UsdFormField(
        label="Amount (USD)",
        required=False,
        max_digits=19,
        decimal_places=9,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"}),
    )
    ends_at = MomentField(
        label="Until",
        required=False,
        help_text="In the budget's time zone; then the limit falls back by itself. Empty: the end of its period.",
    )
    reason = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="Whoever decides reads it, and so does the audit.",
    )

    def __init__(self, *args: Any, user: Any, chosen: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user
        budgets = Budget.objects.visible_to(user).filter(is_active=True).select_related(*pickers.RELATED["budget"])
        self.fields["budget"].queryset = self.fields["source"].queryset = budgets  # type: ignore[attr-defined]
        if not user.has_perm("governance.emergency_raise"):
            self.fields["kind"].choices = [one for one in _KINDS.items() if one[0] != Kind.EMERGENCY]  # type: ignore[attr-defined]
        budget = budgets.filter(pk=int(chosen)).first() if chosen.isdigit() and len(chosen) < 19 else None
        if budget is not None:
            ends_at = raises.offered_end(budget, timezone.now())
            self.initial.update(budget=budget.pk, ends_at=ends_at and ends_at.astimezone(zone_of(budget)))

    @property
    def kind_now(self) -> str:
        return str(self["kind"].value() or Kind.RAISE)

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        kind = values.get("kind")
        if kind != Kind.RESET and values.get("amount") is None and "amount" not in self.errors:
            self.add_error("amount", "Say how much.")
        if kind == Kind.TRANSFER and values.get("source") is None and "source" not in self.errors:
            self.add_error("source", "Choose the budget that gives.")
        budget = values.get("budget")
        if budget is not None and values.get("ends_at") is not None:
            values["ends_at"] = values["ends_at"].replace(tzinfo=zone_of(budget))
        elif budget is not None and kind == Kind.RAISE and "ends_at" not in self.errors:
            values["ends_at"] = raises.offered_end(budget, timezone.now())
            if values["ends_at"] is None:
                self.add_error("ends_at", "This budget has no period that ends: say until when.")
        return values

    def carry_out(self) -> Raise | None:
        """Ask, and give the row; None where the service refused, with its sentences on the form."""
        values = self.cleaned_data
        budget, amount, reason = values["budget"], values["amount"], values["reason"]
        try:
            match values["kind"]:
                case Kind.TRANSFER:
                    return moves.transfer(
                        source=values["source"], target=budget, amount_nano_usd=amount, reason=reason,
                        requester=self.user,
                    )  # fmt: skip
                case Kind.RESET:
                    return moves.reset(budget=budget, reason=reason, requester=self.user)
                case Kind.EMERGENCY:
                    return moves.emergency(
                        budget=budget, amount_nano_usd=amount, reason=reason, ends_at=values["ends_at"],
                        actor=self.user,
                    )  # fmt: skip
            return raises.request(
                budget=budget, amount_nano_usd=amount, reason=reason, ends_at=values["ends_at"], requester=self.user
            )
        except ValidationError as error:
            add_errors(self, error)
        except PermissionDenied as error:
            self.add_error(None, str(error))
        return None


class DecideForm(forms.Form):
    """The note, and for a raise the amount; the button says what is done."""

    amount = UsdFormField(
        label="Grant (USD)",
        required=False,
        max_digits=19,
        decimal_places=9,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"}),
        help_text="Less than was asked for, if you like.",
    )
    note = forms.CharField(
        label="Note to who asked",
        max_length=300,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="Needed to decline.",
    )
    verb = forms.ChoiceField(
        choices=[(verb, verb) for verb in ("approve", "decline", "withdraw", "end")], widget=forms.HiddenInput
    )

    def __init__(self, *args: Any, row: Raise, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.row = row
        if row.kind == Kind.RAISE:
            self.initial["amount"] = row.amount_nano_usd
        else:
            del self.fields["amount"]

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        if values.get("verb") == "decline" and not values.get("note", "").strip() and "note" not in self.errors:
            self.add_error("note", "Say why, so that who asked knows what to do next.")
        granted = values.get("verb") == "approve" and "amount" in self.fields and "amount" not in self.errors
        if granted and values.get("amount") is None:
            self.add_error("amount", f"Say how much you grant: {show_usd(self.row.amount_nano_usd)} was asked for.")
        return values

    def carry_out(self, user: Any) -> str:
        """Do what the button says; gives it as a word. Raises ValidationError, PermissionDenied."""
        values = self.cleaned_data
        match values["verb"]:
            case "approve":
                raises.approve(row=self.row, actor=user, note=values["note"], amount_nano_usd=values.get("amount"))
                return "approved"
            case "decline":
                raises.decline(row=self.row, actor=user, note=values["note"])
                return "declined"
            case "withdraw":
                raises.withdraw(row=self.row, actor=user)
                return "withdrawn"
        raises.end_early(row=self.row, actor=user, note=values["note"])
        return "ended early"


def add_errors(form: forms.Form, error: ValidationError) -> None:
    """A service's sentences, on the fields that the form has for them."""
    by_field = error.message_dict if hasattr(error, "error_dict") else {NON_FIELD_ERRORS: error.messages}
    names = {"amount_nano_usd": "amount"}
    for column, sentences in by_field.items():
        name = names.get(column, column)
        form.add_error(name if name in form.fields else None, list(sentences))


def zone_of(budget: Budget) -> ZoneInfo:
    """The time zone in which a budget's moments are shown and typed."""
    return ZoneInfo(budget.timezone or budget.customer.timezone)
