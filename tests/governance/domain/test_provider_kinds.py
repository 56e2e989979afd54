"""What a provider's options may be, before a request meets them."""

from __future__ import annotations

import pytest

from governance.domain.provider_kinds import (
    CHOICE_OPTIONS,
    KINDS,
    LIST_OPTIONS,
    NUMBER_OPTIONS,
    credential_problems,
    option_problem,
    provider_problems,
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api", "responses"),
        ("max_tokens_field", "max_tokens"),
        ("reasoning_field", ""),
        ("max_output_tokens", 8192),
        ("unsupported_fields", ["temperature"]),
        ("inference_prefix", "eu"),
        ("inference_prefix", ""),
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
        ("inference_prefix", "europe", "us, eu, apac"),
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


@pytest.mark.parametrize("kind", ["anthropic", "compatible", "foundry"])
def test_a_version_at_the_end_of_the_address_is_refused(kind: str) -> None:
    wrong = provider_problems(kind=kind, base_url="https://a.test/x/v1/", region="", project="", options={})
    assert wrong["base_url"].startswith("Leave /v1 out: https://a.test/x.")
    assert provider_problems(kind=kind, base_url="https://a.test/x", region="", project="", options={}) == {}


def test_the_version_belongs_to_the_address_of_openai() -> None:
    assert provider_problems(kind="openai", base_url="https://a.test/v1", region="", project="", options={}) == {}


def test_what_needs_no_credential_takes_none() -> None:
    wrong = credential_problems(kind="simulated", method="api_key", identifier="", named="")
    assert wrong["method"].endswith("needs none: leave the credential out.")
