"""What lies under `/anthropic`: which path and method is which pipeline, and what is answered without a provider."""

from __future__ import annotations

import json

from gateway import errors, pipeline, settle
from gateway.authenticate import authenticate
from gateway.authorize import allowed_models, check_address
from gateway.exchange import Exchange
from gateway.formats.anthropic import ANTHROPIC
from gateway.line import Line
from gateway.surfaces.common import check, opened

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
    exchange.billable = False
    exchange.record.request_class = "models"
    grant = authenticate(exchange)
    check_address(exchange, grant)
    ids = allowed_models(grant, exchange)
    data = [
        {
            "type": "model",
            "id": model,
            "display_name": _display_name(model),
            "created_at": "1970-01-01T00:00:00Z",
        }
        for model in ids
    ]
    body = json.dumps(
        {
            "data": data,
            "has_more": False,
            "first_id": ids[0] if ids else None,
            "last_id": ids[-1] if ids else None,
        }
    ).encode()
    settle.finish(exchange, "success", 200)
    exchange.start(200, [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())])
    exchange.end(body)


def _display_name(model: str) -> str:
    """`claude-opus-5-5` → `Claude Opus 5.5`; a date at the end stays apart: `Claude Haiku 4.5 (20251001)`."""
    parts = model.split("-")
    date = parts.pop() if parts[-1].isdigit() and len(parts[-1]) == 8 else ""
    words = [part.capitalize() for part in parts if not part.isdigit()]
    version = ".".join(part for part in parts if part.isdigit())
    return " ".join([*words, *([version] if version else []), *([f"({date})"] if date else [])])
