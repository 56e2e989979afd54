"""Conditions in CEL behind one small interface: compile a text against declared variables, ask whether it holds.

The library's objects stay in here. Compiled programs keep no state: threads may share them. Every evaluation has the
library's iteration budget, so that nested loops over lists end as an error and not as a request that never comes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from cel_expr_python import cel
from cel_expr_python.ext import ext_strings

from governance.domain.cel_patterns import literal_patterns

MAX_CHARACTERS: Final = 4_000
"""Of one condition: what a person can still read."""

Values = Mapping[str, "str | int | bool | list[str] | dict[str, str]"]


class Kind(StrEnum):
    """The type of a variable, as people are told it."""

    TEXT = "text"
    WHOLE = "whole number"
    YES_NO = "true or false"
    TEXTS = "list of texts"
    PAIRS = "text by name"


_TYPES: Final = {
    Kind.TEXT: cel.Type.STRING,
    Kind.WHOLE: cel.Type.INT,
    Kind.YES_NO: cel.Type.BOOL,
    Kind.TEXTS: cel.Type.List(cel.Type.STRING),
    Kind.PAIRS: cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
}
_PLACE: Final = re.compile(r"ERROR: [^:\n]*:(\d+):(\d+): ([^\n]*?)(?: \[[A-Z_]+\])?$", re.MULTILINE)
_STATUS: Final = re.compile(r"^[A-Z_]+: |(?: \[[A-Z_]+\])$")


class BadCondition(ValueError):
    """The text is no condition. `line` and `column` count from 1, the column in characters."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.message, self.line, self.column = message, line, column

    def __str__(self) -> str:
        return f"Line {self.line}, column {self.column}: {self.message}"


class ConditionFailed(Exception):
    """The condition could not be worked out for these values; the text says why."""


class Bindings:
    """The values of one request, converted once for all conditions that are asked about it."""

    __slots__ = ("_activation",)

    def __init__(self, activation: Any) -> None:
        self._activation = activation


class Condition:
    """A compiled condition; `names` are the variables that its text may read (at times one more than it does)."""

    __slots__ = ("_evaluate", "names", "text")

    def __init__(self, text: str, names: frozenset[str], program: Any) -> None:
        self.text = text
        self.names = names
        self._evaluate = program.eval

    def holds(self, bindings: Bindings) -> bool:
        """Whether it is true. Raises ConditionFailed."""
        try:
            value = self._evaluate(bindings._activation).value()
        except RuntimeError as error:
            raise ConditionFailed(_reason(str(error))) from None
        if value is True or value is False:
            return bool(value)
        if isinstance(value, str):
            raise ConditionFailed(_reason(value))  # how the library hands over an error of the expression
        raise ConditionFailed(f"it gives {type(value).__name__}, not true or false")

    def __repr__(self) -> str:
        return f"<Condition {self.text!r}>"


