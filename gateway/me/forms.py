"""The form in which a developer asks for more budget."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError

from governance.domain.money import show_usd
from governance.fields import UsdFormField
from governance.models import Raise
from governance.selectors import BudgetStatus
from governance.services import raises


class AskForm(forms.Form):
    """Offers only the budgets of the person: another's id is no choice."""

    budget = forms.TypedChoiceField(coerce=int, label="Which budget")
    amount = UsdFormField(
        label="How much more (USD)",
        max_digits=19,
        decimal_places=9,
        widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
    )
    ends_at = forms.DateTimeField(
        label="Until",
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
        help_text="In the budget's time zone. Empty: the end of its current period.",
    )
    reason = forms.CharField(
        label="What for",
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Whoever decides reads it.",
    )

    def __init__(self, *args: Any, statuses: list[BudgetStatus], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.statuses = {status.budget.pk: status for status in statuses}
        self.fields["budget"].choices = [  # type: ignore[attr-defined]
            (pk, f"{status.budget}: {show_usd(status.remaining)} left of {show_usd(status.limit)}")
            for pk, status in self.statuses.items()
        ]

    def ask(self, user: Any, now: datetime) -> Raise | None:
        """Make the request; None where it was refused, with the sentences on the form."""
        values = self.cleaned_data
        status = self.statuses[values["budget"]]
        ends_at = values["ends_at"]
        ends_at = ends_at.replace(tzinfo=status.zone) if ends_at else raises.offered_end(status.budget, now)
        if ends_at is None:
            self.add_error("ends_at", "This budget has no period that ends: say until when.")
            return None
        try:
            return raises.request(
                budget=status.budget,
                amount_nano_usd=values["amount"],
                reason=values["reason"],
                ends_at=ends_at,
                requester=user,
            )
        except ValidationError as error:
            sentences = error.message_dict if hasattr(error, "error_dict") else {NON_FIELD_ERRORS: error.messages}
            for column, told in sentences.items():
                name = {"amount_nano_usd": "amount"}.get(column, column)
                self.add_error(name if name in self.fields else None, list(told))
        return None
