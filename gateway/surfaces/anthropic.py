"""What lies under `/anthropic`: which path and method is which pipeline, and what is answered without a provider."""

from __future__ import annotations

from gateway import errors, pipeline
from gateway.authorize import allowed_models
from gateway.exchange import Exchange
from gateway.formats.anthropic import ANTHROPIC
from gateway.line import Line
from gateway.surfaces.common import answer, asks_for_models, check, opened

PREFIX = "/anthropic"


async def anthropic(line: Line) -> None:
    """Answer one request."""
    path = line.path.removeprefix(PREFIX).rstrip("/") or "/"
    exchange = await opened(line, path, ANTHROPIC)
    match line.method, path:
        case "HEAD", "/":
            exchange.start(200, [(b"content-length", b"0")])
            exchange.end()
        case _:
            await pipeline.run(exchange, _dispatch)


async def _dispatch(exchange: Exchange) -> None:
    method = exchange.line.method
    check(exchange)
    match exchange.path:
        case "/v1/messages" | "/v1/messages/count_tokens" if method != "POST":
            raise errors.method_not_allowed(method, PREFIX + exchange.path, "POST")
        case "/v1/messages":
            await pipeline.messages(exchange)
        case "/v1/messages/count_tokens":
            await pipeline.count_tokens(exchange)
        case "/v1/models" if method == "GET":
            await _models(exchange)
        case _:
            raise errors.not_found(method, PREFIX + exchange.path)


async def _models(exchange: Exchange) -> None:
    """`GET /v1/models`: the models of the catalog that this key may use."""
    ids = allowed_models(asks_for_models(exchange), exchange)
    data = [
        {
            "type": "model",
            "id": model,
            "display_name": _display_name(model),
            "created_at": "1970-01-01T00:00:00Z",
        }
        for model in ids
    ]
    first, last = (ids[0], ids[-1]) if ids else (None, None)
    answer(exchange, {"data": data, "has_more": False, "first_id": first, "last_id": last})


def _display_name(model: str) -> str:
    """`claude-opus-5-5` → `Claude Opus 5.5`; a date at the end stays apart: `Claude Haiku 4.5 (20251001)`."""
    parts = model.split("-")
    date = parts.pop() if parts[-1].isdigit() and len(parts[-1]) == 8 else ""
    words = [part.capitalize() for part in parts if not part.isdigit()]
    version = ".".join(part for part in parts if part.isdigit())
    return " ".join([*words, *([version] if version else []), *([f"({date})"] if date else [])])
