"""What of a request names a conversation or a user, and the prompt in the order that the provider's cache goes by."""

from __future__ import annotations

from gateway.wire.openai_clients.conversation import mark_last
from gateway.wire.openai_clients.fields import JsonObject
from gateway.wire.text import clean

MAX_USER_CHARACTERS = 256
"""Anthropic's bound of `metadata.user_id`."""


def cached(
    fields: JsonObject, *, tools: list[JsonObject], system: list[JsonObject], messages: list[JsonObject]
) -> JsonObject:
    """`tools`, `system` and `messages`, in this order.

    A client that names a `prompt_cache_key` counts on its prompt being cached, which OpenAI does by itself and Claude
    only at a mark: the instructions and the end of the conversation get one, unless the client set marks of its own.
    """
    if fields.get("prompt_cache_key") and not _has_marks(tools, system, messages):
        mark: JsonObject = {"cache_control": {"type": "ephemeral"}}
        mark_last(system or tools, mark)
        mark_last(messages[-1]["content"], mark)
    return {**({"tools": tools} if tools else {}), **({"system": system} if system else {}), "messages": messages}


def user_of(fields: JsonObject) -> JsonObject:
    """`metadata` with the user, where the request names one."""
    for name in ("safety_identifier", "user"):
        if isinstance(value := fields.get(name), str) and value:
            return {"metadata": {"user_id": value[:MAX_USER_CHARACTERS]}}
    return {}


def session_of(fields: JsonObject) -> str:
    """The conversation: `session_id` in the metadata by choice, else the key that its requests share for caching."""
    metadata = fields.get("metadata")
    chosen = metadata.get("session_id") if isinstance(metadata, dict) else None
    return clean(chosen, 64) or clean(fields.get("prompt_cache_key"), 64)


def _has_marks(tools: list[JsonObject], system: list[JsonObject], messages: list[JsonObject]) -> bool:
    said = [block for message in messages for block in message["content"]]
    return any("cache_control" in block for block in [*tools, *system, *said])
