"""What a rule may do, checked: targets, fallbacks and headers as people and files give them.

Stored are lists of `{"provider_id", "provider", "model", "weight"}`: the id decides, the name is what the provider was
called when the rule was saved, for whoever reads the trail after it is gone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from governance.domain.routing import MAX_SET_HEADERS, Action, RuleTarget

MAX_TARGETS: Final = 20
_MODEL: Final = re.compile(r"[\w.:@/-]{1,200}")
_HEADER_NAME: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,100}")
_HEADER_VALUE: Final = re.compile(r"[ -~]{1,500}")
_NOT_SETTABLE: Final = frozenset({
    "accept-encoding", "anthropic-beta", "anthropic-version", "api-key", "authorization", "connection",
    "content-encoding", "content-length", "content-type", "cookie", "expect", "forwarded", "host", "keep-alive", "te",
    "trailer", "transfer-encoding", "upgrade", "via", "x-api-key", "x-real-ip",
})  # fmt: skip
_NOT_SETTABLE_PREFIXES: Final = ("proxy-", "x-amz-", "x-comptroller-", "x-forwarded-", "x-goog-")


def target_problem(value: Any) -> str:
    """What is wrong with a list of targets; empty where nothing is."""
    if not isinstance(value, list) or not all(isinstance(target, Mapping) for target in value):
        return 'Give a list such as [{"provider": "vertex", "model": "claude-haiku-5-5", "weight": 1}].'
    if len(value) > MAX_TARGETS:
        return f"These are {len(value)} targets: more than {MAX_TARGETS} are never reached in time."
    for number, target in enumerate(value, 1):
        if unknown := set(target) - {"provider_id", "provider", "model", "weight"}:
            return f"Target {number} has no field {sorted(unknown)[0]!r}: provider, model and weight."
        model, weight = target.get("model", ""), target.get("weight", 1)
        if not isinstance(model, str) or (model and not _MODEL.fullmatch(model)):
            return f"Target {number}: {model!r} is not a model id; a pattern cannot be sent to a provider."
        if not model and target.get("provider_id") is None:
            return f"Target {number} names neither a provider nor a model."
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= 1_000_000:
            return f"Target {number}: the weight is {weight!r}; give a number above 0."
    return ""


def headers_problem(value: Any) -> str:
    """What is wrong with the headers that a rule sets; empty where nothing is."""
    if not isinstance(value, Mapping):
        return 'Give headers by name, for example {"x-team": "core"}.'
    if len(value) > MAX_SET_HEADERS:
        return f"At most {MAX_SET_HEADERS} headers."
    for name, text in value.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            return f"{name!r} is not a header's name: lower-case letters, digits and dashes."
        if name in _NOT_SETTABLE or name.startswith(_NOT_SETTABLE_PREFIXES):
            return f"{name} is the gateway's own: it carries a credential, or belongs to the connection or the format."
        if not isinstance(text, str) or not _HEADER_VALUE.fullmatch(text):
            return f"The value of {name} must be 1 to 500 plain characters."
    return ""


def action_of(
    *,
    targets: Iterable[Mapping[str, Any]] = (),
    fallbacks: Iterable[Mapping[str, Any]] = (),
    deny: str = "",
    set_headers: Mapping[str, str] | None = None,
    max_tokens: int | None = None,
    on_rate_limit: str = "",
    hedge_ms: int | None = None,
) -> Action:
    """The stored columns as an action."""
    return Action(
        targets=tuple(map(_target, targets)),
        fallbacks=tuple(map(_target, fallbacks)),
        deny=deny,
        set_headers=tuple((set_headers or {}).items()),
        max_tokens=max_tokens,
        on_rate_limit=on_rate_limit,
        hedge_ms=hedge_ms,
    )


def _target(stored: Mapping[str, Any]) -> RuleTarget:
    return RuleTarget(
        stored.get("provider_id"), stored.get("model", ""), float(stored.get("weight", 1)), stored.get("provider", "")
    )
