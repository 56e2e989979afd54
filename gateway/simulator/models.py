"""The list of models the simulated provider says it has; it answers for any other id as well."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

_MODELS = (
    ("claude-opus-5-5", "Claude Opus 5.5", "2026-09-15"),
    ("claude-sonnet-5-5", "Claude Sonnet 5.5", "2026-09-15"),
    ("claude-haiku-5-5", "Claude Haiku 5.5", "2026-09-15"),
    ("claude-fable-5-2", "Claude Fable 5.2", "2026-09-15"),
    ("claude-opus-4-8", "Claude Opus 4.8", "2026-05-20"),
    ("claude-sonnet-5", "Claude Sonnet 5", "2026-03-10"),
    ("claude-fable-5", "Claude Fable 5", "2026-03-10"),
    ("claude-haiku-4-5-20251001", "Claude Haiku 4.5", "2025-10-01"),
)
MODELS: tuple[dict[str, Any], ...] = tuple(
    {"type": "model", "id": name, "display_name": f"{title} (simulated)", "created_at": f"{day}T00:00:00Z"}
    for name, title, day in _MODELS
)


def find(model_id: str) -> dict[str, Any] | None:
    return next((model for model in MODELS if model["id"] == model_id), None)


def page(query: str) -> dict[str, Any]:
    """One page as Anthropic cuts it: `limit` (1 to 1000), `after_id`, `before_id`. Raises ValueError."""
    wanted = {name: values[-1] for name, values in parse_qs(query).items()}
    limit = int(wanted.get("limit", "20"))
    if not 1 <= limit <= 1000:
        raise ValueError("limit: must lie between 1 and 1000")
    ids = [model["id"] for model in MODELS]
    start = ids.index(wanted["after_id"]) + 1 if "after_id" in wanted else 0
    end = ids.index(wanted["before_id"]) if "before_id" in wanted else len(ids)
    data = list(MODELS[start:end])
    shown = data[-limit:] if "before_id" in wanted else data[:limit]
    return {
        "data": shown,
        "has_more": len(data) > len(shown),
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
    }