class Language:
    """The variables that conditions may use."""

    def __init__(self, variables: Mapping[str, Kind]) -> None:
        self.variables = dict(variables)
        self._env = cel.NewEnv(
            variables={name: _TYPES[kind] for name, kind in variables.items()}, extensions=[ext_strings.ExtStrings()]
        )
        self._word = re.compile(rf"\b(?:{'|'.join(map(re.escape, variables))})\b")
        self._known = lru_cache(maxsize=8_192)(self._compile)
        self._known_any = lru_cache(maxsize=2_048)(self._any_of)

    def compile(self, text: str) -> Condition:
        """A condition; the same text is compiled once. Raises BadCondition with the place of the mistake."""
        return self._known(text)

    def check(self, text: str) -> None:
        """Refuse what somebody enters where it cannot hold for any request. Raises BadCondition with the place.

        More than `compile` asks: a literal that is no regular expression compiles, and fails on every request then.
        A condition that is stored already still counts for the requests that do not reach its mistake.
        """
        self.compile(text)
        for pattern in literal_patterns(text):
            program = self._env.compile(f'"".matches({pattern.literal})')
            try:
                Condition(text, frozenset(), program).holds(self.bind({}))
            except ConditionFailed as error:
                told = f"{pattern.literal} is no pattern that matches can use: {error}."
                raise BadCondition(told, pattern.line, pattern.column) from None

    def any_of(self, conditions: Iterable[Condition]) -> Condition | None:
        """True where one of them is, false where none is and none fails; None where they do not fit into one.

        Crossing into the library costs ten times what a condition does in it: a group costs one crossing.
        """
        return self._known_any(tuple(condition.text for condition in conditions))

    def bind(self, values: Values) -> Bindings:
        """The values of the variables that the conditions read; of another type, they fail who reads them."""
        return Bindings(self._env.Activation(values))

    def _compile(self, text: str) -> Condition:
        if not text.strip():
            raise BadCondition("it is empty. Write true where it is always to hold.", 1, 1)
        if len(text) > MAX_CHARACTERS:
            raise BadCondition(f"it has more than {MAX_CHARACTERS:,} characters. Make several rules of it.", 1, 1)
        try:
            program = self._env.compile(text)
        except RuntimeError as error:
            raise self._bad(str(error)) from None
        kind = program.return_type()
        if kind not in (cel.Type.BOOL, cel.Type.DYN):
            told = _TYPE_NAMES.get(kind.name(), kind.name().lower())
            raise BadCondition(f"it gives {told}, not true or false. Compare it with something.", 1, 1)
        # A name inside a string counts too: a fact too many does no harm, one too few would.
        return Condition(text, frozenset(self._word.findall(text)), program)

    def _any_of(self, texts: tuple[str, ...]) -> Condition | None:
        # A new line before the bracket: a text may end with a comment.
        joined = " || ".join(f"({text}\n)" for text in texts)
        try:
            program = self._env.compile(joined)
        except RuntimeError:
            return None  # too long or too deep together, though each alone is not
        return Condition(joined, frozenset(self._word.findall(joined)), program)

    def _bad(self, error: str) -> BadCondition:
        found = _PLACE.search(error)
        if found is None:
            return BadCondition(f"{_reason(error)}.", 1, 1)
        return BadCondition(self._worded(found[3]), int(found[1]), int(found[2]))

    def _worded(self, told: str) -> str:
        """The compiler's message in the words of the form."""
        if unknown := re.match(r"undeclared reference to '([^']*)'", told):
            near = get_close_matches(unknown[1], self.variables, n=1, cutoff=0.7)
            hint = f"Did you mean {near[0]}?" if near else f"Variables: {', '.join(self.variables)}."
            return f"there is no variable or function {unknown[1]}. {hint}"
        if wrong := re.match(r"found no matching overload for '([^']*)' applied to '\((.*)\)'", told):
            operator = wrong[1].strip("_@").replace("_", " ") or wrong[1]
            kinds = [_TYPE_NAMES.get(kind.upper(), kind) for kind in re.split(r", (?![^(]*\))", wrong[2])]
            return f"{operator} does not go with {' and '.join(kinds)}."
        if syntax := re.match(r"Syntax error: (?:mismatched|extraneous) input '([^']*)'", told):
            return "it ends too early." if syntax[1] == "<EOF>" else f"{syntax[1]} cannot stand here."
        if stray := re.match(r"Syntax error: token recognition error at: '(.*)'$", told):
            return _UNREAD.get(stray[1].strip()[:1], f"{stray[1].strip()} cannot stand here.")
        return f"{told.removeprefix('Syntax error: ')}."


_UNREAD: Final = {
    "=": "Write == to compare, or .matches() for a pattern.",
    "&": "Write && for and.",
    "|": "Write || for or.",
    "“": 'Write a text in straight quotes, "like this".',
    "‘": 'Write a text in straight quotes, "like this".',
}
"""What to write instead, by the first character of what cannot be read at all."""

_TYPE_NAMES: Final = {
    "STRING": "a text",
    "INT": "a whole number",
    "UINT": "a whole number",
    "DOUBLE": "a number with a fraction",
    "BOOL": "true or false",
    "NULL": "null",
    "BYTES": "bytes",
    "TIMESTAMP": "a moment",
    "DURATION": "a duration",
    "LIST(STRING)": "a list of texts",
    "MAP(STRING, STRING)": "texts by name",
    "LIST<STRING>": "a list of texts",
    "MAP<STRING, STRING>": "texts by name",
}


def _reason(told: str) -> str:
    """An error of the library without its status words."""
    first = _STATUS.sub("", told.splitlines()[0]) if told else ""
    plain = _STATUS.sub("", first) or "it failed"
    return re.sub(r"^Key not found in map : (.*)$", r"\1 is not there", plain)
