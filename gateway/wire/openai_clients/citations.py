"""Claude's web citations as OpenAI's `url_citation`, which names the stretch of the answer that it stands behind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gateway.wire.openai_clients.events import words
from gateway.wire.openai_clients.fields import JsonObject


def web_citations(citations: object, start: int, end: int) -> Iterator[JsonObject]:
    """For the citations of one text block, which takes the characters from `start` to `end`.

    Only those of the web have an address; the others are left out.
    """
    for citation in citations if isinstance(citations, Iterable) else ():
        if isinstance(citation, dict) and words(citation, "url"):
            yield {
                "type": "url_citation",
                "url": words(citation, "url"),
                "title": words(citation, "title"),
                "start_index": start,
                "end_index": end,
            }
