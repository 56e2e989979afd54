"""Foreign text made safe to keep: bounded, without control characters."""

from __future__ import annotations


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


def count_lines(text: str) -> int:
    """Lines of a text as an editor counts them: a last line without a line end counts too."""
    return text.count("\n") + (not text.endswith("\n")) if text else 0
