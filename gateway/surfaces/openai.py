"""What lies under `/openai`: chat completions, responses and models for the clients of OpenAI's API."""

from __future__ import annotations

from typing import Final

from gateway import errors, pipeline
from gateway.authorize import allowed_models
from gateway.exchange import Exchange
from gateway.formats.base import Format
from gateway.formats.openai_chat import OpenAIChat
from gateway.formats.openai_responses import OpenAIResponses
from gateway.line import Line
from gateway.surfaces.common import answer, asks_for_models, check, opened
from gateway.wire.headers import Headers

PREFIX = "/openai"

_SERVED: Final = "POST /openai/v1/chat/completions, POST /openai/v1/responses and GET /openai/v1/models"
_OWN_SESSION: Final = b"x-claude-code-session-id"
_SESSIONS: Final = (b"x-session-id", b"session_id", b"session-id")
"""Headers that name a conversation: by choice, and as OpenAI's own command line sends it."""


async def openai(line: Line) -> None:
    """Answer one request."""
    path = line.path.removeprefix(PREFIX).rstrip("/") or "/"
    spoken: Format = OpenAIResponses() if path.startswith("/v1/responses") else OpenAIChat()
    exchange = await opened(line, path, spoken)
    exchange.headers = _with_session(exchange.headers)
    await pipeline.run(exchange, _dispatch)


async def _dispatch(exchange: Exchange) -> None:
    method, path = exchange.line.method, exchange.path
    check(exchange)
    match path:
        case "/v1/chat/completions" | "/v1/responses" if method != "POST":
            raise errors.method_not_allowed(method, PREFIX + path, "POST")
        case "/v1/chat/completions" | "/v1/responses":
            await pipeline.messages(exchange)
        case "/v1/models" if method == "GET":
            await _models(exchange, None)
        case _ if method == "GET" and path.startswith("/v1/models/"):
            await _models(exchange, path.removeprefix("/v1/models/"))
        case _:
            raise errors.not_found(method, PREFIX + path, _SERVED)


async def _models(exchange: Exchange, asked: str | None) -> None:
    """`GET /v1/models`: the models of the catalog that this key may use; one of them where one is asked for."""
    ids = allowed_models(asks_for_models(exchange), exchange)
    models = [{"id": model, "object": "model", "created": 0, "owned_by": "comptroller"} for model in ids]
    if asked is None:
        answer(exchange, {"object": "list", "data": models})
    elif asked in ids:
        answer(exchange, models[ids.index(asked)])
    else:
        raise errors.model_not_found(asked)


def _with_session(headers: Headers) -> Headers:
    """The headers with the session where attribution looks for it. The body may name one too (`prefix.py`)."""
    if _OWN_SESSION in headers:
        return headers
    named = next((value for value in headers.values(_SESSIONS) if value), None)
    return headers if named is None else Headers([*headers.raw, (_OWN_SESSION, named)])
