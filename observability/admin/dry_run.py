"""The page that shows what a routing rule would have done to the last requests, saved or still a draft."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from governance.admin.routing_forms import ConditionField, TargetsField
from governance.models import Customer, RoutingRule, Team
from observability.dryrun import CHOICES, dry_run
from observability.selectors.reporting import reporting_zone


class DryRunForm(forms.Form):
    """A rule as far as a dry run asks: whose requests, when, and what then."""

    customer = forms.ModelChoiceField(
        Customer.objects.none(), required=False, empty_label="Everybody's requests", widget=UnfoldAdminSelectWidget
    )
    team = forms.ModelChoiceField(
        Team.objects.none(), required=False, empty_label="Every team", widget=UnfoldAdminSelectWidget
    )
    condition = ConditionField(label="When", help_text="In CEL; true is always.")
    targets = TargetsField(
        label="Goes to", required=False, help_text="One a line: model @ provider x weight. Empty: as it was."
    )
    deny = forms.CharField(
        label="Refuse with",
        required=False,
        max_length=500,
        widget=UnfoldAdminTextInputWidget,
        help_text="A sentence, where matching requests are to be refused.",
    )
    max_tokens = forms.IntegerField(
        label="Most output tokens", required=False, min_value=1, widget=UnfoldAdminIntegerFieldWidget
    )
    most = forms.TypedChoiceField(
        label="How many of the last requests",
        choices=[(number, f"{number:,}") for number in CHOICES],
        coerce=int,
        initial=CHOICES[1],
        widget=UnfoldAdminSelectWidget,
    )

    def __init__(self, user: Any, *args: Any, rule: RoutingRule | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rule = rule
        customers: Any = self.fields["customer"]
        teams: Any = self.fields["team"]
        customers.queryset = Customer.objects.visible_to(user)
        teams.queryset = Team.objects.visible_to(user).select_related("customer")
        if rule is not None and rule.scope == RoutingRule.Scope.VIRTUAL_KEY:
            # A key is not chosen here: it stays the rule's.
            del self.fields["customer"], self.fields["team"]

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        if values.get("deny") and values.get("targets"):
            self.add_error("deny", "A request that is refused goes nowhere: take the targets out, or the sentence.")
        return values

    def drafted(self) -> RoutingRule:
        """The rule that the form describes; it is never saved."""
        values = self.cleaned_data
        draft = RoutingRule(
            condition=values["condition"],
            targets=values["targets"],
            deny=values["deny"],
            max_tokens=values["max_tokens"],
        )
        if "team" not in self.fields and self.rule is not None:
            draft.scope, draft.virtual_key = self.rule.scope, self.rule.virtual_key
        elif values["team"]:
            draft.scope, draft.team = RoutingRule.Scope.TEAM, values["team"]
        elif values["customer"]:
            draft.scope, draft.customer = RoutingRule.Scope.CUSTOMER, values["customer"]
        draft.fill_tenancy()
        return draft


def rule_dry_run(request: HttpRequest) -> TemplateResponse:
    """`/admin/routing/dry-run/`, of a saved rule with `?rule=`. Wrap it in `admin_view`."""
    user: Any = request.user
    if not (user.has_perm("governance.view_routingrule") and user.has_perm("observability.view_request")):
        raise PermissionDenied
    rule = _rule(request, user)
    run = None
    form = DryRunForm(user, request.POST or None, rule=rule, initial=_initial(rule))
    if request.method == "POST" and form.is_valid():
        run = dry_run(form.drafted(), user, most=form.cleaned_data["most"])
    elif request.method != "POST" and rule is not None:
        # A saved rule is shown at once.
        run = dry_run(rule, user, most=CHOICES[1])
    context = {
        **admin.site.each_context(request),
        "title": f"Dry run: {rule}" if rule else "Dry run of a draft",
        "form": form,
        "rule": rule,
        "run": run,
        "zone": reporting_zone(user),
        "now": timezone.now(),
    }
    request.current_app = admin.site.name
    return TemplateResponse(request, "admin/observability/dry_run.html", context)


def _rule(request: HttpRequest, user: Any) -> RoutingRule | None:
    given = request.GET.get("rule", "")
    if not given:
        return None
    rules = RoutingRule.objects.visible_to(user).select_related("customer", "team__customer", "virtual_key")
    rule: RoutingRule | None = rules.filter(pk=given).first() if given.isdigit() else None
    if rule is None:
        raise Http404("No such rule, or none that you may see.")
    return rule


def _initial(rule: RoutingRule | None) -> dict[str, Any]:
    if rule is None:
        return {"condition": "true"}
    return {
        "customer": rule.customer if rule.scope == RoutingRule.Scope.CUSTOMER else None,
        "team": rule.team if rule.scope == RoutingRule.Scope.TEAM else None,
        "condition": rule.condition,
        "targets": rule.targets,
        "deny": rule.deny,
        "max_tokens": rule.max_tokens,
    }
