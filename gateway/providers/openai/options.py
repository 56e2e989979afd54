"""What a provider's options say of its server, with what is known of OpenAI's own models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from gateway.providers.base import CannotCall
from gateway.wire.openai.dialect import EFFORTS, Dialect
from governance.domain.access import matches
from governance.snapshot import ProviderConfig

OPENAI: Final = "https://api.openai.com/v1"

_REASONING: Final = re.compile(r"(?:o\d|gpt-[5-9]|codex)(?!.*-chat)")
"""OpenAI's models that think: they take an effort and refuse what shapes their sampling."""
_RESPONSES: Final = re.compile(r"gpt-(?:5\.(?:[4-9]|\d\d)|[6-9])")
"""Those of them that take tools in Chat Completions only without an effort: they are asked through Responses."""
_APIS: Final = ("chat", "responses")
_THEIR_EFFORTS: Final = ("low", "medium", "high")
"""What every one of them takes, and what the later ones take, too."""
_LATER_EFFORTS: Final = ("none", *_THEIR_EFFORTS, "xhigh")
_REFUSED_BY_THEM: Final = frozenset({"temperature", "top_p", "stop"})
_MOST_ID_CHARACTERS: Final = 40
_ROLES: Final = ("system", "developer", "user")
_FIELDS: Final = ("max_completion_tokens", "max_tokens")


def dialect(provider: ProviderConfig, model: str, *, own: bool) -> Dialect:
    """How to speak to a server about one of its models; `own` where it is OpenAI's or Azure's. Raises CannotCall.

    Elsewhere nothing is sent that a server might refuse (Ollama does for an effort) until an option says so.
    """
    options = _Options(provider)
    thinks = own and _REASONING.match(model) is not None
    later = thinks and _RESPONSES.match(model) is not None
    responses = options.word("api", _APIS) == "responses" or (later and not options.word("api", _APIS))
    efforts = options.efforts(model)
    if efforts is None:
        efforts = _LATER_EFFORTS if later else _THEIR_EFFORTS if thinks else ()
    left_out = options.words("unsupported_fields")
    if left_out is None:
        left_out = _REFUSED_BY_THEM if thinks else frozenset()
    return Dialect(
        responses=responses,
        max_tokens_field=options.word("max_tokens_field", _FIELDS) or _FIELDS[0],
        max_output_tokens=options.number("max_output_tokens"),
        system_role=options.word("system_role", _ROLES[:2]) or _ROLES[0],
        late_system_role=options.word("late_system_role", _ROLES) or ("system" if own else "user"),
        effort_with_tools=options.word("effort_with_tools", EFFORTS) or ("none" if later else ""),
        efforts=tuple(sorted(efforts, key=EFFORTS.index)),
        reasoning_field=options.word("reasoning_field", ("reasoning_content", "reasoning")),
        left_out=frozenset(left_out),
        most_id_characters=_MOST_ID_CHARACTERS if own else None,
        most_description_characters=options.number("max_description_characters"),
    )


class _Options:
    """The options of a provider, read one by one."""

    def __init__(self, provider: ProviderConfig) -> None:
        self._name = provider.name
        self._given: Mapping[str, Any] = provider.options

    def word(self, name: str, known: tuple[str, ...]) -> str:
        value = self._given.get(name, "")
        if value and value not in known:
            raise self._wrong(name, f"one of {', '.join(known)}")
        return str(value or "")

    def number(self, name: str) -> int | None:
        value = self._given.get(name)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self._wrong(name, "a whole number above zero")
        return value

    def words(self, name: str) -> frozenset[str] | None:
        value = self._given.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise self._wrong(name, "a list of names")
        return frozenset(value)

    def efforts(self, model: str) -> tuple[str, ...] | None:
        """Of one model, where the option is told by patterns; None where nothing is said."""
        value = self._given.get("efforts")
        if isinstance(value, dict):
            value = next((efforts for pattern, efforts in value.items() if matches((pattern,), model)), None)
        if value is None:
            return None
        if not isinstance(value, list) or not all(effort in EFFORTS for effort in value):
            raise self._wrong("efforts", f"a list of {', '.join(EFFORTS)}, or such lists by pattern of models")
        return tuple(value)

    def _wrong(self, name: str, expected: str) -> CannotCall:
        return CannotCall(f"The option {name!r} of the provider {self._name} must be {expected}. Correct it.")
