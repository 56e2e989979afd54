"""What a message says: a title, a sentence, the figures, and a link; one content for e-mail, chat and webhook."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.urls import reverse

from governance.domain.alerts import whole_percent
from governance.domain.money import show_usd, usd_string
from governance.models import Alert, AlertChannel, Budget

_TYPES = {
    Alert.Kind.THRESHOLD: "budget.threshold",
    Alert.Kind.UNPRICED: "price.missing",
    Alert.Kind.ZERO_COST: "price.zero",
    Alert.Kind.ROUTING: "routing.failed",
}


@dataclass(frozen=True, slots=True)
class Message:
    """`payload` is the JSON of the signed webhook: see docs/alerts.md."""

    title: str
    text: str
    facts: tuple[tuple[str, str], ...]
    link: str
    payload: dict[str, Any]


def compose(alert: Alert) -> Message:
    """The message of an alert, from what it recorded: a retry says the same."""
    match alert.kind:
        case Alert.Kind.THRESHOLD:
            title, text, facts = _threshold(alert)
        case Alert.Kind.RAISE:
            title, text, facts = f"{alert.budget_name}: raise {_EVENTS[alert.event]}", alert.note, []
        case Alert.Kind.PROVIDER:
            title, text, facts = _provider(alert)
        case Alert.Kind.ROUTING:
            title, text, facts = _routing(alert)
        case _:
            title, text, facts = _price_alarm(alert)
    if alert.budget_name:
        facts.insert(0, ("Budget", alert.budget_name))
        if alert.scope and alert.target_name:
            facts.insert(1, (Budget.Scope(alert.scope).label, alert.target_name))
    if alert.customer_name and alert.scope != Budget.Scope.CUSTOMER:
        facts.append(("Customer", alert.customer_name))
    if alert.contact:
        facts.append(("Whom to ask", alert.contact))
    link = _link(alert)
    one_line = " ".join(title.split())
    return Message(one_line, text, tuple(facts), link, _payload(alert, one_line, text, link))


def trial_message(channel: AlertChannel, delivery: str, now: datetime) -> Message:
    """What "Send a test" sends; its payload has the fields that every message has, and type `test`."""
    title, link = "Test from Comptroller", _page("governance_alertchannel_change", channel.pk)
    text = f"The channel “{channel.name}” works. Nothing happened: somebody pressed “Send a test”."
    customer = channel.customer
    payload = {
        **dict.fromkeys(_FIELDS),
        "id": delivery, "type": "test", "created_at": _moment(now), "title": title, "text": text, "url": link,
        "customer": customer.name if customer else None, "customer_id": customer.pk if customer else None,
    }  # fmt: skip
    return Message(title, text, (("Channel", channel.name),), link, payload)


def sentence(alert: Alert) -> str:
    """The alert in one sentence, for lists."""
    return compose(alert).text


_EVENTS = {"requested": "asked for", "approved": "in force", "declined": "declined", "ended": "ended"}
_PROVIDERS = {
    "rejected": (
        "The credential {} is rejected",
        "Its provider does not accept it: {}. Requests go to other credentials and providers where there are any. "
        "Put it right there, or replace the secret.",
    ),
    "accepted": ("The credential {} is no trouble any more", "{}"),
    "failing": (
        "The provider {} keeps failing",
        "It is {}. Requests go to other providers where there are any; one now and then asks it again.",
    ),
    "recovered": ("The provider {} is no trouble any more", "{}"),
}
"""(title, text) of what happens to a provider or credential, by event."""
_AFTER = {
    "hard": "A request that might pass the limit is refused.",
    "stop": "At the limit new requests are refused.",
    "observe": "It is only watched: requests go on.",
}


def _threshold(alert: Alert) -> tuple[str, str, list[tuple[str, str]]]:
    spent, limit = alert.spent_nano_usd or 0, alert.limit_nano_usd or 0
    percent = whole_percent(spent=spent, limit=limit)
    share = f"{percent}%" if percent is not None else "more than nothing"
    title = f"{alert.budget_name}: {alert.threshold}% reached"
    reached = spent >= limit
    consequence = _AFTER.get(alert.enforcement, "")
    if reached and alert.enforcement == Budget.Enforcement.STOP:
        consequence = "New requests are refused."
    if not reached and (alert.threshold or 0) >= 100:
        # Told by its refusals: see evaluate.tell_refusals.
        title = f"{alert.budget_name}: requests are refused"
        consequence = "A request that might have passed the limit was refused; smaller ones may still fit."
    text = f"{show_usd(spent)} of {show_usd(limit)} is spent, {share}. {consequence}"
    facts = [
        ("Spent", f"{show_usd(spent)} ({share})"),
        ("Limit", show_usd(limit)),
        ("Period", _period(alert)),
        (
            "Resets",
            _local(alert, alert.period_end) or ("rolls on" if alert.period.startswith("last ") else "never"),
        ),
    ]
    if alert.forecast_nano_usd is not None:
        out = f"; it runs out on {_local(alert, alert.runs_out_at)}" if alert.runs_out_at else ""
        facts.append(("Forecast", f"{show_usd(alert.forecast_nano_usd)} by the end of the period{out}"))
    return title, text, facts


def _price_alarm(alert: Alert) -> tuple[str, str, list[tuple[str, str]]]:
    requests, tokens = alert.requests or 0, alert.tokens or 0
    counted = f"{requests:,} request{'' if requests == 1 else 's'} with {tokens:,} tokens"
    if alert.kind == Alert.Kind.UNPRICED:
        title = f"{alert.model} has no price"
        text = (
            f"{counted} of {alert.model} had no price in the list and were charged at the dearest known Claude rate, "
            f"{show_usd(alert.spent_nano_usd or 0)} so far. Add its price; the period can then be priced again."
        )
    else:
        title = f"{alert.model} cost nothing"
        text = f"{counted} of {alert.model} were charged zero. Check its price: tokens that are free are rarely meant."
    return title, text, [("Model", alert.model), ("Day", f"{alert.period_start:%Y-%m-%d} (UTC)")]


def _provider(alert: Alert) -> tuple[str, str, list[tuple[str, str]]]:
    title, text = _PROVIDERS[alert.event]
    facts = [("Since", _local(alert, alert.period_start))]
    if alert.period_end is not None:
        facts.append(("Until", _local(alert, alert.period_end)))
    return title.format(alert.target_name), text.format(alert.note), facts


def _routing(alert: Alert) -> tuple[str, str, list[tuple[str, str]]]:
    requests = alert.requests or 0
    title = f"Routing rule {alert.target_name} fails"
    text = (
        f"For {requests:,} request{'' if requests == 1 else 's'} it could not be worked out, so it was passed over: "
        f"{alert.note}. Correct its condition."
    )
    return title, text, [("Rule", alert.target_name), ("Day", f"{alert.period_start:%Y-%m-%d} (UTC)")]


def _period(alert: Alert) -> str:
    if alert.period_start is None:
        return "lifetime"
    if alert.period_end is None:
        return alert.period
    return f"{alert.period} from {_local(alert, alert.period_start)}"


def _local(alert: Alert, moment: datetime | None) -> str:
    return f"{moment.astimezone(ZoneInfo(alert.timezone)):%Y-%m-%d %H:%M} ({alert.timezone})" if moment else ""


def _link(alert: Alert) -> str:
    if alert.budget_id:
        return _page("governance_budget_change", alert.budget_id)
    return _page("governance_alert_change", alert.pk)


def _page(name: str, pk: Any) -> str:
    return f"{settings.PUBLIC_URL}{reverse(f'admin:{name}', args=[pk])}"


_FIELDS = (
    "id", "type", "created_at", "title", "text", "url", "customer", "customer_id", "team", "team_id", "budget",
    "budget_id", "scope", "target", "enforcement", "period", "period_start", "period_end", "timezone", "threshold",
    "percent", "spent_usd", "limit_usd", "forecast_usd", "runs_out_at", "contact", "model", "requests", "tokens",
    "amount_usd",
)  # fmt: skip


def _payload(alert: Alert, title: str, text: str, link: str) -> dict[str, Any]:
    spent, limit = alert.spent_nano_usd, alert.limit_nano_usd
    percent = None if spent is None or limit is None else whole_percent(spent=spent, limit=limit)
    values = {
        "id": alert.pk,
        "type": _type(alert),
        "created_at": _moment(alert.created_at),
        "title": title,
        "text": text,
        "url": link,
        "customer": alert.customer_name or None,
        "customer_id": alert.customer_id,
        "team": alert.team_name or None,
        "team_id": alert.team_id,
        "budget": alert.budget_name or None,
        "budget_id": alert.budget_id,
        "scope": alert.scope or None,
        "target": alert.target_name or None,
        "enforcement": alert.enforcement or None,
        "period": alert.period or None,
        "period_start": _moment(alert.period_start),
        "period_end": _moment(alert.period_end),
        "timezone": alert.timezone,
        "threshold": alert.threshold,
        "percent": percent,
        "spent_usd": _usd(spent),
        "limit_usd": _usd(limit),
        "forecast_usd": _usd(alert.forecast_nano_usd),
        "runs_out_at": _moment(alert.runs_out_at),
        "contact": alert.contact or None,
        "model": alert.model or None,
        "requests": alert.requests,
        "tokens": alert.tokens,
        "amount_usd": _usd(alert.amount_nano_usd),
    }
    return {name: values[name] for name in _FIELDS}


def _type(alert: Alert) -> str:
    if alert.kind == Alert.Kind.PROVIDER:
        return f"{'credential' if alert.event in {'rejected', 'accepted'} else 'provider'}.{alert.event}"
    return _TYPES.get(Alert.Kind(alert.kind), f"raise.{alert.event}")


def _moment(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z") if moment else None


def _usd(nano: int | None) -> str | None:
    return None if nano is None else usd_string(nano)
