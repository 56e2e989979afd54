"""What each Claude model takes of the settings that OpenAI's clients send, as far as its name tells.

A newer model refuses what an older one took: sampling parameters from 4.7 on (Haiku from 5), a thinking budget from 4.7
on, `disabled` thinking where it is always on. OpenAI's clients send such settings by habit, so they are left out where
the model would refuse them. Source: Anthropic's pages "Troubleshooting thinking", "Mid-conversation system messages"
and the models' "What's new".
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_NAME: Final = re.compile(r"claude-(?:([a-z]+)-(\d+)(?:-(\d{1,2}))?|(\d+)(?:-(\d{1,2}))?-([a-z]+))(?!\d)")
_PREFIX: Final = re.compile(r"^(?:[\w.-]+/)+(?=(?:[\w-]+\.)*claude)")
_NEWEST: Final = (99, 0)


class Claude(NamedTuple):
    """A Claude model by its name. An unknown one counts as the newest; another maker's model is not `known`."""

    known: bool
    family: str
    version: tuple[int, int]

    @property
    def takes_sampling(self) -> bool:
        """Whether `temperature` and `top_p` are taken, thinking being off."""
        return not self.known or self.version <= ((4, 5) if self.family == "haiku" else (4, 6))

    @property
    def thinks_adaptively(self) -> bool:
        """Whether thinking is asked for by effort; older models take a budget of tokens."""
        return not self.known or self.version >= (4, 6)

    @property
    def off_switch(self) -> str:
        """The `thinking.type` that turns thinking off; empty where it is off anyway or cannot be turned off."""
        if not self.known or self.version < (4, 6) or self.family not in {"opus", "sonnet"}:
            return ""
        if self.version < (5, 5):
            return "disabled"
        return "between_tools" if self.family == "sonnet" else ""

    @property
    def takes_strict_tools(self) -> bool:
        """Whether a tool's input can be held to its schema."""
        return not self.known or self.version >= (4, 5)

    @property
    def takes_system_turns(self) -> bool:
        """Whether a system message may stand inside the conversation."""
        return not self.known or self.version >= (4, 8)

    @property
    def default_max_tokens(self) -> int:
        """The bound of an answer for a client that gives none: OpenAI has no such field that must be there."""
        return 4_096 if self.known and self.version < (4, 0) else 16_384


def claude(model: str) -> Claude:
    """What the name of a model tells."""
    if "claude" not in model:
        return Claude(False, "", _NEWEST)
    found = _NAME.search(model)
    if found is None:
        return Claude(True, "", _NEWEST)
    family, major, minor, old_major, old_minor, old_family = found.groups()
    return Claude(True, family or old_family, (int(major or old_major), int(minor or old_minor or 0)))


def without_prefix(model: str) -> str:
    """`anthropic/claude-opus-5-5` → `claude-opus-5-5`. Only before a Claude model: a slash may be part of other ids."""
    return _PREFIX.sub("", model)
