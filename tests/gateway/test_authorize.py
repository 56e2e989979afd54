"""Which models a key is shown: names that a client can ask for, of providers that serve them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.authorize import allowed_models
from gateway.exchange import Exchange
from gateway.formats.anthropic import ANTHROPIC
from gateway.formats.base import Format
from gateway.formats.openai_chat import OpenAIChat
from governance.domain.access import Access, Grant
from governance.domain.pricing import PriceBook, PriceRow, Rates
from governance.snapshot import ProviderConfig, Snapshot
from tests.fakes.line import FakeLine

RATES = Rates(Decimal(3), Decimal(15), Decimal("0.3"), Decimal("3.75"), Decimal(6))
LISTED = [
    ("anthropic", "claude-opus-5-5"),
    ("anthropic", "claude-haiku-4-5-20251001"),
    ("anthropic", "claude_platform/claude-opus-5-5"),
    ("bedrock", "anthropic.claude-opus-4-6-v1"),
    ("bedrock", "us.anthropic.claude-opus-4-6-v1"),
    ("bedrock", "ap-northeast-1/anthropic.claude-instant-v1"),
    ("bedrock", "bedrock_mantle/anthropic.claude-opus-4-6"),
    ("bedrock", "amazon.nova-pro-v1:0"),
    ("vertex", "claude-haiku-4-5@20251001"),
    ("vertex", "claude-opus-5-5@default"),
    ("openai", "gpt-5"),
    ("openai", "azure/eu/gpt-5"),
]
OPENAI_FORM = OpenAIChat()


def shown(
    kind: str, spoken: Format = ANTHROPIC, models: tuple[str, ...] = (), model_map: tuple[tuple[str, str], ...] = ()
) -> tuple[str, ...]:
    since = datetime(2025, 1, 1, tzinfo=UTC)
    prices = PriceBook([PriceRow(number, *row, since, RATES) for number, row in enumerate(LISTED)])
    provider = ProviderConfig(1, "p", kind, "https://p.test", 0, (), model_map=model_map)
    gateway: Any = SimpleNamespace(snapshot=Snapshot(1, {}, {1: provider}, {}, {}, prices, {}))
    exchange = Exchange.open(gateway, FakeLine(), "/v1/models", spoken)
    grant = Grant(1, "ada-laptop", 1, "Acme", 1, "Core", accesses=(Access(1, 1, models),))
    found = allowed_models(grant, exchange)
    assert allowed_models(grant, exchange) is found, "worked out again"
    return found


@pytest.mark.parametrize(
    ("kind", "ids"),
    [
        ("anthropic", ("claude-haiku-4-5-20251001", "claude-opus-5-5")),
        ("bedrock", ("claude-opus-4-6",)),
        ("vertex", ("claude-haiku-4-5-20251001", "claude-opus-5-5")),
    ],
)
def test_models_are_listed_once_as_anthropic_spells_them(kind: str, ids: tuple[str, ...]) -> None:
    assert shown(kind) == shown(kind, OPENAI_FORM) == ids
    assert shown(kind, models=("claude-opus-*",)) == tuple(name for name in ids if "opus" in name)


@pytest.mark.parametrize("kind", ["openai", "azure_openai", "gemini"])
def test_a_mapped_provider_is_asked_for_what_its_map_names(kind: str) -> None:
    every = (("claude-*", "gpt-5.4"),)
    assert shown(kind, model_map=every) == ("claude-haiku-4-5-20251001", "claude-opus-5-5")
    assert shown(kind, model_map=(("claude-haiku-*", "gpt-5.4"),)) == ("claude-haiku-4-5-20251001",)
    assert shown(kind, OPENAI_FORM, model_map=every) == ("claude-haiku-4-5-20251001", "claude-opus-5-5", "gpt-5.4")
    assert shown(kind, OPENAI_FORM, ("claude-opus-*",), every) == ("claude-opus-5-5",)


def test_without_a_map_a_provider_serves_its_own_names_to_clients_of_its_format() -> None:
    assert shown("openai") == ()
    assert shown("openai", OPENAI_FORM) == ("gpt-5",)
