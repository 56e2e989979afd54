"""The kinds of provider: what each needs to be called, and how its credentials prove who calls."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from governance.domain.model_ids import REGIONS


@dataclass(frozen=True, slots=True)
class ProviderKind:
    """What the configuration of one kind has to say. `label` and `note` are for people."""

    kind: str
    label: str
    platform: str
    """Whose price list applies."""
    methods: tuple[str, ...] = ("api_key",)
    """How its credentials may authenticate, the usual one first; empty where it needs none."""
    needs_address: bool = False
    without_version: bool = False
    """Whether /v1 is put behind its address with each call."""
    needs_region: bool = False
    needs_project: bool = False
    note: str = ""
    options: Mapping[str, str] | None = None
    """Further settings by name, each with its help text."""


_LEFT_OUT_BETAS = "Betas that it does not know and that requests are to leave out, for example fine-grained-x."

_CHAT = {
    "api": "chat or responses. Not set: responses for OpenAI's models from GPT-5.4 on, which take tools and an effort "
    "together only there; chat else.",
    "max_tokens_field": "Name of the field that bounds the answer: max_completion_tokens (usual) or max_tokens.",
    "max_output_tokens": "Most tokens to ask for; Claude Code asks for up to 128000, which small models refuse.",
    "efforts": "Values of reasoning_effort that the models take, for all of them or by pattern of models. Not set: "
    "low, medium and high for OpenAI's reasoning models.",
    "effort_with_tools": "reasoning_effort of every chat request with tools. Not set: none for OpenAI's models from "
    "GPT-5.4 on, which refuse tools otherwise.",
    "reasoning_field": "Field that carries a model's own thinking back to it: reasoning_content or reasoning.",
    "system_role": "Role of the system prompt: system (usual) or developer.",
    "late_system_role": "Role of system messages inside the conversation: system, developer or user. Not set: system "
    "for OpenAI and Azure, user elsewhere, since many open models refuse them.",
    "unsupported_fields": "Fields that the models refuse and that requests are to leave out, for example temperature.",
    "max_description_characters": "Most characters of a tool's description; a longer one goes into the system message.",
}
"""Of servers of OpenAI's Chat Completions."""

KINDS: Mapping[str, ProviderKind] = {
    each.kind: each
    for each in (
        ProviderKind("anthropic", "Anthropic API", "anthropic", without_version=True),
        ProviderKind(
            "bedrock",
            "Amazon Bedrock",
            "bedrock",
            ("aws_default", "aws_static", "aws_profile", "aws_role", "api_key"),
            needs_region=True,
            note="Region for example eu-central-1. Empty address takes the region's own.",
            options={
                "inference_prefix": "Prefix of cross-region inference profiles: us, eu, apac, au, jp, global; "
                '"" calls models without one.',
                "unsupported_betas": _LEFT_OUT_BETAS,
            },
        ),
        ProviderKind(
            "vertex",
            "Google Vertex AI",
            "vertex",
            ("google_default", "google_service_account"),
            needs_region=True,
            needs_project=True,
            note="Region for example europe-west1, or global. Empty address takes the region's own.",
            options={"unsupported_betas": _LEFT_OUT_BETAS},
        ),
        ProviderKind("foundry", "Microsoft Foundry", "foundry", needs_address=True, without_version=True),
        ProviderKind(
            "compatible",
            "Anthropic-compatible (a proxy, a local server)",
            "anthropic",
            needs_address=True,
            without_version=True,
            note="Any address that serves /v1/messages.",
        ),
        ProviderKind(
            "openai",
            "OpenAI or compatible (OpenRouter, vLLM, Ollama)",
            "openai",
            note="Address up to /v1, for example https://openrouter.ai/api/v1. Empty takes OpenAI's. "
            "A server that asks for no key takes any text as one.",
            options=_CHAT,
        ),
        ProviderKind(
            "azure_openai",
            "Azure OpenAI",
            "openai",
            needs_address=True,
            note="Address of the resource, for example https://name.openai.azure.com. Map models to deployments.",
            options={"api_version": "For example 2024-10-21; empty takes the v1 API.", **_CHAT},
        ),
        ProviderKind(
            "gemini",
            "Google Gemini API",
            "gemini",
            note="Map Claude's models to Gemini's, for example claude-haiku-* to gemini-3.8-flash.",
            options={"max_output_tokens": "Most tokens to ask for; empty takes 65536."},
        ),
        ProviderKind("simulated", "Simulated provider (no real model, no real cost)", "anthropic", ()),
    )
}

METHODS: Mapping[str, str] = {
    "api_key": "API key",
    "aws_default": "AWS: the environment's own role or variables",
    "aws_static": "AWS: access key (its id here, its secret below)",
    "aws_profile": "AWS: named profile",
    "aws_role": "AWS: role to assume (its ARN here)",
    "google_default": "Google: application default credentials",
    "google_service_account": "Google: service account (its JSON key below)",
}
"""How a credential authenticates, by name. What has no secret of its own takes it from where the gateway runs."""

NEEDS_SECRET = frozenset({"api_key", "aws_static", "google_service_account"})
NEEDS_IDENTIFIER: Mapping[str, str] = {
    "aws_static": "the access key's id",
    "aws_profile": "the profile's name",
    "aws_role": "the role's ARN",
}

