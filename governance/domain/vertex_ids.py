"""Model ids as Google's Vertex AI spells them, and as Anthropic does.

`claude-haiku-4-5-20251001` is `claude-haiku-4-5@20251001` there; from generation 4.6 on ids have no date, and Google's
own catalog writes `@default` behind them. Source: Anthropic's table of Vertex AI's ids; checked against the shipped
price catalog.
"""

from __future__ import annotations

import re
from typing import Final

_DATED: Final = re.compile(r"(?P<name>.+)-(?P<date>20\d{6})")
_VERTEX_DATED: Final = re.compile(r"(?P<name>.+)@(?P<date>20\d{6})")
_GENERATION: Final = re.compile(r"claude-(?:[a-z]+-)?(\d+)(?:-(\d{1,2}))?(?!\d)")
_FIRST_WITHOUT_DATE: Final = (4, 6)
_ODD: Final = {
    "claude-3-5-sonnet-20241022": "claude-3-5-sonnet-v2@20241022",
    "claude-3-5-sonnet-latest": "claude-3-5-sonnet-v2@20241022",
}
"""What Google numbers where Anthropic only gives another date."""
_ODD_BACK: Final = {"claude-3-5-sonnet-v2@20241022": "claude-3-5-sonnet-20241022"}
_DATES: Final = {
    "claude-3-5-haiku": "20241022",
    "claude-3-7-sonnet": "20250219",
    "claude-3-opus": "20240229",
    "claude-opus-4": "20250514",
    "claude-opus-4-1": "20250805",
    "claude-opus-4-5": "20251101",
    "claude-sonnet-4": "20250514",
    "claude-sonnet-4-5": "20250929",
    "claude-haiku-4-5": "20251001",
}
"""Of the models that Vertex AI serves by their date: Anthropic's alias names the newest."""


def vertex_id(model: str) -> str:
    """What Vertex AI calls a model; an id of its own, or of no Claude model, as it is."""
    model = model.removesuffix("[1m]")
    if model in _ODD:
        return _ODD[model]
    dated = _DATED.fullmatch(model)
    if dated is None:
        alias = model.removesuffix("-latest").removesuffix("-0")
        return f"{alias}@{_DATES[alias]}" if alias in _DATES else model
    generation = _GENERATION.match(model)
    if generation is None:
        return model
    undated = (int(generation[1]), int(generation[2] or 0)) >= _FIRST_WITHOUT_DATE
    return dated["name"] if undated else f"{dated['name']}@{dated['date']}"


def anthropic_id(model: str) -> str:
    """What Anthropic calls a model of Vertex AI; any other id as it is."""
    if model in _ODD_BACK:
        return _ODD_BACK[model]
    if dated := _VERTEX_DATED.fullmatch(model):
        return f"{dated['name']}-{dated['date']}"
    return model.removesuffix("@default")
