"""Ids of tool calls: they carry what Gemini wants to see again, through a client that knows nothing of it.

Gemini signs its function calls (`thoughtSignature`); from generation 3 on it refuses a history whose calls in the
current turn lack their signature. Claude Code sends back nothing but the blocks of an answer, and may leave thinking
out; the id of a tool call always comes back word for word, in the call and in its result. So the signature travels in
the id, in the letters that Anthropic allows there: `toolu_g_<Gemini's own id>_s_<signature, base64url>`
(`_x_` and hexadecimal for one that is no canonical base64).

A call that another model made has no signature: Gemini's documented word for such histories takes its place. Source:
Google's guide, "Thought signatures".
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

FOREIGN: Final = "skip_thought_signature_validator"
"""In the place of a signature, for a call that has none: another model made it, or an older Gemini."""

_OURS: Final = re.compile(r"toolu_g_(?P<id>[A-Za-z0-9-]+)(?:_(?P<how>[sx])_(?P<signature>[A-Za-z0-9_-]+))?")
_LETTERS: Final = re.compile(r"[A-Za-z0-9_-]+")
_HEX: Final = re.compile(r"(?:[0-9a-f]{2})+")
_PLAIN: Final = re.compile(r"[A-Za-z0-9-]{1,64}")


class Made(NamedTuple):
    """A call as Gemini knows it."""

    id: str
    signature: str
    """As Gemini wrote it, base64; empty where it wrote none, as for all but the first of parallel calls."""


def id_for_client(given: str, fallback: str, signature: str) -> str:
    """The id of a `tool_use` block. `fallback`, of letters, digits and `-`, is taken where Gemini gave no plain id."""
    made = f"toolu_g_{given if _PLAIN.fullmatch(given) else fallback}"
    if not signature:
        return made
    packed = signature.rstrip("=").replace("+", "-").replace("/", "_")
    if _LETTERS.fullmatch(packed) and _unpacked(packed) == signature:
        return f"{made}_s_{packed}"
    return f"{made}_x_{signature.encode().hex()}"


def for_gemini(tool_use_id: str) -> Made:
    """The same back; an id of another model's call is Gemini's id as it is."""
    found = _OURS.fullmatch(tool_use_id)
    if found is None:
        return Made(tool_use_id, "")
    packed = found["signature"] or ""
    if found["how"] == "x" and _HEX.fullmatch(packed):
        signature = bytes.fromhex(packed).decode("utf-8", "replace")
    else:
        signature = _unpacked(packed)
    return Made(found["id"], signature)


def _unpacked(packed: str) -> str:
    """base64 out of base64url, with its padding."""
    return packed.replace("-", "+").replace("_", "/") + "=" * (-len(packed) % 4)
