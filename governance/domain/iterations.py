"""Steps inside one request (`usage.iterations[]`).

Which tokens belong to the served model and which to another.
"""

from __future__ import annotations

from msgspec.structs import replace

from governance.domain.model_ids import normalise
from governance.domain.usage import Iteration, Usage

OUTSIDE_TOTALS = frozenset({"compaction", "advisor_message"})
"""Kinds whose tokens the request's totals leave out (CLAUDE_CODE.md §4)."""


def split(model_id: str, usage: Usage) -> tuple[Usage, tuple[Iteration, ...], bool]:
    """The served model's own tokens, the steps that are priced apart, and whether steps and totals agree.

    - `compaction` and `advisor_message` are not in the totals: always apart, on top.
    - Every other kind is in the totals. A step of another model (`fallback_message`) is taken out of them and
      priced apart; what is left is the served model's.
    - Where the sum of the steps and the totals differ, the served model is charged the larger of what the
      totals leave and what its own steps show, class by class, so neither account is undercut, and the answer
      says that they do not agree (the row is then `estimated`, for reconciliation).

    Cache writes are compared as one sum and split by the totals' TTLs: a step may come without the split.
    """
    served = normalise(model_id)
    outside, foreign, own = [], [], []
    for step in usage.iterations:
        if step.kind in OUTSIDE_TOTALS:
            outside.append(step)
        elif step.model and normalise(step.model) != served:
            foreign.append(step)
        else:
            own.append(step)
    if not foreign and not own:
        return usage, tuple(outside), True
    total, apart, shown = _classes([usage]), _classes(foreign), _classes(own)
    left = [
        max(whole - other, mine) if own else max(whole - other, 0)
        for whole, other, mine in zip(total, apart, shown, strict=True)
    ]
    if own:
        agree = all(whole == other + mine for whole, other, mine in zip(total, apart, shown, strict=True))
    else:
        agree = all(whole >= other for whole, other in zip(total, apart, strict=True))
    inputs, reads, writes, outputs = left
    hour = min(writes, max(usage.cache_write_1h_tokens - sum(s.cache_write_1h_tokens for s in foreign), 0))
    remainder = replace(
        usage,
        input_tokens=inputs,
        cache_read_tokens=reads,
        cache_write_1h_tokens=hour,
        cache_write_5m_tokens=writes - hour,
        output_tokens=outputs,
    )
    return remainder, (*foreign, *outside), agree


def _classes(parts: list[Usage] | list[Iteration]) -> tuple[int, int, int, int]:
    """Sums of input, cache reads, cache writes of either TTL, and output."""
    return (
        sum(part.input_tokens for part in parts),
        sum(part.cache_read_tokens for part in parts),
        sum(part.cache_write_5m_tokens + part.cache_write_1h_tokens for part in parts),
        sum(part.output_tokens for part in parts),
    )
