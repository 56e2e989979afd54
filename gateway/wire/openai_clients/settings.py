"""How the model is to answer: length, sampling, thinking, output format, of both OpenAI formats in Claude's fields."""

from __future__ import annotations

from typing import Any, Final

from gateway.wire.openai_clients.claude import Claude
from gateway.wire.openai_clients.fields import JsonObject, number, object_of
from gateway.wire.openai_clients.schema import closed
from gateway.wire.peek import BadBody

JSON_ONLY: Final = {"type": "text", "text": "Answer with one JSON object and nothing else: no prose, no code fence."}
"""Claude has no mode for JSON without a schema; constant, so that the prompt's prefix stays the same."""

_BUDGETS: Final = {"low": 2_048, "medium": 8_192, "high": 16_384, "xhigh": 24_576, "max": 32_000}
"""Thinking tokens by effort, for models that take a budget."""
_MIN_BUDGET: Final = 1_024
_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def effort_of(value: object, where: str) -> str:
    """The effort a client asks for; empty where it asks for none in particular."""
    if value is None:
        return ""
    if value not in _EFFORTS:
        raise BadBody(f"`{where}` must be one of {', '.join(_EFFORTS)}.")
    return str(value)


def answering(
    fields: JsonObject,
    model: Claude,
    *,
    max_tokens: int | None,
    effort: str,
    display: str,
    forced: bool,
    thoughtless: bool,
) -> JsonObject:
    """`max_tokens`, `temperature`, `top_p`, `thinking` and the effort, with nothing that this model would refuse.

    `display` is how thinking is shown where it is asked for. A forced tool rules thinking out; on a budget so does a
    tool result that comes without the thinking before its call (`thoughtless`).
    """
    result: JsonObject = {"max_tokens": max_tokens or model.default_max_tokens}
    asks = effort not in ("", "none", "minimal")
    if model.thinks_adaptively:
        if asks and not forced:
            result["thinking"] = {"type": "adaptive", "display": display}
        elif effort == "none" and model.off_switch:
            result["thinking"] = {"type": model.off_switch}
        if effort:
            result["output_config"] = {"effort": _effort(effort, model)}
    elif asks and not forced and not thoughtless and model.version >= (3, 7):
        if max_tokens is None:
            result["max_tokens"] += _BUDGETS[effort]
        if budget := budget_for(effort, result["max_tokens"]):
            result["thinking"] = {"type": "enabled", "budget_tokens": budget}
    temperature, top_p = number(fields, "temperature", 2), number(fields, "top_p", 1)
    if model.takes_sampling and result.get("thinking", {}).get("type") not in {"adaptive", "enabled"}:
        # Claude takes one of the two, and a temperature up to 1.
        if temperature is not None:
            result["temperature"] = min(temperature, 1)
        elif top_p is not None:
            result["top_p"] = top_p
    return result


def budget_for(effort: str, max_tokens: int) -> int:
    """Thinking tokens; 0 for none. Half is left for the answer: the bound counts thinking too."""
    budget = min(_BUDGETS.get(effort, 0), max_tokens // 2)
    return budget if budget >= _MIN_BUDGET else 0


def effort_for(budget: int) -> str:
    """The least effort that thinks so many tokens."""
    return next((effort for effort, tokens in _BUDGETS.items() if tokens >= budget), "max")


def stops(value: object) -> list[str]:
    """`stop` as stop sequences. Those of white space alone, which Claude refuses, are left out."""
    given = [value] if isinstance(value, str) else value
    if given is None:
        return []
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise BadBody("`stop` must be a string or an array of strings.")
    return [each for each in given if each.strip()]


def output_format(given: Any, where: str) -> JsonObject | None:
    """Claude's output format for a `response_format` or `text.format`; None where text is asked for.

    A schema stands one level deeper in chat completions. `json_object` gives an empty object: it is said in words.
    """
    if given is None:
        return None
    fields = object_of(given, where)
    match fields.get("type"):
        case "text":
            return None
        case "json_object":
            return {}
        case "json_schema":
            inner = fields.get("json_schema")
            schema = (inner if isinstance(inner, dict) else fields).get("schema")
            return {"type": "json_schema", "schema": closed(object_of(schema, f"{where}.schema"))}
    raise BadBody(f"`{where}.type` must be text, json_object or json_schema.")


def _effort(effort: str, model: Claude) -> str:
    if effort in ("none", "minimal"):
        return "low"
    return "high" if effort == "xhigh" and model.known and model.version < (4, 7) else effort
