"""What a prompt is taken for where its provider never said how long it was."""

from __future__ import annotations

import base64
import json
import os

import pytest

from gateway.exchange import Attempt, Exchange, Target
from gateway.settle import _access, _usage
from gateway.wire.peek import peek
from gateway.wire.usage import Metered
from gateway.worst import LARGEST_CONTEXT, prompt_estimate, worst_case
from governance.domain.access import Access
from governance.domain.usage import Usage
from tests.gateway.test_admission import MODEL, exchange


def with_content(content: object) -> Exchange:
    made = exchange(Access(1, 1))
    made.body = json.dumps(
        {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": content}]}
    ).encode()
    made.peek = peek(made.body)
    return made


def test_an_image_is_not_charged_as_the_text_of_its_bytes() -> None:
    picture = base64.b64encode(os.urandom(2_000_000)).decode()
    source = {"type": "base64", "media_type": "image/png", "data": picture}
    made = with_content([{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}])
    assert len(made.body) > 2_600_000
    assert prompt_estimate(made) < 10_000
    # What is charged by estimate lies within what a hard budget holds.
    prices = made.snapshot.prices
    floor = prices.ceiling("anthropic", MODEL, made.record.started_at, prompt_estimate(made), 0, 0)
    assert floor <= worst_case(made, made.candidates)


@pytest.mark.parametrize("size", [100, 50_000])
def test_text_is_estimated_by_its_length(size: int) -> None:
    made = with_content("word " * (size // 5))
    assert size / 8 < prompt_estimate(made) < size


def test_nothing_is_longer_than_a_window() -> None:
    assert prompt_estimate(with_content("word " * 4_000_000)) == LARGEST_CONTEXT


def test_a_charge_belongs_to_the_provider_that_may_have_made_it() -> None:
    made = exchange(Access(1, 1), Access(2, 1))
    provider = made.snapshot.providers[1]
    credential = provider.credentials[0]
    charged = Attempt(Target(provider, credential, Access(1, 1), MODEL), "anthropic", 0.0, metered=Metered())
    refused = Attempt(Target(provider, credential, Access(2, 1), MODEL), "anthropic", 0.0)
    made.attempts = [charged, refused]
    found = _access(made)
    assert found is not None
    assert found.id == 1


@pytest.mark.parametrize(
    ("metered", "tokens", "quality"),
    [
        (Metered(usage=Usage(5, 7), complete=True, output_final=True), (5, 7), "exact"),
        (Metered(usage=Usage(5, 0), complete=True, output_final=False, content_bytes=400), (5, None), "estimated"),
        (Metered(usage=Usage(0, 7), complete=True, output_final=True, input_told=False), (None, 7), "estimated"),
    ],
)
def test_what_nobody_told_is_estimated_and_never_zero(
    metered: Metered, tokens: tuple[int | None, int | None], quality: str
) -> None:
    made = exchange(Access(1, 1))
    provider = made.snapshot.providers[1]
    target = Target(provider, provider.credentials[0], Access(1, 1), MODEL)
    usage, found = _usage(made, Attempt(target, "anthropic", 0.0, metered=metered, status=200))
    assert usage is not None
    assert found == quality
    for count, told in zip((usage.input_tokens, usage.output_tokens), tokens, strict=True):
        assert count > 0 if told is None else count == told
