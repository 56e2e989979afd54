"""Read Anthropic's cost report and usage report: JSON to frozen lines, exactly and without dropping anything.

Shapes: `GET /v1/organizations/cost_report` (grouped by workspace and description) and
`GET /v1/organizations/usage_report/messages` (grouped by workspace and model), both in buckets of one UTC day.
Amounts are decimal strings in cents. Pure: no framework, no I/O, no float.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal, InvalidOperation
from typing import Any, Literal

Kind = Literal["cost", "usage"]

CLASSES = ("uncached_input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "web_search")
"""Token classes that both sides know; a report may name others, which are kept under their own name."""

_TOKEN_TYPES = {
    "uncached_input_tokens": "uncached_input",
    "cache_read_input_tokens": "cache_read",
    "cache_creation.ephemeral_5m_input_tokens": "cache_write_5m",
    "cache_creation.ephemeral_1h_input_tokens": "cache_write_1h",
    "output_tokens": "output",
}
_COST_TYPES = {"tokens", "web_search", "code_execution", "session_usage"}
_COST_FIELDS = {
    "amount", "currency", "cost_type", "description", "model", "token_type", "workspace_id", "service_tier",
    "context_window", "inference_geo", "speed",
}  # fmt: skip
_USAGE_FIELDS = {
    "uncached_input_tokens", "cache_read_input_tokens", "cache_creation", "output_tokens", "server_tool_use",
    "workspace_id", "model", "api_key_id", "account_id", "service_account_id", "service_tier", "context_window",
    "inference_geo", "speed",
}  # fmt: skip
_KEPT = {"speed", "api_key_id", "account_id", "service_account_id"}
"""Known fields that are not asked for; where a file has them they are kept beside the line."""
_BUCKET_FIELDS = {"starting_at", "ending_at", "results"}
_PAGE_FIELDS = {"data", "has_more", "next_page"}
_LARGEST_USD = Decimal(9_000_000_000)
_LARGEST_COUNT = 2**63 - 1
_EXACT = Context(prec=80)


class BadReport(ValueError):
    """The report cannot be used; the message says what is wrong with it and what to do."""


@dataclass(frozen=True, slots=True)
class Line:
    """One figure of one UTC day. `cents` is the reported text; `tokens` counts tokens, or searches."""

    day: date
    workspace_id: str
    """Empty for the default workspace."""
    model: str
    """Empty where the provider names none, as for web searches in a cost report."""
    token_class: str
    tokens: int | None = None
    cents: str = ""
    service_tier: str = ""
    context_window: str = ""
    inference_geo: str = ""
    description: str = ""
    extra: tuple[tuple[str, str], ...] = ()
    """Fields that the comparison has no use for or does not know, as JSON texts."""

    @property
    def usd(self) -> Decimal:
        """The exact amount in USD; zero where the line has tokens only."""
        return Decimal(self.cents).scaleb(-2, _EXACT) if self.cents else Decimal(0)


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of the API, or one page in a file."""

    kind: Kind | None
    """None where no line says which report it is."""
    days: Mapping[date, tuple[Line, ...]]
    has_more: bool
    next_page: str
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """All pages together; a day without lines was reported as costing nothing."""

    kind: Kind
    days: Mapping[date, tuple[Line, ...]]
    unknown: tuple[str, ...] = ()
    sha256: str = ""
    """Of the bytes as they were received."""


@dataclass(slots=True)
class _Unknown:
    """Names of what this version does not know, each once and in order."""

    names: dict[str, None] = field(default_factory=dict)

    def note(self, name: str) -> None:
        self.names.setdefault(name[:120])


