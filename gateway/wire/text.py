"""Foreign text made safe to keep: bounded, without control characters."""

from __future__ import annotations

import re
from typing import Final

_KEYLIKE: Final = re.compile(
    r"(?i)\S*\*{2,}\S*|\bbearer\s+(?=\S*\d)\S{8,}|\b(?:sk|rk|pk|gsk|xai)-[\w.-]{4,}|\baiza[\w-]{8,}|\bya29\.\S+"
    r"|\b(?:akia|asia)[a-z0-9]{8,}|\beyj[\w-]{8,}\S*|[a-z0-9+/_=]{32,}"
)
"""Keys and tokens by their usual beginnings, masked ones, and any run that is too long for a word."""
_LEAST_SECRET: Final = 4
"""Characters of a secret's part that is looked for: shorter ones are in every sentence."""


def clean(value: object, limit: int) -> str:
    """At most `limit` characters of a string, one line, nothing unprintable; empty for anything but a string.

    What is not printable (control characters, NUL that PostgreSQL refuses, lone surrogates that no encoding takes,
    bidirectional overrides that make a log lie) becomes a space.
    """
    if not isinstance(value, str) or not value:
        return ""
    if len(value) > limit:
        value = value[:limit]
    if not value.isprintable():
        value = "".join(character if character.isprintable() else " " for character in value)
    return value.strip()


def without_secrets(value: str, secret: str, limit: int) -> str:
    """The first line of what a provider says, at most `limit` characters, without the secret or anything like a key.

    What follows the first line is for whoever signs requests: it may quote headers.
    """
    line = value.lstrip().partition("\n")[0]
    for part in secret.split():
        if len(part) >= _LEAST_SECRET:
            line = line.replace(part, "…")
    return clean(_KEYLIKE.sub("…", line[: 3 * limit]), limit)


def count_lines(text: str) -> int:
    """Lines of a text as an editor counts them: a last line without a line end counts too."""
    return text.count("\n") + (not text.endswith("\n")) if text else 0
