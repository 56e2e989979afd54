"""What a prompt is taken for where its provider never said how long it was."""

from __future__ import annotations

import base64
import json
import os

import pytest

from gateway.exchange import Attempt, Exchange, Target
from gateway.settle import _access
from gateway.wire.peek import peek
from gateway.wire.usage import Metered
from gateway.worst import LARGEST_CONTEXT, prompt_estimate, worst_case
from governance.domain.access import Access
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
