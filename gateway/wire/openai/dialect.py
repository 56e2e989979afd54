"""What one server of Chat Completions takes: in this OpenAI, Azure, OpenRouter, vLLM and Ollama differ."""

from __future__ import annotations

import msgspec


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """The defaults are what every server takes."""

    responses: bool = False
    """Whether the model is to be asked through the Responses API."""
    seal: str = ""
    """Whose encrypted thinking it is: another account or model cannot read it, and refuses it."""
    max_tokens_field: str = "max_completion_tokens"
    """Bounds the answer. OpenAI's reasoning models refuse `max_tokens`, Ollama knows no other."""
    max_output_tokens: int | None = None
    """The most tokens that may be asked for; Claude Code asks for up to 128,000, which small models refuse."""
    system_role: str = "system"
    late_system_role: str = "system"
    """Of system messages inside the conversation. The templates of many open models refuse them there; as a user's they
    stand in tags that Claude Code itself uses.
    """
    efforts: tuple[str, ...] = ()
    """Those of `provider_kinds.EFFORTS` that the model takes, in that order; empty where it refuses the field."""
    effort_with_tools: str = ""
    """The effort of every request with tools, whatever is asked for. OpenAI refuses tools to its models from GPT-5.4 on
    in Chat Completions unless this is `none`; with an effort it wants the Responses API.
    """
    reasoning_field: str = ""
    """Of an assistant message: carries its thinking back, such as `reasoning_content`; empty sends none."""
    left_out: frozenset[str] = frozenset()
    """Top-level fields that the model refuses."""
    most_id_characters: int | None = None
    """Of the id of a tool call. OpenAI refuses more than 40."""
    most_description_characters: int | None = None
    """Of a tool's description: what is longer is told in the system message."""


class CannotTranslate(ValueError):
    """The request asks for what no server of this format can do, or is not a Messages body; the text says what."""


class BadAnswer(ValueError):
    """The answer is not what the format promises; the text says what it is instead."""
