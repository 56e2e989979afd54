"""Content blocks of a Messages body as text and as parts of a Chat Completions message."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from gateway.wire.openai.body import Block, Source
from gateway.wire.openai.dialect import CannotTranslate

Part = dict[str, Any]
"""`{"type": "text" | "image_url" | "file", …}`."""

BILLING_HEADER: Final = "x-anthropic-billing-header:"
"""Begins a text block that Claude Code writes for Anthropic alone, anew in each release: it would cost the prefix cache
of every other provider, which begins at the first byte."""

_ELSEWHERE: Final = (
    "{what} is kept at Anthropic and cannot be read from here. Send it in the request itself, or have requests with "
    "it routed to a provider of Claude."
)


def joined(content: str | Sequence[Block] | None) -> str:
    """The text of a system prompt or of an assistant, without what belongs to Anthropic."""
    if content is None or isinstance(content, str):
        return content or ""
    texts = (block.text for block in content if block.type == "text" and block.text)
    return "\n\n".join(text for text in texts if not text.startswith(BILLING_HEADER))


def collapsed(parts: Sequence[Part]) -> str | list[Part]:
    """Only text becomes one string, which every server takes, and which does not change when a client writes the same
    text as a string in one turn and as a block in the next, to put its cache mark there.
    """
    if all(part["type"] == "text" for part in parts):
        return "\n\n".join(part["text"] for part in parts)
    return list(parts)


def parts(content: str | Iterable[Block] | None) -> list[Part]:
    """What a user says. Raises CannotTranslate for what the provider could not fetch."""
    if not content:
        return []
    if isinstance(content, str):
        return [text_part(content)]
    return [part for block in content for part in _parts(block)]


def _parts(block: Block) -> list[Part]:
    match block.type:
        case "text":
            return [text_part(block.text)] if block.text else []
        case "image":
            return [_image(block.source)]
        case "document":
            return _document(block)
        case "search_result":
            source = block.source if isinstance(block.source, str) else ""
            return [text_part(_lines(block.title, source, flat(block.content)))]
        case "container_upload":
            raise CannotTranslate(_ELSEWHERE.format(what="An uploaded file"))
        case _:
            # The next release's kind of block: its text, where it has one, is all that another model could read.
            return [text_part(block.text)] if block.text else []


def text_part(text: str | None) -> Part:
    return {"type": "text", "text": text or ""}


def result(block: Block) -> tuple[str, list[Part]]:
    """A tool's result: its text, and the images and files in it, which a `tool` message cannot carry."""
    found = parts(block.content if not isinstance(block.content, Block) else [block.content])
    references = [each.tool_name for each in _listed(block.content) if each.type == "tool_reference" and each.tool_name]
    texts = [part["text"] for part in found if part["type"] == "text"]
    media = [part for part in found if part["type"] != "text"]
    if references:
        texts.append(f"Tools that can be called now: {', '.join(references)}")
    if media:
        texts.append(f"[{len(media)} attached to the next user message]")
    text = "\n".join(texts)
    if block.is_error and not text.lstrip().lower().startswith(("error", "<tool_use_error")):
        text = f"Error: {text}"
    return text, media


def flat(content: str | Sequence[Block] | Block | None) -> str:
    """All text inside content of any depth, such as the result of a search that ran at Anthropic."""
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, Block):
        error = f"error: {content.error_code}" if content.error_code else ""
        source = content.source
        inside = (source.data if source.type == "text" else flat(source.content)) if isinstance(source, Source) else ""
        return _lines(
            content.title,
            content.url,
            content.text,
            content.stdout,
            content.stderr,
            error,
            inside,
            flat(content.content),
        )
    return _lines(*(flat(block) for block in content))


def _listed(content: str | Sequence[Block] | Block | None) -> Sequence[Block]:
    return content if isinstance(content, Sequence) and not isinstance(content, str) else ()


def _lines(*texts: str | None) -> str:
    return "\n".join(text for text in texts if text)


def _image(source: Source | str | None) -> Part:
    return {"type": "image_url", "image_url": {"url": _address(source, "An image", "image/png")}}


def _document(block: Block) -> list[Part]:
    source = block.source
    head = _lines(block.title, block.context)
    if isinstance(source, Source) and source.type == "text":
        return [text_part(_lines(head, source.data))]
    if isinstance(source, Source) and source.type == "content":
        return [text_part(head)] * bool(head) + parts(source.content)
    if isinstance(source, Source) and source.type == "url":
        raise CannotTranslate(
            f"A document is given by its address, {source.url}, which no provider of this kind reads. Send its content."
        )
    file = {"filename": block.title or "document.pdf", "file_data": _address(source, "A document", "application/pdf")}
    return [text_part(block.context)] * bool(block.context) + [{"type": "file", "file": file}]


def _address(source: Source | str | None, what: str, usual: str) -> str:
    if isinstance(source, Source):
        if source.type == "base64" and source.data is not None:
            return f"data:{source.media_type or usual};base64,{source.data}"
        if source.type == "url" and source.url:
            return source.url
    raise CannotTranslate(_ELSEWHERE.format(what=what))
