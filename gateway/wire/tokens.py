"""How many tokens a prompt can have at most, about how many it has, and how many a cut off answer probably had.

The bound (MONEY.md §4; docs/worst-case.md tells how it was measured). A token is *not* always a byte or more: Claude's
newer tokenizers write case and word borders as tokens of their own, so `^ZQ` is five. But each character of the text
costs at most what its class says here, wherever it stands, so the sum over the bytes bounds the text; JSON only ever
writes it with more. An image costs by its size, whatever its bytes. What the provider writes around the parts of a
request is allowed for part by part. What the body merely points to is bounded by the model's context window alone.

Measured (2-core VM, CPython 3.11, Claude Code's shape): 10 µs at 2 KB, 0.31 ms at 82 KB, 3.1 ms at 914 KB.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from gateway.wire.peek import Peek

MAX_IMAGE_TOKENS: Final = 4_784
"""Anthropic's vision guide: one token for each 28 × 28 pixels, after scaling down to at most this many."""
USUAL_IMAGE_TOKENS: Final = 1_600
"""What the same guide gives for a screen-sized image."""
LOOP_PASSES: Final = 10
"""Anthropic's guide to stop reasons: a request with server tools samples at most this often before it pauses."""

_ASCII: Final = bytes(range(128))
_TWO: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ!'()`$@[\\_+/{,;?]^~"
"""Characters that can be two tokens: capitals (a mark for the case), symbols that no piece joins to a word border."""
_ONE: Final = bytes(set(_ASCII) - set(_TWO))

_REQUEST: Final = 128
"""The frame of a request: at most 15 tokens were seen, for one message."""
_MESSAGE: Final = 16
_BLOCK: Final = 16
"""Margin: the most verbose tags known around a block are 47 tokens, the JSON of such a block is 50 bytes and more."""
_ARGUMENT: Final = 32
"""The tags around one argument of a tool call: at most 21 tokens in the most verbose form known."""
_TOOL: Final = 64
_TOOLS_PREAMBLE: Final = 1_024
"""What the provider puts in front of the tools: at most 530 tokens by its documentation."""
_PROVIDER_TOOL: Final = 4_096
"""The definition that the provider writes itself for a tool that is named by its type: at most 735 documented."""
_PROVIDER_TOOLSET: Final = 16_384
"""The same for a type that stands for a whole set of tools."""
_FORMAT_PREAMBLE: Final = 1_024
"""The system prompt that explains a prescribed output format."""

_TOKENS_PER_BYTE: Final = (2, 5)
_BYTES_PER_ANSWER_TOKEN: Final = 3
_MAX_DEPTH: Final = 16


class Bound(NamedTuple):
    """What is known of a prompt before the provider has counted it."""

    tokens: int
    """The most tokens that what the body itself holds can be."""
    open_ended: bool
    """The body points to text it does not hold (files, URLs, server tools): only the context window bounds it."""
    one_hour: bool
    """A cache write with a lifetime of one hour, the dearest class of prompt token, is asked for."""
    passes: int = 1
    """How often the provider may read, and charge, a prompt of that size: more than once where it runs tools itself
    or compacts the conversation."""
    estimate: int = 0
    """About how many tokens it is: no bound; see `docs/worst-case.md` for its error."""
    countable: bool = True
    """Whether the provider's own count of the same body bounds it too: not where it reads the prompt several times, or
    reads an address whose text may be another one the next time."""


class _Cache(msgspec.Struct):
    ttl: Any = None


class _Source(msgspec.Struct):
    type: Any = ""
    data: msgspec.Raw = msgspec.Raw(b"")
    content: Any = None


class _Block(msgspec.Struct):
    type: Any = ""
    cache_control: _Cache | None = None
    source: _Source | str | None = None
    content: msgspec.Raw = msgspec.Raw(b"")
    input: msgspec.Raw = msgspec.Raw(b"")
    citations: msgspec.Raw = msgspec.Raw(b"")


