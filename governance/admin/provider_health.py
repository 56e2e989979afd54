"""How providers and credentials are, in cells and sentences: a mark and a word, since when, and why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from governance.admin import cells
from governance.admin.processes import ago
from governance.selectors_providers import CredentialStatus, ProviderStatus
from governance.templatetags import money

_PROVIDER = {
    "up": ("ok", "✓", "Up"),
    "degraded": ("at_risk", "▲", "Degraded"),
    "down": ("blocked", "■", "Down"),
    "unknown": ("off", "○", "Not known"),
}
_CREDENTIAL = {
    "ready": ("ok", "✓", "Ready"),
    "limit": ("ok", "✓", "At its limit here"),
    "resting": ("at_risk", "▲", "Resting"),
    "cooling": ("at_risk", "▲", "Cooling down"),
    "dead": ("blocked", "■", "Rejected"),
    "problem": ("blocked", "■", "Cannot be used"),
    "off": ("off", "○", "Off"),
    "unknown": ("off", "○", "Not known"),
}
_LONG = 120
"""Characters of a reason that a list shows."""


def badge(status: ProviderStatus) -> SafeString:
    if not status.provider.is_active:
        return cells.state("off", "○", "Off")
    return cells.state(*_PROVIDER[status.state])


def cell(status: ProviderStatus) -> SafeString:
    """Of the list: the state, and under it since when and why."""
    note = ""
    if status.provider.is_active and status.state in {"degraded", "down"}:
        why = status.why if len(status.why) <= _LONG else f"{status.why[:_LONG]}…"
        note = f"for {_for(status.since)}: {why}"
    elif status.provider.is_active and status.state == "unknown":
        note = "no running gateway process tells of it"
    shown = '{}<div class="cmp-note cmp-note--why">{}</div>'
    return format_html(shown, badge(status), note) if note else badge(status)


def verdict(status: ProviderStatus) -> str:
    """One sentence at the top of its page."""
    provider = status.provider
    if not provider.is_active:
        return "It is switched off: no request goes to it."
    match status.state:
        case "unknown":
            return "No running gateway process tells of it. Within seconds of a change, or of a start, one does."
        case "down":
            return f"Left alone for {_for(status.since)}, unless nothing else can be asked: {status.why}."
        case "degraded":
            return f"Requests go to it, but something is wrong, for {_for(status.since)} now: {status.why}."
    count = len(status.rows)
    return f"Requests go to it; {count} gateway process{'' if count == 1 else 'es'} found nothing wrong."


def credentials_cell(status: ProviderStatus) -> SafeString | str:
    """The active credentials of the list, each with its state."""
    lines = [(line["badge"], line["name"]) for line in credential_lines(status) if line["active"]]
    if lines:
        return format_html_join("", '<div class="cmp-line">{} {}</div>', lines)
    if not status.needs_credential:
        return cells.quiet("needs none")
    return cells.state("blocked", "■", "none: it cannot be called")


def credential_lines(status: ProviderStatus) -> list[dict[str, Any]]:
    """One line for each credential of the configuration, for the table."""
    said = {one.name: one for one in status.credentials}
    return [
        _line(credential, said.get(credential.name) if status.provider.is_active else None)
        for credential in status.provider.credentials.all()
    ]


def _line(credential: Any, one: CredentialStatus | None) -> dict[str, Any]:
    in_use = credential.is_active and credential.provider.is_active
    state = "off" if not in_use else one.state if one is not None else "unknown"
    why = ""
    if credential.is_active and one is not None and one.why:
        why = one.why if one.processes == one.of else f"in {one.processes} of {one.of} processes: {one.why}"
    return {
        "name": credential.name,
        "active": credential.is_active,
        "badge": cells.state(*_CREDENTIAL.get(state, _CREDENTIAL["unknown"])),
        "why": why,
        "since": one.since if one else None,
        "until": one.until if one and one.until and one.until > timezone.now() else None,
        "answered": ago(timezone.now() - one.answered_at) if one and one.answered_at else money.DASH,
        "error": one.last_error if one else "",
        "error_at": one.last_error_at if one else None,
    }


def failed(status: ProviderStatus) -> str:
    """`3 of 1,204 (0.2%)`."""
    if not status.requests:
        return "no request"
    share = 100 * status.failures / status.requests
    return f"{status.failures:,} of {status.requests:,} ({share:.1f}%)"


def failed_cell(status: ProviderStatus) -> SafeString | str:
    """`0.2%`, and under it of how many."""
    if not status.requests:
        return money.DASH
    share = 100 * status.failures / status.requests
    return format_html('{}%<div class="cmp-note">of {}</div>', f"{share:.1f}", f"{status.requests:,}")


def seconds(milliseconds: int | None) -> str:
    return money.DASH if milliseconds is None else f"{milliseconds / 1000:.2f} s"


def _for(since: datetime | None) -> str:
    if since is None:
        return "an unknown time"
    return ago(max(datetime.now(UTC) - since, timedelta(0))).removesuffix(" ago")
