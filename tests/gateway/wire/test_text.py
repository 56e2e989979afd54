"""Foreign text made safe to keep, and lines counted."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.edits import changed_lines
from gateway.wire.text import clean, count_lines, without_secrets


@given(st.text() | st.integers() | st.none() | st.lists(st.text()), st.integers(1, 50))
def test_clean_text_is_short_printable_and_encodable(value: object, limit: int) -> None:
    text = clean(value, limit)
    assert len(text) <= limit
    assert text.isprintable()
    text.encode()


def test_clean_keeps_what_people_write() -> None:
    assert clean("Grüße, 世界 🌍", 50) == "Grüße, 世界 🌍"
    assert clean("a\nb\x00c\u202ed\ud800", 50) == "a b c d"
    assert clean(7, 50) == ""


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("invalid x-api-key", "invalid x-api-key"),
        ("Invalid bearer token", "Invalid bearer token"),
        ("The model claude-haiku-4-5-20251001 is gone.", "The model claude-haiku-4-5-20251001 is gone."),
        ("Incorrect API key provided: sk-ab***xyz. See the page.", "Incorrect API key provided: … See the page."),
        ("Key my-own-secret is off, and second-part too", "Key … is off, and … too"),
        ("Bearer ya29.a0AfH6SMBx is over; AKIAIOSFODNN7EXAMPLE, too", "… is over; …, too"),
        ("Signature does not match.\n\nx-amz-security-token:FQoG", "Signature does not match."),
        ("<" * 500, "<" * 200),
        ("", ""),
    ],
)
def test_what_a_provider_says_is_kept_without_keys(said: str, kept: str) -> None:
    assert without_secrets(said, "my-own-secret\nsecond-part", 200) == kept


@pytest.mark.parametrize(
    ("text", "lines"), [("", 0), ("a", 1), ("a\n", 1), ("a\nb", 2), ("\n\n", 2), ("a\r\nb\r\n", 2)]
)
def test_count_lines(text: str, lines: int) -> None:
    assert count_lines(text) == lines


@pytest.mark.parametrize(
    ("tool", "arguments", "lines"),
    [
        ("Write", b'{"content": "a\\nb\\n"}', (2, 0)),
        ("Edit", b'{"old_string": "", "new_string": "a\\nb"}', (2, 0)),
        ("Edit", b'{"old_string": "a\\nb", "new_string": ""}', (0, 2)),
        ("Edit", b'{"old_string": "a\\nb\\nc", "new_string": "a\\nX\\nY\\nc"}', (2, 1)),
        ("Edit", b'{"old_string": "a\\na", "new_string": "a\\na\\na"}', (1, 0)),
        ("Edit", b'{"old_string": "same", "new_string": "same"}', (0, 0)),
        ("Edit", b'{"old_string": 3, "new_string": ["x"]}', (0, 0)),
        ("Edit", b'{"old_string": "a"', (0, 0)),
        ("Edit", b"", (0, 0)),
        ("Write", b"[" * 100_000, (0, 0)),
        ("MultiEdit", b'{"edits": [{"old_string": "a", "new_string": "b\\nc"}, {"old_string": "x\\n"}]}', (2, 2)),
        ("MultiEdit", b'{"edits": 5}', (0, 0)),
        ("NotebookEdit", b'{"new_source": "a\\nb"}', (2, 0)),
    ],
)
def test_changed_lines(tool: str, arguments: bytes, lines: tuple[int, int]) -> None:
    assert changed_lines(tool, arguments) == lines


@given(st.lists(st.sampled_from("abc"), max_size=8), st.lists(st.sampled_from("abc"), max_size=8))
def test_an_edit_balances(old: list[str], new: list[str]) -> None:
    arguments = json.dumps({"old_string": "\n".join(old), "new_string": "\n".join(new)}).encode()
    added, removed = changed_lines("Edit", arguments)
    assert added - removed == count_lines("\n".join(new)) - count_lines("\n".join(old))
