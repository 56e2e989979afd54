"""Find the regular expressions that a condition names literally, so that a bad one is refused before any request."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_TOKEN: Final = re.compile(
    r"""(?P<blank>\s+|//[^\n]*)"""
    # A raw text may end in a backslash; in every other one, what a backslash precedes does not end it.
    r"""|(?P<raw>[rR](?:\"{3}.*?\"{3}|'{3}.*?'{3}|"[^"]*"|'[^']*'))"""
    r"""|(?P<text>\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}|"(?:\\.|[^\\"])*"|'(?:\\.|[^\\'])*')"""
    r"""|(?P<word>\w+)|(?P<sign>.)""",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text literal, as it is written, that is the whole pattern of a `matches`; line and column count from 1."""

    literal: str
    line: int
    column: int


def literal_patterns(text: str) -> Iterator[Pattern]:
    """Those of a condition that compiles; a pattern that is worked out from more than one literal is none."""
    tokens = [found for found in _TOKEN.finditer(text) if found.lastgroup != "blank"]
    for index, token in enumerate(tokens[:-1]):
        if token[0] != "matches" or tokens[index + 1][0] != "(":
            continue
        last = _last_argument(tokens[index + 2 :])
        if len(last) == 1 and last[0].lastgroup in ("text", "raw"):
            start = last[0].start()
            line_start = text.rfind("\n", 0, start) + 1
            yield Pattern(last[0][0], text.count("\n", 0, start) + 1, start - line_start + 1)


def _last_argument(tokens: list[re.Match[str]]) -> list[re.Match[str]]:
    """The tokens of the last argument of a call whose bracket has just been opened."""
    depth, argument = 0, list[re.Match[str]]()
    for token in tokens:
        sign = token[0] if token.lastgroup == "sign" else ""
        if sign and sign in ")]}":
            if depth == 0:
                break
            depth -= 1
        elif sign and sign in "([{":
            depth += 1
        elif sign == "," and depth == 0:
            argument = []
            continue
        argument.append(token)
    return argument
