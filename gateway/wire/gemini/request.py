"""A Messages body as a request for Gemini's generateContent, streamGenerateContent and countTokens.

Nothing in it depends on the time or on chance, its fields stand in one order and the conversation comes last: a request
is the one before it and what was said since. Left behind is what is Anthropic's own (`metadata`, whose `user_id` tells
device and account of a person, `context_management`, `safeguards`, `speed`, cache marks, betas).
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from gateway.wire.gemini.contents import contents, system
from gateway.wire.openai.body import ABSENT, Body, read
from gateway.wire.openai.dialect import CannotTranslate, Dialect
from gateway.wire.openai.tools import offered

MOST_OUTPUT: Final = 65_536
"""Tokens that the models up to generation 3 give at most; Claude Code asks for up to 128,000."""
MOST_STOPS: Final = 5
"""Gemini takes no more stop sequences; the first ones are sent."""
_LEVELS: Final = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
"""Levels that all models from generation 3 on take; `medium` is said by saying nothing, since some know none."""
_LOW_BUDGET: Final = 8192
"""Tokens of a thinking budget up to which the low level is meant."""
_LEAST_OF_PRO: Final = 128
"""Gemini 2.5 Pro cannot do without thinking; this is the least that it takes."""
_GENERATION: Final = re.compile(r"gemini-(\d+)")
_FIRST_WITH_LEVELS: Final = 3
_DIALECT: Final = Dialect()

_encode = msgspec.json.Encoder().encode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class _TopK(msgspec.Struct):
    top_k: int | None = None


_top_k = msgspec.json.Decoder(_TopK).decode


def signs(model: str) -> bool:
    """Whether a model wants signatures and levels of thinking: from generation 3 on; of other names the newest."""
    found = _GENERATION.search(model)
    return found is None or int(found[1]) >= _FIRST_WITH_LEVELS


def translate(body: bytes, *, model: str, most_output: int = MOST_OUTPUT) -> bytes:
    """The request's bytes. Raises CannotTranslate with a sentence for the client."""
    return _encode(_request(body, model, most_output))


def to_count(body: bytes, *, model: str) -> bytes:
    """The request of countTokens, which wants the whole of it named by its model."""
    return _encode({"generateContentRequest": {"model": f"models/{model}", **_request(body, model, MOST_OUTPUT)}})


def _request(body: bytes, model: str, most_output: int) -> dict[str, Any]:
    asked = read(body)
    if asked.mcp_servers:
        raise CannotTranslate(
            "The tools of the MCP servers that the request names run at Anthropic. Connect the client to them instead."
        )
    made: dict[str, Any] = {}
    if said := system(asked):
        made["systemInstruction"] = {"parts": said}
    made |= _tools(asked)
    if config := _config(asked, body, model, most_output):
        made["generationConfig"] = config
    made["contents"] = contents(asked, signs=signs(model))
    return made


def _tools(asked: Body) -> dict[str, Any]:
    """What runs at Anthropic is left out where the client brings tools of its own, and refused where it does not."""
    fields = offered(asked.tools or (), asked.tool_choice, _DIALECT).fields
    if not fields:
        return {}
    functions = [tool["function"] for tool in fields["tools"]]
    declared = [
        {
            "name": function["name"],
            "description": function.get("description") or function["name"],
            "parametersJsonSchema": _schema(function["parameters"]),
        }
        for function in functions
    ]
    made: dict[str, Any] = {"tools": [{"functionDeclarations": declared}]}
    if calling := _calling(fields.get("tool_choice")):
        made["toolConfig"] = {"functionCallingConfig": calling}
    return made


def _calling(choice: Any) -> dict[str, Any]:
    match choice:
        case "required":
            return {"mode": "ANY"}
        case "none":
            return {"mode": "NONE"}
        case {"function": {"name": name}}:
            return {"mode": "ANY", "allowedFunctionNames": [name]}
    return {}


def _schema(schema: Any) -> Any:
    """The client's own bytes, but for the name of the schema's own schema, which Gemini does not know."""
    if not isinstance(schema, msgspec.Raw) or b'"$schema"' not in bytes(schema):
        return schema
    fields = _fields(schema)
    fields.pop("$schema", None)
    return fields


def _config(asked: Body, body: bytes, model: str, most_output: int) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if asked.max_tokens is not None:
        config["maxOutputTokens"] = min(asked.max_tokens, most_output)
    if asked.temperature is not None:
        config["temperature"] = asked.temperature
    if asked.top_p is not None:
        config["topP"] = asked.top_p
    if (top_k := _top_k(body).top_k) is not None:
        config["topK"] = top_k
    if asked.stop_sequences:
        config["stopSequences"] = asked.stop_sequences[:MOST_STOPS]
    wanted = asked.output_format or (asked.output_config.format if asked.output_config else None)
    if wanted is not None and wanted.type == "json_schema" and wanted.schema is not ABSENT:
        config |= {"responseMimeType": "application/json", "responseJsonSchema": _schema(wanted.schema)}
    if thinking := _thinking(asked, model):
        config["thinkingConfig"] = thinking
    return config


def _thinking(asked: Body, model: str) -> dict[str, Any]:
    """How much to think, and whether to tell of it. Who asks for no thinking gets as little as the model can."""
    thinking = asked.thinking
    thinks = thinking is not None and thinking.type in ("adaptive", "enabled")
    shown = {"includeThoughts": True} if thinks and thinking is not None and thinking.display != "omitted" else {}
    budget = thinking.budget_tokens if thinking is not None and thinking.type == "enabled" else None
    if not signs(model):
        if not thinks:
            return {"thinkingBudget": _LEAST_OF_PRO if "pro" in model else 0} if _GENERATION.search(model) else {}
        return {"thinkingBudget": -1 if budget is None else budget, **shown}
    level = "low"
    if thinks:
        effort = asked.output_config.effort if asked.output_config else None
        if budget is not None:
            level = "low" if budget <= _LOW_BUDGET else "high"
        else:
            level = _LEVELS.get(effort or "", "medium")
    return {**({} if level == "medium" else {"thinkingLevel": level}), **shown}
