"""What a provider's options say of its server, with what is known of OpenAI's own models."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.providers.base import CannotCall
from gateway.wire.openai.dialect import Dialect
from governance.domain.access import matches, most_specific_first
from governance.domain.provider_kinds import EFFORTS, option_problem
from governance.snapshot import ProviderConfig

OPENAI: Final = "https://api.openai.com/v1"

_REASONING: Final = re.compile(r"(?:o\d|gpt-[5-9]|codex)(?!.*-chat)")
"""OpenAI's models that think: they take an effort and refuse what shapes their sampling."""
_RESPONSES: Final = re.compile(r"gpt-(?:5\.(?:[4-9]|\d\d)|[6-9])")
"""Those of them that take tools in Chat Completions only without an effort: they are asked through Responses."""
_THEIR_EFFORTS: Final = ("low", "medium", "high")
"""What every one of them takes, and what the later ones take, too."""
_LATER_EFFORTS: Final = ("none", *_THEIR_EFFORTS, "xhigh")
_REFUSED_BY_THEM: Final = frozenset({"temperature", "top_p", "stop"})
_MOST_ID_CHARACTERS: Final = 40


def dialect(provider: ProviderConfig, model: str, *, own: bool) -> Dialect:
    """How to speak to a server about one of its models; `own` where it is OpenAI's or Azure's. Raises CannotCall.

    Elsewhere nothing is sent that a server might refuse (Ollama does for an effort) until an option says so.
    """
    options = provider.options
    for name, value in options.items():
        if problem := option_problem(name, value):
            raise CannotCall(f"The options of the provider {provider.name} are wrong: {problem} Correct it.")
    thinks = own and _REASONING.match(model) is not None
    later = thinks and _RESPONSES.match(model) is not None
    efforts = _efforts(options.get("efforts"), model)
    if efforts is None:
        efforts = _LATER_EFFORTS if later else _THEIR_EFFORTS if thinks else ()
    refused = _REFUSED_BY_THEM if thinks else frozenset()
    return Dialect(
        responses=(options.get("api") or ("responses" if later else "chat")) == "responses",
        max_tokens_field=options.get("max_tokens_field") or "max_completion_tokens",
        max_output_tokens=options.get("max_output_tokens"),
        system_role=options.get("system_role") or "system",
        late_system_role=options.get("late_system_role") or ("system" if own else "user"),
        effort_with_tools=options.get("effort_with_tools") or ("none" if later else ""),
        efforts=tuple(sorted(efforts, key=EFFORTS.index)),
        reasoning_field=options.get("reasoning_field") or "",
        left_out=frozenset(options.get("unsupported_fields", refused)),
        most_id_characters=_MOST_ID_CHARACTERS if own else None,
        most_description_characters=options.get("max_description_characters"),
    )


def _efforts(told: Any, model: str) -> Sequence[str] | None:
    """Of one model, where they are told by patterns; None where nothing is said of it. `option_problem` has looked."""
    if not isinstance(told, Mapping):
        return tuple(told) if told is not None else None
    return next((efforts for pattern, efforts in most_specific_first(told) if matches((pattern,), model)), None)
