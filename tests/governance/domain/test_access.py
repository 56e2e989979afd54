"""Which models a pattern means."""

from __future__ import annotations

import pytest

from governance.domain.access import matches, most_specific_first


@pytest.mark.parametrize(
    ("pattern", "model", "expected"),
    [
        ("claude-opus-5-5", "claude-opus-5-5", True),
        ("claude-opus-5", "claude-opus-5-5", False),
        ("claude-opus-*", "claude-opus-5-5", True),
        ("claude-opus-5-5", "claude-opus-5-5[1m]", True),
        # Asked for by its alias, answered by its dated id: a budget on either counts both.
        ("claude-opus-4-1", "claude-opus-4-1-20250805", True),
        ("claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022", True),
        ("claude-3-5-sonnet-latest", "claude-3-5-sonnet-latest", True),
        ("claude-opus-4-1-20250805", "claude-opus-4-1-20250805", True),
        ("claude-opus-4-1-20250805", "claude-opus-4-1-20251212", False),
        ("claude-opus-4", "claude-opus-4-1-20250805", False),
    ],
)
def test_patterns(pattern: str, model: str, expected: bool) -> None:
    assert matches((pattern,), model) is expected


def test_no_pattern_means_every_model() -> None:
    assert matches((), "anything")


def test_the_most_specific_pattern_counts_first_in_whatever_order_they_are_kept() -> None:
    """PostgreSQL's jsonb gives the keys of an object back in an order of its own."""
    pairs = {"*": "a", "claude-*": "b", "claude-opus-5-5": "c", "claude-opus-*": "d"}
    expected = ["claude-opus-5-5", "claude-opus-*", "claude-*", "*"]
    for kept in (pairs, dict(reversed(pairs.items()))):
        assert [pattern for pattern, _ in most_specific_first(kept)] == expected
