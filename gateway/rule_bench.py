"""The test bench of routing rules: a request, logged or typed in, what the rules make of it, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final
from zoneinfo import ZoneInfo

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from gateway.facts import build
from gateway.wire import attribution, tokens
from gateway.wire.headers import Headers
from gateway.wire.peek import BadBody, Peek, peek
from governance import rules
from governance.admin import pickers
from governance.admin.routing_forms import MONO
from governance.domain.access import Grant, matches, most_specific_first
from governance.domain.complexity import Features, Score, score
from governance.domain.facts import VARIABLES, Facts
from governance.domain.ids import new_ulid
from governance.domain.routing import Decision, RuleTarget, decide
from governance.models import Provider, ProviderAccess, VirtualKey
from observability.dryrun import facts_of
from observability.models import Request
from observability.records import RequestRecord

MOST_KEYS: Final = 500
_NAMES: Final = frozenset(variable.name for variable in VARIABLES)
_EXAMPLE: Final = (
    '{"model": "claude-opus-5-5", "max_tokens": 32000, "messages": [{"role": "user", "content": "Hello"}]}'
)


class BenchForm(forms.Form):
    """Where the facts come from; what is assumed at the end wins."""

    key = forms.ModelChoiceField(
        VirtualKey.objects.none(),
        required=False,
        empty_label="Any key: only rules for everybody",
        widget=UnfoldAdminSelectWidget,
        help_text="Whose rules are asked. Empty with a logged request: the key that sent it.",
    )
    request_id = forms.CharField(
        label="A logged request",
        required=False,
        max_length=26,
        widget=UnfoldAdminTextInputWidget(attrs=MONO),
        help_text="Its id. The log keeps no prompts: what it does not tell can be assumed below.",
    )
    body = forms.CharField(
        label="Or a request's body",
        required=False,
        max_length=2_000_000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 5, **MONO}),
        help_text="A Messages body. It is looked at here and not kept.",
    )
    headers = forms.CharField(
        label="Its headers",
        required=False,
        max_length=20_000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3, **MONO}),
        help_text="One a line: x-claude-code-agent-id: a-1.",
    )
    assumed = forms.CharField(
        label="Assume",
        required=False,
        max_length=4_000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2, **MONO}),
        help_text='One variable a line, as JSON: turns = 12, effort = "high", tags = {"task": "docs"}.',
    )

    def __init__(self, user: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user
        keys: Any = self.fields["key"]
        visible = VirtualKey.objects.visible_to(user).filter(revoked_at__isnull=True)
        keys.queryset = visible.select_related("team__customer", "developer", "project")
        keys.label_from_instance = pickers.label

    def clean_request_id(self) -> Request | None:
        given = self.cleaned_data["request_id"].strip()
        if not given:
            return None
        if not self.user.has_perm("observability.view_request"):
            raise ValidationError("Your roles lack the permission to see the request log.")
        row: Request | None = Request.objects.visible_to(self.user).find(given)
        if row is None:
            raise ValidationError("No request of this id, or it belongs to a customer that is not yours.")
        return row

    def clean_body(self) -> tuple[bytes, Peek] | None:
        text = self.cleaned_data["body"].strip()
        if not text:
            return None
        try:
            return text.encode(), peek(text.encode())
        except BadBody as error:
            raise ValidationError(str(error)) from None

    def clean_headers(self) -> Headers:
        pairs = []
        for line in self.cleaned_data["headers"].splitlines():
            name, colon, value = line.partition(":")
            if line.strip() and not colon:
                raise ValidationError(f"“{line.strip()}” is no header. Write name: value.")
            if colon:
                pairs.append(
                    (name.strip().lower().encode("latin-1", "replace"), value.strip().encode("latin-1", "replace"))
                )
        return Headers(pairs)

    def clean_assumed(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        defaults = Facts()
        for line in self.cleaned_data["assumed"].splitlines():
            name, equals, text = (part.strip() for part in line.partition("="))
            if not line.strip():
                continue
            if not equals or name not in _NAMES:
                raise ValidationError(f"“{line.strip()}” is no variable with a value. Write turns = 12.")
            try:
                value = json.loads(text)
            except ValueError:
                raise ValidationError(f'“{text}” is not JSON. Texts stand in quotes: {name} = "…".') from None
            if type(value) is not type(getattr(defaults, name)):
                raise ValidationError(f"{name} is a {_kind(name)}, not {text}.")
            found[name] = value
        return found

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        if values.get("request_id") and values.get("body"):
            self.add_error("body", "A logged request or a body, not both.")
        return values


@dataclass(frozen=True, slots=True)
class Shown:
    """A fact on the page: whether a rule that was asked reads it, and where the value comes from."""

    name: str
    value: str
    read: bool
    origin: str


def rule_bench(request: HttpRequest) -> TemplateResponse:
    """`/admin/routing/bench/`. Wrap it in `admin_view`."""
    user: Any = request.user
    if not user.has_perm("governance.view_routingrule"):
        raise PermissionDenied
    logged = request.GET.get("request", "")
    given: Mapping[str, Any] | None = request.POST or ({"request_id": logged} if logged else None)
    form = BenchForm(user, given, initial={"body": _EXAMPLE})
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Test bench of routing rules",
        "form": form,
        "may_see_log": user.has_perm("observability.view_request"),
    }
    if given is not None and form.is_valid():
        context |= _tried(form)
    request.current_app = admin.site.name
    return TemplateResponse(request, "admin/routing/bench.html", context)


def _tried(form: BenchForm) -> dict[str, Any]:
    values = form.cleaned_data
    row: Request | None = values["request_id"]
    key = values["key"] or _key_of(row, form)
    if key is not None and not values["key"]:
        # The field stays empty, so that another request brings another key.
        choice: Any = form.fields["key"]
        choice.empty_label = f"The key that sent the request: {choice.label_from_instance(key)}"
    known = rules.read()
    grant = _grant(key)
    chain = known.chain(known.places(grant))
    facts, told = _facts(values, row, key, grant, known.weights)
    decision = decide(chain, facts)
    return {
        "tried": True,
        "key": key,
        "decision": decision,
        "verdict": _verdict(decision, len(chain.rules)),
        "targets": _targets(decision, facts.model, key),
        "score": facts.score,
        "facts": [
            Shown(
                name,
                _written(getattr(facts, name)),
                name in chain.names,
                "assumed" if name in values["assumed"] else "" if name in told else "not told",
            )
            for name in (variable.name for variable in VARIABLES)
        ],
    }


def _key_of(row: Request | None, form: BenchForm) -> VirtualKey | None:
    if row is None or row.virtual_key_id is None:
        return None
    keys: Any = form.fields["key"]
    found: VirtualKey | None = keys.queryset.filter(pk=row.virtual_key_id).first()
    return found


def _grant(key: VirtualKey | None) -> Grant:
    if key is None:
        return Grant(0, "", 0, "", 0, "")
    team = key.team
    return Grant(
        key_id=key.pk,
        key_name=key.name,
        customer_id=team.customer_id,
        customer_name=team.customer.name,
        team_id=team.pk,
        team_name=team.name,
        developer_name=key.developer.email if key.developer else "",
        models=tuple(key.model_patterns),
        aliases=(*most_specific_first(key.model_aliases), *most_specific_first(team.model_aliases)),
    )


def _facts(
    values: Mapping[str, Any], row: Request | None, key: VirtualKey | None, grant: Grant, weights: Mapping[str, float]
) -> tuple[Facts, frozenset[str]]:
    """The facts with the assumptions put over them, and the names that the input told."""
    zone = key.team.customer.timezone if key else "UTC"
    if row is not None:
        facts, told = facts_of(row, ZoneInfo(zone))
    else:
        facts, told = _from_body(values["body"], values["headers"], grant, zone, weights)
    facts = replace(facts, **values["assumed"])
    if "complexity" in values["assumed"] or ("complexity" in told and row is not None):
        return facts, told
    made = _score(facts, weights)
    return replace(facts, complexity=made.value, score=made), told


def _from_body(
    body: tuple[bytes, Peek] | None, headers: Headers, grant: Grant, zone: str, weights: Mapping[str, float]
) -> tuple[Facts, frozenset[str]]:
    raw, found = body or (b"", None)
    labels = attribution.attribute(headers, raw, found)
    record = RequestRecord(
        id=new_ulid(), started_at=timezone.now(), session_id=labels.session_id, agent_id=labels.agent_id,
        request_class=labels.request_class, client=labels.client, tags=labels.tags, project=labels.project,
    )  # fmt: skip
    model = found.model if found else ""
    aliased = next((to for pattern, to in grant.aliases if matches((pattern,), model)), model)
    facts = build(
        _NAMES, record=record, peek=found, body=raw, headers=headers, grant=grant, model=aliased,
        prompt_tokens=tokens.estimate_prompt(len(raw)) if raw else 0, used_percent=0, zone=zone, weights=weights,
    )  # fmt: skip
    return facts, _NAMES - {"budget_used_percent"}


def _score(facts: Facts, weights: Mapping[str, float]) -> Score:
    return score(
        Features(
            facts.prompt_tokens, facts.turns, facts.tool_count, facts.images, facts.thinking, facts.thinking_budget,
            facts.effort, facts.request_class,
        ),
        weights,
    )  # fmt: skip


def _verdict(decision: Decision, rules_asked: int) -> str:
    if decision.deny:
        return f"Refused by “{decision.rule}”: {decision.deny}"
    if decision.rule:
        return f"“{decision.rule}” decides."
    if any(not step.failed for step in decision.steps):
        return "No rule chooses a target; those that matched are below."
    if not rules_asked:
        return "No rule is for this key."
    return f"None of {rules_asked:,} rule{'' if rules_asked == 1 else 's'} matches: it goes where it would go anyway."


def _targets(decision: Decision, model: str, key: VirtualKey | None) -> list[tuple[str, str, str]]:
    """(when, target, why it is left out or empty) of every target in order."""
    providers = {provider.pk: provider for provider in Provider.objects.all()}
    accesses = list(ProviderAccess.objects.filter(virtual_key=key)) if key else []
    total = sum(target.weight for target in decision.targets) or 1.0
    planned = [(target, f"{100 * target.weight / total:.0f} %") for target in decision.targets]
    planned += [(target, f"fallback {number}") for number, target in enumerate(decision.fallbacks, 1)]
    return [
        (when, _named(target, model, providers), _why_not(target, target.model or model, key, providers, accesses))
        for target, when in planned
    ]


def _named(target: RuleTarget, model: str, providers: Mapping[int, Provider]) -> str:
    if target.provider_id is None:
        return target.model or model
    provider = providers.get(target.provider_id)
    return f"{target.model or model} at {provider.name if provider else 'a provider that is gone'}"


def _why_not(
    target: RuleTarget,
    model: str,
    key: VirtualKey | None,
    providers: Mapping[int, Provider],
    accesses: Sequence[ProviderAccess],
) -> str:
    if target.provider_id is not None:
        provider = providers.get(target.provider_id)
        if provider is None or not provider.is_active:
            return "the provider is switched off or gone"
    if key is None:
        return ""
    if not matches(tuple(key.model_patterns), model):
        return "the key may not use this model"
    fitting = [access for access in accesses if target.provider_id in (None, access.provider_id)]
    if accesses and not fitting:
        return "the key may not use this provider"
    if accesses and not any(matches(tuple(access.model_patterns), model) for access in fitting):
        return "the key may not use this model there"
    return ""


def _written(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | bool) else str(value)
    return text if len(text) <= 200 else f"{text[:199]}…"


def _kind(name: str) -> str:
    return next(str(variable.kind) for variable in VARIABLES if variable.name == name)


assert {field.name for field in fields(Facts)} - {"score"} == _NAMES  # noqa: S101  (the page shows every fact)
