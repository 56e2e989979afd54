"""Cache reads and writes follow the marked prefix."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator import conversation
from gateway.simulator.prompt_cache import PromptCache, PromptTokens, estimate

SYSTEM = {"type": "text", "text": "s" * 4000, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
MARK = {"cache_control": {"type": "ephemeral"}}


def _split(cache: PromptCache, messages: list[Any], now: float = 0.0, **more: Any) -> PromptTokens:
    values = {"model": "m", "max_tokens": 1, "system": [SYSTEM], "messages": messages} | more
    body = json.dumps(values, separators=(",", ":")).encode()
    return cache.split(body, conversation.read(body), now)


def _user(text: str, *, marked: bool = True) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text} | (MARK if marked else {})]}


def test_first_time_is_written_by_its_lifetime_and_read_the_next_time() -> None:
    cache = PromptCache()
    first = _split(cache, [_user("q" * 400)])
    assert first.read == 0
    assert 1000 <= first.write_1h <= 1010
    assert 100 <= first.write_5m <= 112
    second = _split(cache, [_user("q" * 400)])
    assert second == PromptTokens(first.input, first.write_1h + first.write_5m)


def test_the_mark_moves_on_and_the_history_is_still_read() -> None:
    cache = PromptCache()
    first = _split(cache, [_user("q" * 400)])
    reply = {"role": "assistant", "content": "a" * 80}
    # The client writes a content without a mark as a plain string: it is the same prefix.
    second = _split(cache, [{"role": "user", "content": "q" * 400}, reply, _user("more")])
    assert second.read == first.write_1h + first.write_5m
    assert second.write_5m > 20
    assert second.write_1h == 0


def test_another_model_or_another_prefix_is_written_anew() -> None:
    cache = PromptCache()
    _split(cache, [_user("q")])
    assert _split(cache, [_user("q")], model="other").read == 0
    assert _split(cache, [_user("q")], tools=[{"name": "T", "input_schema": {}}]).read == 0


def test_lifetimes_end_and_reading_renews_them() -> None:
    cache = PromptCache()
    first = _split(cache, [_user("q" * 400)], now=0)
    both = first.write_1h + first.write_5m
    assert _split(cache, [_user("q" * 400)], now=299).read == both
    assert _split(cache, [_user("q" * 400)], now=598).read == both
    late = _split(cache, [_user("q" * 400)], now=1000)
    assert (late.read, late.write_5m) == (first.write_1h, first.write_5m)
    assert _split(cache, [_user("q" * 400)], now=10_000).read == 0


def test_memory_is_bounded() -> None:
    cache = PromptCache(capacity=3)
    for number in range(50):
        _split(cache, [_user(f"question {number}")])
    assert len(cache._expiry) == 3


def test_a_prompt_about_cache_control_marks_nothing() -> None:
    found = _split(PromptCache(), [_user('say {"cache_control":{"ttl":"1h"}}', marked=False)], system="none")
    assert (found.read, found.write_5m, found.write_1h) == (0, 0, 0)


@given(st.lists(st.tuples(st.text(max_size=300), st.booleans()), min_size=1, max_size=8))
def test_no_token_is_lost_or_counted_twice(turns: list[tuple[str, bool]]) -> None:
    cache = PromptCache()
    messages = [_user(text, marked=marked) for text, marked in turns]
    values = {"model": "m", "max_tokens": 1, "system": [SYSTEM], "messages": messages}
    size = estimate(json.dumps(values, separators=(",", ":")).encode())
    first, second = _split(cache, messages), _split(cache, messages)
    for found in (first, second):
        assert abs(found.input + found.read + found.write_5m + found.write_1h - size) <= 2
        assert found.input >= 1
    assert second.write_5m == second.write_1h == 0
    assert second.read == first.write_5m + first.write_1h
