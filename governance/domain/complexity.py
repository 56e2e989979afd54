"""The complexity score: how demanding a request looks from 0 to 100, out of a few of its features, and why.

It looks at the shape of a request, never at what somebody wrote: that keeps it cheap, the same through a session (a
score that jumped with every sentence would move the session between models and lose its prompt cache), and nothing of
a prompt comes into the log by way of it. Each feature is a share from 0 to 1 of "as demanding as it gets", times its
weight; the weights are the installation's, the shares are here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Features:
    """What the score looks at."""

    prompt_tokens: int = 0
    turns: int = 0
    tool_count: int = 0
    images: int = 0
    thinking: str = ""
    """`adaptive`, `enabled`, `disabled`, or empty."""
    thinking_budget: int = 0
    effort: str = ""
    request_class: str = ""


@dataclass(frozen=True, slots=True)
class Feature:
    """One part of the score: its usual weight and why it has it."""

    name: str
    weight: float
    reason: str


FEATURES: Final = (
    Feature(
        "prompt", 30, "Long contexts are where small models lose the thread: from 2k to 200k tokens, by doublings."
    ),
    Feature("thinking", 25, "Who asks for much thinking says that the work needs it: by effort, else by budget."),
    Feature("turns", 15, "A long exchange is a task of many steps that lean on each other: up to 40 turns."),
    Feature("class", 15, "The main conversation carries the plan; subagents get a part, auxiliary calls a title."),
    Feature("tools", 10, "More tools are a harder choice at every step: up to 30."),
    Feature("images", 5, "Images ask for a model that sees well: up to 4."),
)
DEFAULT_WEIGHTS: Final[Mapping[str, float]] = {feature.name: feature.weight for feature in FEATURES}

_FEW_TOKENS, _MANY_TOKENS = 2_000, 200_000
_EFFORTS: Final = {"minimal": 0.1, "low": 0.25, "medium": 0.5, "high": 0.75, "xhigh": 1.0, "max": 1.0}
_CLASSES: Final = {"auxiliary": 0.0, "compaction": 0.3, "subagent": 0.5}
_FULL_THINKING_TOKENS = 32_000


@dataclass(frozen=True, slots=True)
class Part:
    """What one feature gives: `told` is the feature as people read it, `18 tools`."""

    feature: str
    told: str
    points: int


@dataclass(frozen=True, slots=True)
class Score:
    """`value` is the sum of the parts."""

    value: int
    parts: tuple[Part, ...]

    def __str__(self) -> str:
        told = ", ".join(f"{part.told} +{part.points}" for part in self.parts if part.points)
        return f"complexity {self.value}{': ' if told else ''}{told}"


def score(features: Features, weights: Mapping[str, float] = DEFAULT_WEIGHTS) -> Score:
    """The score under these weights, whatever their sum; a feature without one counts nothing."""
    shares = _shares(features)
    total = sum(max(0.0, weights.get(name, 0.0)) for name in shares)
    parts, exact, given = [], 0.0, 0
    for name, (share, told) in shares.items():
        if total > 0:
            exact += 100 * max(0.0, weights.get(name, 0.0)) * share / total
        # Rounded along the way, so that the parts always add up to the score.
        points = math.floor(exact + 0.5) - given
        given += points
        parts.append(Part(name, told, points))
    return Score(given, tuple(parts))


def _shares(features: Features) -> dict[str, tuple[float, str]]:
    doublings = math.log(max(features.prompt_tokens, 1) / _FEW_TOKENS) / math.log(_MANY_TOKENS / _FEW_TOKENS)
    return {
        "prompt": (_bounded(doublings), f"prompt {_thousands(features.prompt_tokens)} tokens"),
        "thinking": _thinking(features),
        "turns": (_bounded(features.turns / 40), _counted(features.turns, "turn")),
        "class": (_CLASSES.get(features.request_class, 1.0), features.request_class or "main"),
        "tools": (_bounded(features.tool_count / 30), _counted(features.tool_count, "tool")),
        "images": (_bounded(features.images / 4), _counted(features.images, "image")),
    }


def _thinking(features: Features) -> tuple[float, str]:
    if features.thinking == "disabled":
        return 0.0, "no thinking"
    if features.effort in _EFFORTS:
        return _EFFORTS[features.effort], f"{features.effort} effort"
    if features.thinking_budget:
        told = f"thinking up to {_thousands(features.thinking_budget)} tokens"
        return _bounded(features.thinking_budget / _FULL_THINKING_TOKENS), told
    return (0.5, f"{features.thinking} thinking") if features.thinking else (0.0, "no thinking")


def _bounded(share: float) -> float:
    return min(1.0, max(0.0, share))


def _thousands(tokens: int) -> str:
    return f"{tokens / 1000:.0f}k" if tokens >= 10_000 else f"{tokens / 1000:.1f}k" if tokens >= 1_000 else str(tokens)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
