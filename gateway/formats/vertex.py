"""Clients that speak Vertex AI: its answers, streams and errors are Anthropic's own, only its requests differ."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.formats.anthropic import AnthropicFormat
from gateway.wire.forms import Form, with_fields
from governance.domain.vertex_ids import anthropic_id


class VertexFormat(AnthropicFormat):
    form = Form.VERTEX


class _Counted(msgspec.Struct):
    model: Any = None


class VertexCount(VertexFormat):
    """A count of tokens: the one request of Vertex AI's that names its model in the body."""

    def messages(self, body: bytes) -> bytes:
        """The model as Anthropic spells it; what cannot be read is left for whoever reads it next to refuse."""
        try:
            model = msgspec.json.decode(body, type=_Counted).model
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return body
        if not isinstance(model, str) or (name := anthropic_id(model)) == model:
            return body
        return with_fields(body, model=name)


VERTEX = VertexFormat()
VERTEX_COUNT = VertexCount()
