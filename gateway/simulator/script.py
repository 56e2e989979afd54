"""Rules that answer instead of the prompt's directives: from a file or from the control endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec

from gateway.simulator.answer import BadScript, answer

MESSAGES_PATH = "/v1/messages"
COUNT_PATH = "/v1/messages/count_tokens"
MODELS_PATH = "/v1/models"


class Match(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a rule applies to; everything given must hold."""

    path: str = MESSAGES_PATH
    model: str | None = None
    """Glob over the requested model id."""
    prompt_contains: str | None = None
    stream: bool | None = None
    credential: str | None = None
    headers: dict[str, str] = {}
    """Lower-case name to glob over its value."""
    nth: int | None = None
    """Only the n-th request (from 1) for which the rest holds."""


class Rule(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The first rule that matches answers; a list of answers are the steps of one conversation."""

    match: Match = Match()
    answer: dict[str, Any] | list[dict[str, Any]] = {}
    times: int | None = None
    """How often the rule may answer; then the next one is asked."""

    def steps(self) -> list[dict[str, Any]]:
        return self.answer if isinstance(self.answer, list) else [self.answer]


class Script(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One whole script."""

    rules: list[Rule] = []
    defaults: dict[str, Any] = {}
    """Fields under every answer, scripted or not."""
    accept_credentials: list[str] = []
    """Secrets that are let in; with none given, everybody is."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What rules look at in one request."""

    path: str
    headers: Mapping[str, str]
    credentials: tuple[str, ...]
    model: str = ""
    prompt: str = ""
    stream: bool = False


class Playbook:
    """The script in force and how often each of its rules matched and answered."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self._matched: list[int] = []
        self._answered: list[int] = []

    def extend(self, rules: list[Rule]) -> None:
        self.script.rules.extend(rules)

    def accepts(self, credentials: tuple[str, ...]) -> bool:
        allowed = self.script.accept_credentials
        return not allowed or any(credential in allowed for credential in credentials)

    def steps_for(self, seen: Seen) -> list[dict[str, Any]] | None:
        """The answers of the first rule that applies, or None. Counts the rule as used."""
        missing = len(self.script.rules) - len(self._matched)
        self._matched.extend([0] * missing)
        self._answered.extend([0] * missing)
        for index, rule in enumerate(self.script.rules):
            if not _holds(rule.match, seen):
                continue
            self._matched[index] += 1
            if rule.match.nth is not None and rule.match.nth != self._matched[index]:
                continue
            if rule.times is not None and self._answered[index] >= rule.times:
                continue
            self._answered[index] += 1
            return rule.steps()
        return None


def parse(values: object) -> Script:
    """The script in these plain values. Raises BadScript."""
    try:
        script = msgspec.convert(values, Script, strict=False)
    except msgspec.ValidationError as error:
        raise BadScript(f"wrong script: {error}; docs/simulator.md shows the form") from None
    answer(script.defaults)
    for rule in script.rules:
        for step in rule.steps():
            answer(script.defaults | step)
    return script


def load(path: Path) -> Script:
    """The script in a YAML or JSON file. Raises BadScript."""
    import yaml  # here: serving without a file needs no YAML

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadScript(f"the script cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise BadScript(f"{path} is neither YAML nor JSON: {error}") from None
    return parse(values if values is not None else {})


def _holds(match: Match, seen: Seen) -> bool:
    return (
        match.path == seen.path
        and (match.model is None or fnmatchcase(seen.model, match.model))
        and (match.prompt_contains is None or match.prompt_contains in seen.prompt)
        and (match.stream is None or match.stream == seen.stream)
        and (match.credential is None or match.credential in seen.credentials)
        and all(fnmatchcase(seen.headers.get(name, ""), glob) for name, glob in match.headers.items())
    )
