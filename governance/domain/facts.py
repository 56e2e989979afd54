"""The facts about one request that routing rules may read: declared here, filled by the gateway."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from governance.domain.cel import Kind, Language, Values
from governance.domain.complexity import Score

WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True, slots=True)
class Variable:
    """One fact that conditions may read."""

    name: str
    kind: Kind
    meaning: str
    logged: bool = True
    """Whether every row of the request log tells it; of the rest, it tells what rules read and it keeps (`noted`)."""


VARIABLES: Final = (
    Variable("model", Kind.TEXT, "The model asked for, after aliases, as claude-opus-5-5."),
    Variable("request_class", Kind.TEXT, "main, subagent, compaction, auxiliary; main where the client does not say."),
    Variable("prompt_tokens", Kind.WHOLE, "Tokens that the prompt probably has, with what comes from the cache."),
    Variable("complexity", Kind.WHOLE, "The complexity score, 0 to 100.", False),
    Variable("turns", Kind.WHOLE, "Messages of the user in the conversation.", False),
    Variable("tool_count", Kind.WHOLE, "Tools that the request offers.", False),
    Variable("tool_names", Kind.TEXTS, "Their names, at most 200.", False),
    Variable("images", Kind.WHOLE, "Images in the conversation.", False),
    Variable("thinking", Kind.TEXT, "adaptive, enabled, disabled, or empty.", False),
    Variable("thinking_budget", Kind.WHOLE, "Most thinking tokens asked for; 0 where none are named.", False),
    Variable("effort", Kind.TEXT, "low, medium, high, xhigh, max, or empty.", False),
    Variable("max_tokens", Kind.WHOLE, "Most output tokens asked for; 0 where none are named.", False),
    Variable("stream", Kind.YES_NO, "Whether the answer is to be streamed."),
    Variable("budget_used_percent", Kind.WHOLE, "The fullest budget that applies, 0 without one; above 100 overspent.",
             False),
    Variable("hour", Kind.WHOLE, "0 to 23, in the customer's time zone."),
    Variable("weekday", Kind.TEXT, "monday to sunday, in the customer's time zone."),
    Variable("client", Kind.TEXT, "Name of the client, as claude-cli."),
    Variable("client_version", Kind.TEXT, "Its version, as 2.1.330."),
    Variable("customer", Kind.TEXT, "Name of the key's customer."),
    Variable("team", Kind.TEXT, "Name of the key's team."),
    Variable("project", Kind.TEXT, "Name of the project, or empty."),
    Variable("developer", Kind.TEXT, "E-mail address of the developer, or empty."),
    Variable("key", Kind.TEXT, "Name of the virtual key."),
    Variable("session", Kind.TEXT, "Id of the session, or empty."),
    Variable("tags", Kind.PAIRS, 'From x-comptroller-tags: "task" in tags && tags["task"] == "docs".'),
    Variable("headers", Kind.PAIRS, 'By lower-case name: "x-a" in headers && headers["x-a"] == "b". No credentials.',
             False),
)  # fmt: skip
NOTED: Final = frozenset({
    "prompt_tokens", "complexity", "turns", "tool_count", "images", "thinking", "thinking_budget", "effort",
    "max_tokens", "budget_used_percent",
})  # fmt: skip
"""What the row keeps where a rule reads it: short, and nothing that somebody wrote."""
LANGUAGE: Final = Language({variable.name: variable.kind for variable in VARIABLES})


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One request in the terms of `VARIABLES`. What no rule reads may be left at its default.

    Lists and dictionaries of just these types: the library takes no other sequence or mapping.
    """

    model: str = ""
    request_class: str = "main"
    prompt_tokens: int = 0
    complexity: int = 0
    turns: int = 0
    tool_count: int = 0
    tool_names: list[str] = field(default_factory=list)
    images: int = 0
    thinking: str = ""
    thinking_budget: int = 0
    effort: str = ""
    max_tokens: int = 0
    stream: bool = False
    budget_used_percent: int = 0
    hour: int = 0
    weekday: str = "monday"
    client: str = ""
    client_version: str = ""
    customer: str = ""
    team: str = ""
    project: str = ""
    developer: str = ""
    key: str = ""
    session: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    score: Score | None = None
    """What `complexity` is made of, for the explanation."""


def noted(facts: Facts, names: Iterable[str]) -> dict[str, Any]:
    """Those of the named facts that the row keeps."""
    return {name: getattr(facts, name) for name in sorted(NOTED.intersection(names))}


def values_of(facts: Facts, names: Iterable[str]) -> Values:
    return {name: getattr(facts, name) for name in names}
