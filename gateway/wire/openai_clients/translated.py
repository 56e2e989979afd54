"""What comes of a client's request: the Claude Messages body, and what the answer has to be put back with."""

from __future__ import annotations

import msgspec

from gateway.wire.openai_clients.fields import JsonObject


class Echo(msgspec.Struct, frozen=True):
    """What the answer must know of the request."""

    include_usage: bool = False
    """Chat: whether the stream ends with a chunk of counts."""
    functions: bool = False
    """Chat: whether the client declared `functions`, the older form, and reads a `function_call`."""
    settings: JsonObject = {}
    """Responses: the request's own settings, which a response repeats."""


class Translated(msgspec.Struct, frozen=True):
    """One request in Claude's form."""

    body: bytes
    echo: Echo
