"""A Messages body as far as the translation reads it. What is not named here is Anthropic's own and stays behind."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gateway.wire.openai.dialect import CannotTranslate

ABSENT: Final = msgspec.Raw(b"")


class Source(msgspec.Struct, gc=False):
    """Where an image or a document is."""

    type: str = ""
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    content: str | list[Block] | None = None


class Block(msgspec.Struct, gc=False):
    """A content block of any kind, with the fields of all kinds that are read."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    source: Source | str | None = None
    id: str = ""
    name: str | None = None
    input: msgspec.Raw = ABSENT
    tool_use_id: str = ""
    content: str | list[Block] | Block | None = None
    is_error: bool | None = None
    title: str | None = None
    context: str | None = None
    url: str | None = None
    tool_name: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    error_code: str | None = None


class Message(msgspec.Struct, gc=False):
    role: str
    content: str | list[Block] | None = None


class Tool(msgspec.Struct):
    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: msgspec.Raw = ABSENT


class ToolChoice(msgspec.Struct):
    type: str = "auto"
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(msgspec.Struct):
    type: str = ""
    budget_tokens: int | None = None
    display: str | None = None


class OutputFormat(msgspec.Struct):
    type: str = ""
    schema: msgspec.Raw = ABSENT


class OutputConfig(msgspec.Struct):
    effort: str | None = None
    format: OutputFormat | None = None


class Body(msgspec.Struct):
    messages: list[Message] = []
    system: str | list[Block] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    max_tokens: int | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    mcp_servers: Any = None


class _Offered(msgspec.Struct):
    name: str = ""


class _Tools(msgspec.Struct):
    tools: list[_Offered] | None = None


_decode = msgspec.json.Decoder(Body).decode
_decode_tools = msgspec.json.Decoder(_Tools).decode


def read(body: bytes) -> Body:
    """Raises CannotTranslate where a field that matters is not what the Messages API says."""
    try:
        return _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CannotTranslate(f"The body is not a request of the Messages API: {error}.") from None
    except RecursionError:
        raise CannotTranslate("The body is nested too deeply to be translated.") from None


def tool_names(body: bytes) -> list[str]:
    """The names of the tools that a request offers; none where it cannot be read."""
    try:
        return [tool.name for tool in _decode_tools(body).tools or ()]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []
