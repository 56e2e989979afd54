"""What of a request names a conversation or a user, and the prompt in the order that the provider's cache goes by."""

from __future__ import annotations

import msgspec

from gateway.wire.openai_clients.conversation import mark_last
from gateway.wire.openai_clients.fields import JsonObject
from gateway.wire.text import clean


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
    """`metadata` with the user and the session, where the request names them.

    The session is `session_id` in the request's metadata by choice, else the key that a conversation's requests share
    for caching. It stands where Claude Code puts its own, in a JSON object in `user_id`.
    """
    user = clean(fields.get("safety_identifier"), 64) or clean(fields.get("user"), 64)
    metadata = fields.get("metadata")
    chosen = metadata.get("session_id") if isinstance(metadata, dict) else None
    session = clean(chosen, 64) or clean(fields.get("prompt_cache_key"), 64)
    if session:
        told = {"session_id": session, **({"user": user} if user else {})}
        return {"metadata": {"user_id": msgspec.json.encode(told).decode()}}
    return {"metadata": {"user_id": user}} if user else {}


def _has_marks(tools: list[JsonObject], system: list[JsonObject], messages: list[JsonObject]) -> bool:
    said = [block for message in messages for block in message["content"]]
    return any("cache_control" in block for block in [*tools, *system, *said])
