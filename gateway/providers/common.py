"""What several kinds of provider do alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import httpx

from gateway.providers.base import CannotCall
from governance.domain.access import matches
from governance.snapshot import ProviderConfig

LIST_SECONDS = 10.0
LARGE_BODY = 256 * 1024
"""Bytes from which shaping a body takes milliseconds: for OpenAI, 1 MB takes 6 (2-core VM, CPython 3.11)."""
T = TypeVar("T")


async def off_the_loop(size: int, work: Callable[..., T], *arguments: Any) -> T:
    """Do the work on a body of this many bytes; on a large one in a thread, so that others' streams go on."""
    return work(*arguments) if size < LARGE_BODY else await asyncio.to_thread(work, *arguments)


def mapped(provider: ProviderConfig, model: str) -> str:
    """What the configuration says the provider calls a model; empty where it says nothing."""
    for pattern, name in provider.model_map:
        if matches((pattern,), model):
            return name
    return ""


def with_extra(
    headers: Sequence[tuple[bytes, bytes]], extra: Sequence[tuple[bytes, bytes]]
) -> Sequence[tuple[bytes, bytes]]:
    """The headers with those of routing rules, which take the place of others of their name."""
    if not extra:
        return headers
    names = {name for name, _ in extra}
    return [*(field for field in headers if field[0] not in names), *extra]


def listed(url: str, headers: Mapping[str, str], *, field: str = "data", key: str = "id") -> list[str]:
    """The ids that a provider lists at an address, in its order. Blocking. Raises CannotCall with a sentence."""
    try:
        answer = httpx.get(url, headers=headers, timeout=LIST_SECONDS, follow_redirects=False)
        if answer.status_code != 200:
            said = f": {answer.text[:300]}" if answer.text.strip() else ", and no more."
            raise CannotCall(f"It answered {answer.status_code} to a list of its models{said}")
        return [str(entry[key]) for entry in answer.json().get(field, [])]
    except httpx.HTTPError as error:
        raise CannotCall(f"It cannot be reached: {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CannotCall("Its list of models is not in the form that was expected.") from None
