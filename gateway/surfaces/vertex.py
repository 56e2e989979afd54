"""What lies under `/vertex`: the calls that Claude Code and Anthropic's SDK make in Vertex AI's format.

Project and region stand in the path because the format has them there; they choose nothing here.
"""

from __future__ import annotations

import re
from typing import Final

from gateway import errors, pipeline
from gateway.exchange import Exchange
from gateway.formats.vertex import VERTEX, VERTEX_COUNT
from gateway.line import Line
from gateway.surfaces.common import check, opened
from governance.domain.vertex_ids import anthropic_id

PREFIX = "/vertex"

_CALL: Final = re.compile(
    r"/(?:v1(?:beta1)?/)?projects/[^/]+/locations/[^/]+/publishers/anthropic"
    r"(?P<called>/models/(?P<model>[^/:]+):(?P<how>rawPredict|streamRawPredict))"
)
_COUNT: Final = "count-tokens"
_SERVED: Final = (
    "POST /vertex/v1/projects/P/locations/R/publishers/anthropic/models/MODEL:streamRawPredict, :rawPredict and "
    "models/count-tokens:rawPredict"
)


async def vertex(line: Line) -> None:
    """Answer one request."""
    path = line.path.removeprefix(PREFIX).rstrip("/") or "/"
    found = _CALL.fullmatch(path)
    model = found["model"] if found else ""
    exchange = await opened(line, found["called"] if found else path, VERTEX_COUNT if model == _COUNT else VERTEX)
    if found and model != _COUNT:
        exchange.path_model = anthropic_id(model)
        exchange.path_stream = found["how"] == "streamRawPredict"
        if exchange.path_model != model:
            exchange.own_model = model
    match line.method, path:
        case "HEAD", "/":
            exchange.start(200, [(b"content-length", b"0")])
            exchange.end()
        case _:
            await pipeline.run(exchange, _dispatch)


async def _dispatch(exchange: Exchange) -> None:
    method, called = exchange.line.method, exchange.path
    check(exchange)
    if not exchange.path_model and exchange.format is not VERTEX_COUNT:
        raise errors.not_found(method, PREFIX + called, _SERVED)
    if method != "POST":
        raise errors.method_not_allowed(method, PREFIX + called, "POST")
    if exchange.format is VERTEX_COUNT:
        await pipeline.count_tokens(exchange)
    else:
        await pipeline.messages(exchange)
