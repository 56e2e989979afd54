"""Names of models at Bedrock, held against the price catalog that ships."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from governance.catalog import SHIPPED
from governance.domain.bedrock_ids import (
    anthropic_id,
    bedrock_id,
    called_in,
    is_bedrock_id,
    prefix_for,
    profile_of,
    split_prefix,
    with_prefix,
)
from governance.domain.model_ids import REGIONS


def listed() -> Iterator[str]:
    for model in json.loads(SHIPPED.read_text())["prices"]:
        if model["platform"] == "bedrock" and "/" not in model["model_id"]:
            yield model["model_id"]


IDS = sorted(set(listed()))
ODD = {
    # The catalog names it among its source's errors: this date is Claude 3.5's.
    "anthropic.claude-3-7-sonnet-20240620-v1:0",
    # Its source's spelling, without whose model it is.
    "claude-sonnet-4-5-20250929-v1:0",
    "anthropic.claude-instant-v1",
    "anthropic.claude-v1",
    "anthropic.claude-v2:1",
}


@pytest.mark.parametrize("name", [name for name in IDS if name not in ODD and "@" not in name])
def test_the_catalogs_ids_go_to_anthropics_name_and_back(name: str) -> None:
    prefix, base = split_prefix(name)
    assert base.startswith("anthropic.")
    assert bedrock_id(anthropic_id(name), prefix) == name
    assert is_bedrock_id(name)
    assert not is_bedrock_id(anthropic_id(name))


def test_aliases_without_a_date_get_the_one_that_bedrock_lists() -> None:
    for alias in ("claude-haiku-4-5", "claude-opus-4-1", "claude-opus-4-5", "claude-sonnet-4-5", "claude-sonnet-4-0"):
        assert bedrock_id(alias, "us") in IDS
    assert bedrock_id("claude-3-5-sonnet-latest", "") == "anthropic.claude-3-5-sonnet-20241022-v2:0"
    assert bedrock_id("claude-opus-5-5[1m]", "eu") == "eu.anthropic.claude-opus-5-5"


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("us.anthropic.claude-opus-4-6-v1", "claude-opus-4-6"),
        ("us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5-20250929"),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0:200k", "claude-3-5-sonnet-20241022"),
        ("eu.anthropic.claude-opus-5-5[1m]", "claude-opus-5-5[1m]"),
        ("arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-5-5", "claude-opus-5-5"),
        ("arn:aws:bedrock:eu-west-1::foundation-model/anthropic.claude-haiku-5-5", "claude-haiku-5-5"),
        (
            "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123",
            "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123",
        ),
        ("claude-opus-5-5", "claude-opus-5-5"),
        ("anthropic.claude-v2:1", "claude-v2:1"),
        ("amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
    ],
)
def test_what_anthropic_calls_it(name: str, plain: str) -> None:
    assert anthropic_id(name) == plain


@pytest.mark.parametrize(
    ("region", "model", "prefix"),
    [
        ("us-east-1", "claude-opus-5-5", "us"),
        ("us-gov-west-1", "claude-opus-5-5", "us-gov"),
        ("eu-central-1", "claude-opus-5-5", "eu"),
        ("ap-northeast-1", "claude-opus-5-5", "jp"),
        ("ap-northeast-3", "claude-haiku-4-5-20251001", "jp"),
        ("ap-northeast-1", "claude-fable-5", "apac"),
        ("ap-northeast-1", "claude-sonnet-4-20250514", "apac"),
        ("ap-southeast-2", "claude-sonnet-4-6", "au"),
        ("ap-southeast-4", "claude-nova", "au"),
        ("ap-south-1", "claude-opus-5-5", "apac"),
        ("ca-central-1", "claude-opus-5-5", "global"),
        ("sa-east-1", "claude-opus-5-5", "global"),
    ],
)
def test_the_profile_of_a_region(region: str, model: str, prefix: str) -> None:
    assert prefix_for(region, model) == prefix
    assert prefix in REGIONS


def test_a_country_is_chosen_only_where_the_catalog_has_its_profile_or_no_wider_one() -> None:
    for region, country in (("ap-northeast-1", "jp"), ("ap-southeast-2", "au")):
        for name in IDS:
            prefix, base = split_prefix(name)
            if prefix == "apac" and f"{country}.{base}" not in IDS:
                assert prefix_for(region, anthropic_id(name)) == "apac", name


def test_an_arn_of_an_application_profile_names_no_model() -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"
    assert profile_of(arn) == arn
    assert split_prefix(arn) == ("", arn)
    assert is_bedrock_id(arn)


@pytest.mark.parametrize(
    ("region", "asked", "called"),
    [
        ("eu-central-1", "claude-opus-5-5", "eu.anthropic.claude-opus-5-5"),
        ("eu-central-1", "eu.anthropic.claude-opus-5-5", "eu.anthropic.claude-opus-5-5"),
        ("eu-central-1", "us.anthropic.claude-opus-5-5", "eu.anthropic.claude-opus-5-5"),
        ("eu-central-1", "global.anthropic.claude-opus-5-5", "global.anthropic.claude-opus-5-5"),
        ("eu-central-1", "anthropic.claude-3-haiku-20240307-v1:0", "anthropic.claude-3-haiku-20240307-v1:0"),
        ("ap-northeast-1", "apac.anthropic.claude-opus-5-5", "apac.anthropic.claude-opus-5-5"),
        ("ca-central-1", "us.anthropic.claude-opus-5-5", "us.anthropic.claude-opus-5-5"),
        ("", "us.anthropic.claude-opus-5-5", "us.anthropic.claude-opus-5-5"),
        (
            "eu-central-1",
            "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc",
            "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc",
        ),
    ],
)
def test_a_region_calls_by_profiles_that_it_has(region: str, asked: str, called: str) -> None:
    assert called_in(region, asked) == called


def test_another_profile_of_the_same_model() -> None:
    assert with_prefix("us.anthropic.claude-opus-4-6-v1", "eu") == "eu.anthropic.claude-opus-4-6-v1"
    assert with_prefix("us.anthropic.claude-opus-4-6-v1", "") == "anthropic.claude-opus-4-6-v1"
    assert with_prefix("arn:aws:x", "eu") == "arn:aws:x"