class _Message(msgspec.Struct):
    content: str | list[_Block] = ""


class _Tool(msgspec.Struct):
    cache_control: _Cache | None = None
    description: msgspec.Raw = msgspec.Raw(b"")
    input_schema: msgspec.Raw = msgspec.Raw(b"")


class _Body(msgspec.Struct):
    system: str | list[_Block] | None = None
    messages: list[_Message] | None = None
    tools: list[_Tool] | None = None
    cache_control: _Cache | None = None
    output_config: msgspec.Raw = msgspec.Raw(b"")
    output_format: msgspec.Raw = msgspec.Raw(b"")
    context_management: msgspec.Raw = msgspec.Raw(b"")
    thread: msgspec.Raw = msgspec.Raw(b"")


class _Tools(msgspec.Struct):
    tools: list[msgspec.Raw] = []


_decode = msgspec.json.Decoder(_Body).decode
_blocks = msgspec.json.Decoder(list[_Block]).decode
_arguments = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Count:
    """Walks the content blocks of a body."""

    __slots__ = ("countable", "extra", "guess", "one_hour", "open_ended", "references")

    def __init__(self) -> None:
        self.extra = 0
        """Tokens to add to the text bound of the body; negative once an image is taken out of it."""
        self.guess = 0
        """The same for the estimate."""
        self.references = 0
        self.countable = True
        self.open_ended = False
        self.one_hour = False

    def cached(self, control: _Cache | None) -> None:
        if control is not None and control.ttl == "1h":
            self.one_hour = True

    def unknown(self) -> None:
        """Neither the body nor a count tells how long this will be."""
        self.open_ended, self.countable = True, False

    def blocks(self, blocks: str | list[_Block] | None, depth: int = 0) -> None:
        if not isinstance(blocks, list):
            return
        self.extra += _BLOCK * len(blocks)
        for block in blocks:
            if block.cache_control is not None:
                self.cached(block.cache_control)
            if block.type == "text":
                # Most blocks are text: nothing below concerns them, unless they only say that they are.
                if block.source is not None:
                    self.unknown()
                continue
            if isinstance(block.source, _Source):
                self.source(block.type, block.source, depth)
            elif block.type in ("image", "document", "container_upload"):
                self.unknown()
            if block.type == "tool_reference":
                self.references += 1
            if b"true" in bytes(memoryview(block.citations)):
                # The provider cuts a cited document into numbered sentences, in a form it does not document.
                self.open_ended = True
            self.arguments(block.input)
            self.nested(block.content, depth)

    def source(self, kind: object, source: _Source, depth: int) -> None:
        if kind == "image":
            # Wherever it comes from: its size rule bounds it.
            held = bytes(memoryview(source.data)) if source.type == "base64" else b""
            most, about = _text(held)
            self.extra += MAX_IMAGE_TOKENS - most
            self.guess += USUAL_IMAGE_TOKENS - about
        elif source.type == "content":
            self.nested(msgspec.Raw(msgspec.json.encode(source.content)), depth)
        elif source.type in ("base64", "file"):
            self.open_ended = True
        elif source.type != "text":
            self.unknown()

    def arguments(self, raw: msgspec.Raw) -> None:
        """The input of a tool call: one pair of tags for each argument."""
        if bytes(memoryview(raw)[:1]) != b"{":
            return
        try:
            self.extra += _ARGUMENT * len(_arguments(raw))
        except _UNREADABLE:
            self.unknown()

    def nested(self, raw: msgspec.Raw, depth: int) -> None:
        """The content of a tool result or a document: text, or blocks again."""
        if bytes(memoryview(raw)[:1]) != b"[":
            return
        if depth == _MAX_DEPTH:
            self.unknown()
            return
        try:
            self.blocks(_blocks(raw), depth + 1)
        except _UNREADABLE:
            self.unknown()


