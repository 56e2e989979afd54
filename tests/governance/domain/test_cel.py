"""Conditions: what compiles, where a mistake is, and how one fails."""

from __future__ import annotations

import pytest

from governance.domain.cel import MAX_CHARACTERS, BadCondition, ConditionFailed, Kind, Language

LANGUAGE = Language({
    "model": Kind.TEXT, "tools": Kind.WHOLE, "stream": Kind.YES_NO, "names": Kind.TEXTS, "headers": Kind.PAIRS,
})  # fmt: skip
VALUES = {"model": "claude-opus-5-5", "tools": 3, "stream": True, "names": ["Edit"], "headers": {"x-a": "b"}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('model.startsWith("claude-opus-")', True),
        ("tools > 3 || stream", True),
        ("tools > 3 && stream // both", False),
        ('"Edit" in names && headers["x-a"] == "b"', True),
        ('"x-z" in headers && headers["x-z"] == "b"', False),
        ('model.upperAscii() == "CLAUDE-OPUS-5-5"', True),
        ("dyn(true)", True),
    ],
)
def test_a_condition_holds_or_not(text: str, expected: bool) -> None:
    assert LANGUAGE.compile(text).holds(LANGUAGE.bind(VALUES)) is expected


@pytest.mark.parametrize(
    ("text", "line", "column", "told"),
    [
        ("model ==", 1, 9, "ends too early"),
        ("tools > 1 &&\n  team == 'a'", 2, 3, "no variable or function team. Did you mean stream?"),
        ("'é' == model && foo", 1, 17, "no variable or function foo. Variables: model, tools"),
        ("tools == 'a'", 1, 7, "== does not go with a whole number and a text"),
        ("headers == 1", 1, 9, "does not go with texts by name and a whole number"),
        ("tools 3", 1, 7, "3 cannot stand here"),
        ("stream &&\n  model = 'x'", 2, 9, "Write == to compare"),
        ("stream & stream", 1, 8, "Write && for and"),
        ("model == “x”", 1, 10, "straight quotes"),
        ("tools == 3 # c", 1, 12, "# cannot stand here"),
        ("tools", 1, 1, "gives a whole number, not true or false"),
        ("  ", 1, 1, "is empty"),
        ("true" + " || true" * MAX_CHARACTERS, 1, 1, "4,000 characters"),
        ("(" * 200 + "true" + ")" * 200, 1, 1, "recursion limit"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, line: int, column: int, told: str) -> None:
    with pytest.raises(BadCondition) as caught:
        LANGUAGE.compile(text)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert told in caught.value.message
    assert str(caught.value).startswith(f"Line {line}, column {column}: ")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('headers["x-z"] == "b"', '"x-z" is not there'),
        ("1 / (tools - 3) == 1", "divide by zero"),
        ('model.matches("(")', "invalid regular expression"),
        ("dyn(tools)", "not true or false"),
        (
            "[1,2,3,4,5,6,7,8,9,0].all(a, [1,2,3,4,5,6,7,8,9,0].all(b, [1,2,3,4,5,6,7,8,9,0].all(c, "
            "[1,2,3,4,5,6,7,8,9,0].all(d, [1,2,3,4,5,6,7,8,9,0].all(e, a + b + c + d + e >= 0)))))",
            "Iteration budget exceeded",
        ),
    ],
)
def test_a_failure_at_run_time_says_why(text: str, why: str) -> None:
    with pytest.raises(ConditionFailed) as caught:
        LANGUAGE.compile(text).holds(LANGUAGE.bind(VALUES))
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ('model.matches("(a")', 1, 15),
        ("stream ||\n  model.matches( // why\n  r'[')", 3, 3),
        ('false && matches("é" + model, "(?P<")', 1, 31),
    ],
)
def test_a_pattern_that_matches_cannot_use_is_refused_with_its_place(text: str, line: int, column: int) -> None:
    with pytest.raises(BadCondition, match="no pattern that matches can use: invalid regular expression") as caught:
        LANGUAGE.check(text)
    assert (caught.value.line, caught.value.column) == (line, column)


@pytest.mark.parametrize(
    "text",
    [
        r"""model.matches("^claude-(opus|sonnet)-\\d+") && model.matches(r'\d')""",
        """model == 'x.matches("(")' // .matches("(")""",
        """model.matches("(" + 'a)')""",
        "model.matches(model)",
    ],
)
def test_what_is_no_bad_literal_passes(text: str) -> None:
    LANGUAGE.check(text)


def test_a_value_of_the_wrong_type_or_missing_is_a_failure() -> None:
    condition = LANGUAGE.compile('model == "a"')
    for values in ({}, {"model": 5}, {"model": None}, {"model": "\ud800"}):
        with pytest.raises(ConditionFailed):
            condition.holds(LANGUAGE.bind(values))  # type: ignore[arg-type]


def test_names_are_what_a_condition_may_read() -> None:
    assert LANGUAGE.compile('tools > 3 && model != "x"').names == {"tools", "model"}
    assert LANGUAGE.compile("true").names == frozenset()


def test_any_of_is_false_only_where_none_holds_and_none_fails() -> None:
    false, true = LANGUAGE.compile("tools > 5 // c"), LANGUAGE.compile("stream")
    failing = LANGUAGE.compile('headers["x-z"] == "b"')
    bindings = LANGUAGE.bind(VALUES)

    def ask(*conditions: object) -> bool:
        group = LANGUAGE.any_of(conditions)  # type: ignore[arg-type]
        assert group is not None
        return group.holds(bindings)

    assert ask(false, false) is False
    assert ask(false, failing, true) is True
    with pytest.raises(ConditionFailed):
        ask(false, failing)


def test_conditions_that_do_not_fit_into_one_are_left_apart() -> None:
    deep = LANGUAGE.compile("(" * 11 + "stream" + ")" * 11)
    long = LANGUAGE.compile("stream" + " || stream" * 390)
    assert LANGUAGE.any_of([long] * 40) is None
    assert LANGUAGE.any_of([deep, deep]) is None or LANGUAGE.any_of([deep, deep]).holds(LANGUAGE.bind(VALUES))  # type: ignore[union-attr]