LIST_OPTIONS = frozenset({"unsupported_betas", "unsupported_fields"})
"""Options that are lists of texts."""
NUMBER_OPTIONS = frozenset({"max_output_tokens", "max_description_characters"})
"""Options that are whole numbers above zero."""
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""Every `reasoning_effort` that a server of OpenAI's APIs may know, from none to the most."""
CHOICE_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "api": ("chat", "responses"),
    "max_tokens_field": ("max_completion_tokens", "max_tokens"),
    "system_role": ("system", "developer"),
    "late_system_role": ("system", "developer", "user"),
    "effort_with_tools": EFFORTS,
    "reasoning_field": ("reasoning_content", "reasoning"),
    "inference_prefix": tuple(REGIONS),
}
"""Options that are one of a few texts; empty is as if it were not there."""
PATTERN_OPTIONS = frozenset({"efforts"})
"""Options that are a list of `EFFORTS`, or such lists by pattern of models; all others are one text."""


def provider_problems(
    *, kind: str, base_url: str, region: str, project: str, options: Mapping[str, object]
) -> dict[str, str]:
    """What a provider of this kind lacks or cannot have, by field, each in a sentence."""
    known = KINDS.get(kind)
    if known is None:
        return {}
    problems: dict[str, str] = {}
    if known.needs_address and not base_url:
        problems["base_url"] = f"{known.label} has no address of its own: give the one to call."
    if known.without_version and base_url.rstrip("/").endswith("/v1"):
        problems["base_url"] = f"Leave /v1 out: {base_url.rstrip('/').removesuffix('/v1')}. It is added to each call."
    if known.needs_region and not region:
        problems["region"] = f"{known.label} is called in a region: name it, for example {_REGIONS[kind]}."
    if known.needs_project and not project:
        problems["project"] = f"{known.label} is called in a project: give the project's id."
    for name, value in options.items():
        if name not in (known.options or {}):
            takes = f"It takes {', '.join(known.options)}." if known.options else "It takes none."
            problems["options"] = f"{name!r} is no setting of {known.label}. {takes}"
        elif problem := option_problem(name, value):
            problems["options"] = problem
    return problems


def option_problem(name: str, value: object) -> str:
    """Why an option cannot have this value, in a sentence; empty where it can."""
    if name in LIST_OPTIONS:
        fits = isinstance(value, list) and all(isinstance(one, str) and one for one in value)
        return "" if fits else f"{name} is a list of texts."
    if name in NUMBER_OPTIONS:
        fits = isinstance(value, int) and not isinstance(value, bool) and value > 0
        return "" if fits else f"{name} is a whole number above zero."
    if name in PATTERN_OPTIONS:
        lists = value.values() if isinstance(value, dict) else [value]
        fits = all(isinstance(one, list) and all(effort in EFFORTS for effort in one) for one in lists)
        return "" if fits else f"{name} is a list of {', '.join(EFFORTS)}, or such lists by pattern of models."
    if choices := CHOICE_OPTIONS.get(name):
        return "" if value in ("", *choices) else f"{name} is one of {', '.join(choices)}."
    return "" if isinstance(value, str) else f"{name} is one text."


def credential_problems(*, kind: str, method: str, identifier: str, named: str) -> dict[str, str]:
    """What is wrong with how a credential of a provider of this kind proves who calls, by field, in sentences."""
    known = KINDS.get(kind)
    if known is None:
        return {}
    if not known.methods:
        return {"method": f"{known.label} needs none: leave the credential out."}
    if method not in known.methods:
        takes = ", ".join(METHODS[one] for one in known.methods)
        return {"method": f"{known.label} does not take “{METHODS.get(method, method)}”. It takes: {takes}."}
    problems: dict[str, str] = {}
    if (what := NEEDS_IDENTIFIER.get(method)) and not identifier:
        problems["identifier"] = f"Give {what}: “{METHODS[method]}” needs it."
    if named and method not in NEEDS_SECRET:
        problems["secret_env"] = f"“{METHODS[method]}” has no secret of its own: leave the variable empty."
    return problems


def secret_problem(method: str, secret: str) -> str:
    """What is wrong with a secret that somebody gives, as far as it can be seen; empty where nothing is."""
    if method != "google_service_account" or not secret:
        return ""
    try:
        key = json.loads(secret)
    except ValueError:
        key = None
    wanted = ("client_email", "private_key", "token_uri")
    if not isinstance(key, dict) or not all(isinstance(key.get(name), str) for name in wanted):
        return "That is no key of a service account: paste the whole JSON file that Google gives."
    return ""


def usual_method(kind: str, *, secret: bool, identifier: bool) -> str:
    """How a credential of which nobody says it proves who calls: by what is known of it."""
    known = KINDS.get(kind)
    methods = known.methods if known is not None else ()
    fitting = (
        method
        for method in methods
        if (method in NEEDS_SECRET) == secret and (method in NEEDS_IDENTIFIER) <= identifier
    )
    return next(fitting, methods[0] if methods else "api_key")


_REGIONS = {"bedrock": "eu-central-1", "vertex": "europe-west1 or global"}
