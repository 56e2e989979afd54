"""Ids of tool calls and names of tools, between two formats that allow different ones.

Anthropic takes letters, digits, `_` and `-` in an id; servers of open models write others (`functions.Read:0`), and
some of them must get back what they wrote. So an odd id is spelled in a way that can be undone. A name that is too long
for OpenAI is shortened the same way in every request, and found again among the tools of the request.
"""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

MOST_NAME_CHARACTERS: Final = 64
"""OpenAI's limit for the name of a function; Anthropic's is 128."""

_SPELLED: Final = "toolu_x_"
_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]+")
_ODD: Final = re.compile(r"[^A-Za-z0-9_-]")


def id_for_client(given: str) -> str:
    """A provider's id as Anthropic's format allows it."""
    if _PLAIN.fullmatch(given) and not given.startswith(_SPELLED):
        return given
    return _SPELLED + urlsafe_b64encode(given.encode("utf-8", "surrogatepass")).decode().rstrip("=")


def id_for_provider(given: str, most: int | None = None) -> str:
    """The same back; one that is longer than `most` characters becomes a shorter one, always the same."""
    if given.startswith(_SPELLED):
        coded = given.removeprefix(_SPELLED)
        with suppress(ValueError):  # somebody else's id may only look like ours
            given = urlsafe_b64decode(coded + "=" * (-len(coded) % 4)).decode("utf-8", "surrogatepass")
    if most is not None and len(given) > most:
        given = "call_" + _digest(given)[: min(32, most - 5)]
    return given


def name_for_provider(name: str) -> str:
    """The name of a tool as OpenAI allows it; itself nearly always."""
    if len(name) <= MOST_NAME_CHARACTERS and _PLAIN.fullmatch(name):
        return name
    return f"{_ODD.sub('_', name)[: MOST_NAME_CHARACTERS - 9]}_{_digest(name)[:8]}"


def name_for_client(name: str, offered: Iterable[str]) -> str:
    """What the client calls the tool that the provider named; `offered` are the client's own names."""
    return next((own for own in offered if own != name and name_for_provider(own) == name), name)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