def decode(content: bytes) -> Any:
    """JSON with exact numbers. Raises BadReport."""
    try:
        return json.loads(content, parse_float=Decimal, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadReport(f"This is not JSON: {error}. Save the report exactly as the API gives it.") from None


def read_file(content: bytes, kind: Kind | None = None) -> Report:
    """A saved report: one page, a list of pages, or one page a line. Raises BadReport."""
    if not content.strip():
        raise BadReport("The file is empty.")
    try:
        document = decode(content)
    except BadReport:
        lines = [line for line in content.splitlines() if line.strip()]
        if len(lines) < 2:
            raise
        document = [decode(line) for line in lines]
    pages = [parse_page(page, kind) for page in (document if isinstance(document, list) else [document])]
    return combine(pages, kind, hashlib.sha256(content).hexdigest())


def combine(pages: Sequence[Page], kind: Kind | None, sha256: str) -> Report:
    """The report that the pages make. Raises BadReport where its end is missing or its pages do not fit."""
    kinds = {page.kind for page in pages if page.kind is not None} | ({kind} if kind else set())
    if len(kinds) > 1:
        raise BadReport("This mixes a cost report and a usage report. Import each by itself.")
    if not pages or (not kinds and not any(page.days for page in pages)):
        raise BadReport("The report holds no day. Ask for a range that is over, with bucket_width=1d.")
    if not kinds:
        raise BadReport("The report has no line to tell a cost report from a usage report: say which it is.")
    if pages[-1].has_more:
        raise BadReport(
            "The report goes on after the last page (has_more is true). Save the following pages too (page=next_page), "
            "all in one file, one page a line; or ask with limit=31."
        )
    days: dict[date, list[Line]] = {}
    for page in pages:
        for day, lines in page.days.items():
            days.setdefault(day, []).extend(lines)
    for day in days:
        _check_sums(day, days[day])
    unknown = tuple(dict.fromkeys(name for page in pages for name in page.unknown))
    (found,) = kinds
    return Report(found, {day: tuple(days[day]) for day in sorted(days)}, unknown, sha256)


def _check_sums(day: date, lines: Iterable[Line]) -> None:
    """A cell sums lines of its day: what fits line by line must fit together too."""
    tokens, cents = 0, Decimal(0)
    for line in lines:
        tokens += line.tokens or 0
        cents = _EXACT.add(cents, abs(Decimal(line.cents or 0)))
    if tokens > _LARGEST_COUNT or cents > _LARGEST_USD * 100:
        raise BadReport(f"The lines of {day} come to more than any account can have used. Is it the right file?")


def parse_page(document: Any, kind: Kind | None = None) -> Page:
    """One page. `kind` is what was asked for; without it the lines say. Raises BadReport."""
    page = _object(document, "The report")
    if "error" in page and "data" not in page:
        raise BadReport(f"This is an error answer, not a report: {_error_text(page['error'])}")
    unknown = _Unknown()
    _others(page, _PAGE_FIELDS, unknown, "of the report")
    if not isinstance(page.get("data"), list):
        raise BadReport("The report has no list “data”. Save it exactly as the API gives it.")
    days: dict[date, list[Line]] = {}
    for bucket in page["data"]:
        bucket = _object(bucket, "A bucket of the report")
        _others(bucket, _BUCKET_FIELDS, unknown, "of a day")
        day = _day(bucket)
        lines = days.setdefault(day, [])
        results = bucket.get("results")
        if not isinstance(results, list):
            raise BadReport(f"The bucket of {day} has no list “results”.")
        for result in results:
            result = _object(result, f"A line of {day}")
            found = _kind(result, day)
            if kind is not None and found != kind:
                raise BadReport(f"This is a {found} report, not a {kind} report.")
            kind = found
            lines += [_cost_line(day, result, unknown)] if kind == "cost" else _usage_lines(day, result, unknown)
    more = page.get("has_more") is True
    following = page.get("next_page")
    if more and not isinstance(following, str):
        raise BadReport("The report says that it goes on (has_more) but not where (next_page).")
    by_day = {day: tuple(lines) for day, lines in days.items()}
    return Page(kind, by_day, more, str(following) if more else "", tuple(unknown.names))


def digest(lines: Iterable[Line]) -> str:
    """Equal for equal figures, whatever order they come in."""
    texts = sorted(json.dumps([str(part) for part in astuple(line)]) for line in lines)
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _kind(result: Mapping[str, Any], day: date) -> Kind:
    if "amount" in result:
        return "cost"
    if "uncached_input_tokens" in result or "output_tokens" in result:
        return "usage"
    raise BadReport(f"A line of {day} has neither an amount nor tokens: is this a cost or usage report?")


def _cost_line(day: date, result: Mapping[str, Any], unknown: _Unknown) -> Line:
    currency = result.get("currency")
    if currency != "USD":
        raise BadReport(f"A line of {day} is in {currency!r}. Only US dollars are reconciled; nothing was imported.")
    cost_type = _text(result, "cost_type", day)
    if not cost_type:
        raise BadReport(
            f"A line of {day} names no cost_type. Ask with group_by[]=workspace_id and group_by[]=description."
        )
    extra = _others(result, _COST_FIELDS, unknown, "of a cost line")
    if cost_type not in _COST_TYPES:
        unknown.note(f"cost type {cost_type}")
    token_class, model = cost_type, _text(result, "model", day)
    if cost_type == "tokens":
        token_type = _text(result, "token_type", day)
        token_class = _TOKEN_TYPES.get(token_type, token_type or "tokens")
        if token_type not in _TOKEN_TYPES:
            unknown.note(f"token type {token_type or '(none)'}")
    return Line(
        day,
        _text(result, "workspace_id", day),
        model,
        token_class[:40],
        cents=_cents(result["amount"], day),
        **_dimensions(result, day),
        description=_text(result, "description", day)[:300],
        extra=extra,
    )


def _usage_lines(day: date, result: Mapping[str, Any], unknown: _Unknown) -> list[Line]:
    model = _text(result, "model", day)
    if not model:
        raise BadReport(f"A line of {day} names no model. Ask with group_by[]=workspace_id and group_by[]=model.")
    extra = _others(result, _USAGE_FIELDS, unknown, "of a usage line")
    writes = _object(result.get("cache_creation") or {}, f"cache_creation of {day}")
    tools = _object(result.get("server_tool_use") or {}, f"server_tool_use of {day}")
    counts = {
        "uncached_input": result.get("uncached_input_tokens"),
        "cache_read": result.get("cache_read_input_tokens"),
        "cache_write_5m": writes.get("ephemeral_5m_input_tokens"),
        "cache_write_1h": writes.get("ephemeral_1h_input_tokens"),
        "output": result.get("output_tokens"),
        "web_search": tools.get("web_search_requests"),
    }
    known = {"ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"}
    others = {f"cache_creation.{name}": value for name, value in writes.items() if name not in known}
    others |= {f"server_tool_use.{name}": value for name, value in tools.items() if name != "web_search_requests"}
    for name, value in others.items():
        unknown.note(f"field {name} of a usage line")
        if isinstance(value, int) and not isinstance(value, bool):
            counts[name[:40]] = value
    workspace, dimensions = _text(result, "workspace_id", day), _dimensions(result, day)
    lines = []
    for token_class, value in counts.items():
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST_COUNT:
            raise BadReport(f"{token_class} of {model} on {day} is {str(value)[:60]}, not a count of tokens.")
        if value:
            lines.append(Line(day, workspace, model, token_class, tokens=value, extra=extra, **dimensions))
    return lines


def _dimensions(result: Mapping[str, Any], day: date) -> dict[str, Any]:
    return {name: _text(result, name, day)[:32] for name in ("service_tier", "context_window", "inference_geo")}


def _cents(value: Any, day: date) -> str:
    """The amount's own digits; refused where it is no finite number or out of range."""
    text = value.strip() if isinstance(value, str) else str(value)
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | Decimal) or len(text) > 60:
            raise InvalidOperation
        cents = Decimal(text)
        if not cents.is_finite() or abs(cents) > _LARGEST_USD * 100 or (cents and cents.adjusted() < -40):
            raise InvalidOperation
    except InvalidOperation:
        raise BadReport(f"The amount {text[:60]!r} of {day} is not a number of cents.") from None
    return text


