"""What a provider's options may be, before a request meets them."""

from __future__ import annotations

import pytest

from governance.domain.provider_kinds import CHOICE_OPTIONS, KINDS, LIST_OPTIONS, NUMBER_OPTIONS, option_problem


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api", "responses"),
        ("max_tokens_field", "max_tokens"),
        ("reasoning_field", ""),
        ("max_output_tokens", 8192),
        ("unsupported_fields", ["temperature"]),
        ("efforts", []),
        ("efforts", ["low", "high"]),
        ("efforts", {"gpt-oss*": ["low"], "*": []}),
        ("api_version", "2024-10-21"),
    ],
)
def test_what_fits(name: str, value: object) -> None:
    assert option_problem(name, value) == ""


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("api", "completions", "chat, responses"),
        ("api", ["chat"], "chat, responses"),
        ("max_output_tokens", "8192", "whole number"),
        ("max_output_tokens", True, "whole number"),
        ("max_output_tokens", 0, "whole number"),
        ("unsupported_fields", "temperature", "list of texts"),
        ("unsupported_fields", [1], "list of texts"),
        ("efforts", "high", "by pattern of models"),
        ("efforts", ["much"], "by pattern of models"),
        ("efforts", {"*": "high"}, "by pattern of models"),
        ("api_version", 2024, "one text"),
    ],
)
def test_what_does_not_fit_is_named(name: str, value: object, says: str) -> None:
    problem = option_problem(name, value)
    assert problem.startswith(f"{name} is ")
    assert says in problem


def test_every_shape_belongs_to_an_option_of_some_kind() -> None:
    known = {name for kind in KINDS.values() for name in kind.options or ()}
    assert LIST_OPTIONS | NUMBER_OPTIONS | set(CHOICE_OPTIONS) | {"efforts"} <= known
