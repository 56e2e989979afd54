"""Model ids of Vertex AI and Anthropic, against the shipped price catalog."""

from __future__ import annotations

import re

import pytest

from governance.catalog import shipped
from governance.domain.vertex_ids import anthropic_id, vertex_id

IDS = {
    platform: {row["model_id"] for row in shipped()["prices"] if row["platform"] == platform}
    for platform in ("anthropic", "vertex")
}
NOT_LISTED = (
    "claude-mythos-",
    "claude-fable-5-2",
    "claude-3-5-sonnet-20241022",
    "claude-3-5-sonnet-latest",
    "claude-3-7-",
)
"""Models that the catalog has no price for on Vertex AI."""


@pytest.mark.parametrize("model", sorted(each for each in IDS["anthropic"] if not each.startswith(NOT_LISTED)))
def test_every_model_of_the_catalog_has_its_name_there(model: str) -> None:
    assert vertex_id(model) in IDS["vertex"]


@pytest.mark.parametrize("model", sorted(each for each in IDS["vertex"] if re.search(r"@20\d{6}$", each)))
def test_dated_ids_there_and_back(model: str) -> None:
    assert vertex_id(anthropic_id(model)) == model
    assert "@" not in anthropic_id(model)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5@20251001"),
        ("claude-3-5-sonnet-20241022", "claude-3-5-sonnet-v2@20241022"),
        ("claude-opus-5-5", "claude-opus-5-5"),
        ("gemini-3-pro", "gemini-3-pro"),
    ],
)
def test_both_ways(ours: str, theirs: str) -> None:
    assert vertex_id(ours) == theirs
    assert anthropic_id(theirs) == ours


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("claude-opus-4-6-20260205", "claude-opus-4-6"),
        ("claude-opus-4-7-20260416", "claude-opus-4-7"),
        ("claude-haiku-4-5", "claude-haiku-4-5@20251001"),
        ("claude-opus-4-0", "claude-opus-4@20250514"),
        ("claude-3-7-sonnet-latest", "claude-3-7-sonnet@20250219"),
        ("claude-sonnet-5-5[1m]", "claude-sonnet-5-5"),
        ("claude-haiku-4-5@20251001", "claude-haiku-4-5@20251001"),
        ("my-own-20250101", "my-own-20250101"),
    ],
)
def test_to_vertex(ours: str, theirs: str) -> None:
    assert vertex_id(ours) == theirs


def test_the_default_version_is_none() -> None:
    assert anthropic_id("claude-opus-5-5@default") == "claude-opus-5-5"
    assert anthropic_id("claude-opus-5-5") == "claude-opus-5-5"