def _day(bucket: Mapping[str, Any]) -> date:
    start, end = (_moment(bucket.get(name), name) for name in ("starting_at", "ending_at"))
    if start.time() != datetime.min.time() or end - start != timedelta(days=1):
        raise BadReport(
            f"The bucket from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} is not one UTC day. "
            "Ask with bucket_width=1d."
        )
    return start.date()


def _moment(value: Any, name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise BadReport(f"A bucket's {name} is {value!r}, not a moment such as 2026-11-01T00:00:00Z.") from None
    if moment.tzinfo is None:
        raise BadReport(f"A bucket's {name} is {value!r} without a time zone.")
    return moment.astimezone(UTC)


def _object(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadReport(f"{what} is no JSON object. Save the report exactly as the API gives it.")
    return value


def _text(result: Mapping[str, Any], name: str, day: date) -> str:
    value = result.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadReport(f"{name} of a line of {day} is {value!r}, not a text.")
    return value.replace("\0", "").strip()[:300]


def _others(found: Mapping[str, Any], known: set[str], unknown: _Unknown, where: str) -> tuple[tuple[str, str], ...]:
    extra = []
    for name in sorted(found):
        if name in known and (name not in _KEPT or found[name] is None):
            continue
        if name not in known:
            unknown.note(f"field {name} {where}")
        extra.append((name[:80], json.dumps(found[name], default=str)[:500].replace("\\u0000", "")))
    return tuple(extra)


def _error_text(error: Any) -> str:
    return str(error.get("message", error) if isinstance(error, dict) else error)[:300]


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")
