"""Model ids as Amazon Bedrock spells them, and as Anthropic does.

`claude-haiku-4-5-20251001` is `anthropic.claude-haiku-4-5-20251001-v1:0` there, and is called through an inference
profile, whose id has the profile's geography before it: `eu.anthropic.…`. Source: AWS's list of models and inference
profiles; the versions are checked against the shipped price catalog.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from governance.domain.model_ids import REGIONS

_VERSIONS: Final = {"claude-3-5-sonnet-20241022": "-v2:0", "claude-opus-4-6": "-v1"}
"""What follows the name where it is neither `-v1:0` after a date nor nothing."""
_DATES: Final = {
    "claude-3-5-haiku": "20241022",
    "claude-3-5-sonnet": "20241022",
    "claude-3-7-sonnet": "20250219",
    "claude-3-opus": "20240229",
    "claude-haiku-4-5": "20251001",
    "claude-opus-4-0": "20250514",
    "claude-opus-4-1": "20250805",
    "claude-opus-4-5": "20251101",
    "claude-sonnet-4-0": "20250514",
    "claude-sonnet-4-5": "20250929",
}
"""Of Anthropic's aliases for models that Bedrock knows by their date only."""

_DATED = re.compile(r"-20\d{6}$")
_BEDROCK = re.compile(rf"(?:(?P<prefix>{'|'.join(map(re.escape, REGIONS))})\.)?anthropic\.(?P<name>.+)")
_VERSION = re.compile(r"-v\d+(?::\d+(?::\w+)?)?$")
"""`-v1:0`, `-v1`; after a second colon a context size, as in `-v1:0:200k`."""
_GENERATION = re.compile(r"claude-(?:[a-z]+-)?(\d+)(?:-(\d{1,2}))?(?!\d)")

_JAPAN: Final = frozenset({"ap-northeast-1", "ap-northeast-3"})
_AUSTRALIA: Final = frozenset({"ap-southeast-2", "ap-southeast-4", "ap-southeast-6"})
_ASIA: Final = frozenset({"apac", "jp", "au"})
_NOT_IN_JAPAN: Final = frozenset({"claude-fable-5", "claude-mythos-preview"})
_FIRST_OF_A_COUNTRY: Final = (4, 5)


def prefix_for(region: str, model: str) -> str:
    """The inference profile that a region calls a model by where nobody chose one: the narrowest that has it.

    Japan and Australia have profiles of their own from generation 4.5 on, which keep a request in the country. A region
    outside of every geography has the global one only. Source: AWS's supported regions for inference profiles; the
    geographies are those that Claude Code chooses.
    """
    if region.startswith("us-gov-"):
        return "us-gov"
    if region.startswith("us-"):
        return "us"
    if region.startswith("eu-"):
        return "eu"
    if not region.startswith("ap-"):
        return "global"
    if region in _JAPAN and _has_countries(model) and model not in _NOT_IN_JAPAN:
        return "jp"
    if region in _AUSTRALIA and _has_countries(model):
        return "au"
    return "apac"


def called_in(region: str, model: str) -> str:
    """What a region calls a model by where nobody chose a profile: an id of Bedrock's as it is, unless its profile is
    of another geography than the region; Claude Code asks for that of the region it believes to be in.
    """
    prefix, base = split_prefix(model)
    if not base.startswith("anthropic."):
        return model if is_bedrock_id(model) else bedrock_id(model, prefix_for(region, model))
    own = prefix_for(region, anthropic_id(model))
    if not region or own == "global" or prefix in ("", "global", own) or _ASIA.issuperset((prefix, own)):
        return model
    return with_prefix(model, own)


def with_prefix(model: str, prefix: str) -> str:
    """An id of Bedrock's in another inference profile; an ARN of an account's own profile as it is."""
    _, base = split_prefix(model)
    if not base.startswith("anthropic."):
        return model
    return f"{prefix}.{base}" if prefix else base


def is_bedrock_id(model: str) -> bool:
    """Whether it is Bedrock's already: a model, an inference profile or an ARN."""
    return model.startswith("arn:") or _BEDROCK.fullmatch(model) is not None


@lru_cache(maxsize=1024)
def bedrock_id(model: str, prefix: str) -> str:
    """Bedrock's id of a model of Anthropic's, in an inference profile or, with an empty prefix, as it is."""
    name = model.removesuffix("[1m]").removesuffix("-latest")
    if date := _DATES.get(name):
        name = f"{name.removesuffix('-0')}-{date}"
    version = _VERSIONS.get(name) or ("-v1:0" if _DATED.search(name) else "")
    return f"{prefix}.anthropic.{name}{version}" if prefix else f"anthropic.{name}{version}"


def profile_of(model: str) -> str:
    """The id in an ARN of a model or of one of AWS's own inference profiles; any other id as it is."""
    if model.startswith("arn:"):
        kind, _, name = model.rpartition("/")
        if kind.endswith((":inference-profile", ":foundation-model")):
            return name
    return model


def split_prefix(model: str) -> tuple[str, str]:
    """(inference prefix, id of the model itself), the first empty where there is none."""
    found = _BEDROCK.fullmatch(profile_of(model))
    return (found["prefix"] or "", f"anthropic.{found['name']}") if found else ("", model)


@lru_cache(maxsize=1024)
def anthropic_id(model: str) -> str:
    """As Anthropic spells it: `us.anthropic.claude-opus-4-6-v1` → `claude-opus-4-6`. What is not Bedrock's stays."""
    mark = "[1m]" if model.endswith("[1m]") else ""
    found = _BEDROCK.fullmatch(profile_of(model.removesuffix("[1m]")))
    if found is None:
        return model
    name = found["name"]
    return (_VERSION.sub("", name) if name.count("-") > 1 else name) + mark


def _has_countries(model: str) -> bool:
    """An id without a number is taken as new."""
    generation = _GENERATION.search(model)
    return generation is None or (int(generation[1]), int(generation[2] or 0)) >= _FIRST_OF_A_COUNTRY
