"""A Messages body as a request for Chat Completions.

Nothing in it depends on the time or on chance, its fields stand in one order and the messages come last: a request is
the one before it and what was said since. Left behind is what is Anthropic's own (`metadata`, whose `user_id` tells
device and account of a person, `context_management`, `safeguards`, `speed`, cache marks, betas).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gateway.wire.openai.body import ABSENT, Body, read
from gateway.wire.openai.conversation import Conversation, messages
from gateway.wire.openai.dialect import CannotTranslate, Dialect
from gateway.wire.openai.tools import Offered, offered
from governance.domain.provider_kinds import EFFORTS

MOST_STOPS: Final = 4
"""OpenAI takes no more stop sequences; the first ones are sent."""
_BUDGETS: Final = ((4_096, "low"), (16_384, "medium"))
"""Tokens of a thinking budget up to which an effort is meant; above them it is high."""

_encode = msgspec.json.Encoder().encode


def translate(body: bytes, *, model: str, stream: bool, dialect: Dialect) -> bytes:
    """The request's bytes. Raises CannotTranslate with a sentence for the client."""
    asked = read(body)
    tools = offered_tools(asked, dialect)
    fields: dict[str, Any] = {"model": model}
    if stream:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    if asked.max_tokens is not None:
        fields[dialect.max_tokens_field] = min(asked.max_tokens, dialect.max_output_tokens or asked.max_tokens)
    fields |= sampling(asked)
    if meant := (dialect.effort_with_tools if tools.fields else "") or effort(asked, dialect):
        fields["reasoning_effort"] = meant
    if schema := json_schema(asked):
        fields["response_format"] = {"type": "json_schema", "json_schema": schema}
    fields |= tools.fields
    fields = {name: value for name, value in fields.items() if name not in dialect.left_out}
    fields["messages"] = messages(asked, Conversation(dialect), dialect, tools.preamble)
    return _encode(fields)


def offered_tools(asked: Body, dialect: Dialect) -> Offered:
    """What the model may call. Raises CannotTranslate."""
    tools = offered(asked.tools or (), asked.tool_choice, dialect)
    if asked.mcp_servers and not tools.fields:
        raise CannotTranslate(
            "The tools of the MCP servers that the request names run at Anthropic. Connect the client to them instead."
        )
    return tools


def sampling(asked: Body) -> dict[str, Any]:
    """What shapes the choice of words; a temperature of 1 is everybody's own."""
    said: dict[str, Any] = {}
    if asked.temperature is not None and asked.temperature != 1:
        said["temperature"] = asked.temperature
    if asked.top_p is not None:
        said["top_p"] = asked.top_p
    if asked.stop_sequences:
        said["stop"] = asked.stop_sequences[:MOST_STOPS]
    return said


def effort(asked: Body, dialect: Dialect) -> str:
    """The effort that is meant, or the nearest below it that the model takes; empty leaves it to the model."""
    wanted = _wanted(asked)
    if not wanted or not dialect.efforts:
        return ""
    rank = EFFORTS.index(wanted)
    below = [each for each in dialect.efforts if EFFORTS.index(each) <= rank]
    if below:
        return below[-1]
    # Thinking that is switched off where the model always thinks: the least that it knows.
    return dialect.efforts[0]


def _wanted(asked: Body) -> str:
    thinking, config = asked.thinking, asked.output_config
    if thinking is not None and thinking.type == "disabled":
        return "none"
    if config is not None and config.effort in EFFORTS:
        return config.effort
    if thinking is not None and thinking.type == "enabled" and thinking.budget_tokens is not None:
        return next((name for most, name in _BUDGETS if thinking.budget_tokens <= most), "high")
    return ""


def json_schema(asked: Body) -> dict[str, Any]:
    """The form that the answer must have: `name`, `schema` and perhaps `strict`; empty where any will do."""
    wanted = asked.output_format or (asked.output_config.format if asked.output_config else None)
    if wanted is None or wanted.type != "json_schema" or wanted.schema is ABSENT:
        return {}
    schema: dict[str, Any] = {"name": "answer", "schema": wanted.schema}
    try:
        if _is_strict(msgspec.json.decode(wanted.schema)):
            schema["strict"] = True
    except RecursionError:
        raise CannotTranslate("The schema of the answer is nested too deeply to be translated.") from None
    return schema


def _is_strict(schema: object) -> bool:
    """Whether OpenAI would hold the model to it: no object in it may have an optional or a further property."""
    if isinstance(schema, list):
        return all(_is_strict(each) for each in schema)
    if not isinstance(schema, dict):
        return True
    properties, required = schema.get("properties"), schema.get("required") or []
    if isinstance(properties, dict):
        if schema.get("additionalProperties") is not False or not isinstance(required, list):
            return False
        if not all(isinstance(name, str) for name in required) or set(required) != set(properties):
            return False
    return all(_is_strict(each) for each in schema.values())