def upper_bound(body: bytes, peek: Peek) -> Bound:
    """The most tokens the prompt can have. Costs two more passes over the body: ask only where a limit needs it."""
    passes = LOOP_PASSES if peek.remote or peek.server_tools else 1
    most, about = _text(body)
    around = _REQUEST + _definitions(peek)
    try:
        found = _decode(body)
    except _UNREADABLE:
        return Bound(most + around, True, True, 2 * LOOP_PASSES, about, countable=False)
    count = _Count()
    count.cached(found.cache_control)
    count.blocks(found.system)
    messages, tools = found.messages or (), found.tools or ()
    for message in messages:
        count.blocks(message.content)
    schemas = 0
    for tool in tools:
        count.cached(tool.cache_control)
        schemas += _rewritten(tool.description, tool.input_schema)
    if count.references:
        # Each reference to a deferred tool may be replaced by that tool's whole definition.
        count.extra += count.references * _largest_tool(body)
    if len(memoryview(found.output_format)) or b'"format"' in bytes(memoryview(found.output_config)):
        count.extra += _FORMAT_PREAMBLE
    if b'"compact' in bytes(memoryview(found.context_management)):
        # It may do so before each of them, and reads the whole conversation for it.
        passes *= 2
    # The provider holds the earlier turns, and the body only what is new.
    continued = b'"continue"' in bytes(memoryview(found.thread))
    return Bound(
        tokens=most + count.extra + schemas + around + _MESSAGE * len(messages),
        open_ended=count.open_ended or continued or peek.remote or bool(peek.server_tools),
        one_hour=count.one_hour,
        passes=passes,
        estimate=max(0, about + count.guess),
        countable=count.countable and not continued and passes == 1,
    )


def estimate_prompt(body_bytes: int) -> int:
    """Tokens of a prompt the provider never counted, from the bytes of the request; for Claude Code rather too many.

    Where the body itself is at hand, `upper_bound(...).estimate` is nearer.
    """
    tokens, per = _TOKENS_PER_BYTE
    return -(-max(0, body_bytes) * tokens // per)


def estimate_output(content_bytes: int) -> int:
    """Tokens of an answer whose final count never came, from the bytes of its content; rather too many than too few."""
    return -(-max(0, content_bytes) // _BYTES_PER_ANSWER_TOKEN)


def _text(data: bytes) -> tuple[int, int]:
    """The most tokens a text can be, whatever Claude model reads it, and about how many it is for the newer ones.

    At most one a byte, two a byte of `_TWO`, three a byte outside ASCII: the dearest characters are six tokens in two
    bytes, and twelve in four. The estimate was fitted on the corpus of docs/worst-case.md.
    """
    dear = data.translate(None, _ONE)
    beyond = 0 if dear.isascii() else len(dear.translate(None, _ASCII))
    two, one = len(dear) - beyond, len(data) - len(dear)
    return one + 2 * two + 3 * beyond, (34 * one + 80 * two + 40 * beyond + 99) // 100


def _rewritten(description: msgspec.Raw, schema: msgspec.Raw) -> int:
    """What a tool's definition may gain where the provider writes its JSON anew: a space after each `:` (one after a
    `,` is within what a `,` may cost), and `\\u` escapes, which are at most seven tokens for two bytes."""
    escapes = 0
    for data in (bytes(memoryview(description)), bytes(memoryview(schema))):
        if not data.isascii():
            escapes += len(data.translate(None, _ASCII))
    return bytes(memoryview(schema)).count(b":") + escapes


def _largest_tool(body: bytes) -> int:
    raws = msgspec.json.decode(body, type=_Tools).tools or []
    return max((2 * _text(bytes(memoryview(raw)))[0] for raw in raws), default=0)


def _definitions(peek: Peek) -> int:
    if not peek.tool_count:
        return 0
    written = sum(_PROVIDER_TOOLSET if "toolset" in kind else _PROVIDER_TOOL for kind in peek.tool_types)
    return _TOOLS_PREAMBLE + _TOOL * peek.tool_count + written
