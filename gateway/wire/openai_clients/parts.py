"""Content parts of both OpenAI formats as Claude content blocks: text, images, files."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

from gateway.wire.openai_clients.fields import JsonObject, kind_of, list_of, object_of, text_of
from gateway.wire.peek import BadBody

_IMAGES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})


def blocks(content: object, where: str) -> list[JsonObject]:
    """The blocks of a message's `content`: a string, a list of parts or null. Empty texts are left out.

    Raises `BadBody` for what no Claude model takes, and says what to send instead.
    """
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    if not isinstance(content, list):
        raise BadBody(f"`{where}` must be a string or an array of parts, not {kind_of(content)}.")
    found = [_block(part, f"{where}[{index}]") for index, part in enumerate(list_of(content, where))]
    return [block for block in found if block is not None]


def cache_mark(part: JsonObject) -> JsonObject:
    """The `cache_control` of a part: Anthropic's own, as OpenRouter and LiteLLM take it, or OpenAI's breakpoint."""
    own = part.get("cache_control")
    if isinstance(own, dict):
        return {"cache_control": own}
    breakpoint_ = part.get("prompt_cache_breakpoint")
    if isinstance(breakpoint_, dict):
        # OpenAI keeps a prefix for at least 30 minutes, which of Claude's lifetimes only the long one does.
        return {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    return {}


def _block(part: object, where: str) -> JsonObject | None:
    fields = object_of(part, where)
    kind = text_of(fields.get("type"), f"{where}.type")
    match kind:
        case "text" | "input_text" | "output_text" | "summary_text":
            text = text_of(fields.get("text"), f"{where}.text")
            return {"type": "text", "text": text, **cache_mark(fields)} if text else None
        case "refusal":
            refusal = text_of(fields.get("refusal"), f"{where}.refusal")
            return {"type": "text", "text": refusal} if refusal else None
        case "image_url" | "input_image":
            return {"type": "image", "source": _image(fields, where), **cache_mark(fields)}
        case "file" | "input_file":
            return {"type": "document", **_document(fields, where), **cache_mark(fields)}
        case "input_audio":
            raise BadBody(f"`{where}` is audio, which Claude models do not take. Send a transcript as text.")
    raise BadBody(
        f"`{where}.type` is {kind!r}. Send text, image_url or file parts (input_text, input_image, input_file)."
    )


def _image(fields: JsonObject, where: str) -> JsonObject:
    given = fields.get("image_url")
    url = text_of(given.get("url") if isinstance(given, dict) else given, f"{where}.image_url")
    if url.startswith("https://"):
        return {"type": "url", "url": url}
    media_type, data = _data_url(url, f"{where}.image_url")
    if media_type not in _IMAGES:
        raise BadBody(f"`{where}.image_url` is {media_type or 'of no type'}. Send JPEG, PNG, GIF or WebP.")
    return {"type": "base64", "media_type": media_type, "data": data}


def _document(fields: JsonObject, where: str) -> JsonObject:
    file = object_of(fields.get("file"), f"{where}.file") if fields.get("type") == "file" else fields
    title: JsonObject = {"title": name[:500]} if isinstance(name := file.get("filename"), str) and name else {}
    if isinstance(url := file.get("file_url"), str):
        if not url.startswith("https://"):
            raise BadBody(f"`{where}.file_url` must begin with https://.")
        return {"source": {"type": "url", "url": url}, **title}
    data = file.get("file_data")
    if not isinstance(data, str):
        raise BadBody(f"`{where}` names a stored file. This gateway stores none: send its bytes as `file_data`.")
    media_type, encoded = (
        _data_url(data, f"{where}.file_data") if data.startswith("data:") else ("application/pdf", data)
    )
    if media_type == "application/pdf":
        return {"source": {"type": "base64", "media_type": media_type, "data": encoded}, **title}
    if media_type.startswith("text/"):
        try:
            text = base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise BadBody(f"`{where}.file_data` is not UTF-8 text in base64.") from None
        return {"source": {"type": "text", "media_type": "text/plain", "data": text}, **title}
    raise BadBody(f"`{where}.file_data` is {media_type or 'of no type'}. Send a PDF or a text file.")


def _data_url(url: str, where: str) -> tuple[str, str]:
    """(media type, base64 data) of a `data:` address."""
    head, comma, data = url.partition(",")
    if not head.startswith("data:") or not comma or not head.endswith(";base64"):
        raise BadBody(f"`{where}` must be an https:// address or data:TYPE;base64,DATA.")
    return head[5:-7].partition(";")[0].lower(), data


def text_only(content: Any, where: str) -> list[JsonObject]:
    """The blocks of an instruction: only text may be in it."""
    found = blocks(content, where)
    if any(block["type"] != "text" for block in found):
        raise BadBody(f"`{where}` may hold only text: it is an instruction.")
    return found
