"""What every surface does alike: open the exchange of a request, and check that it can be served at all."""

from __future__ import annotations

import json

from gateway import errors, settle
from gateway.authenticate import authenticate
from gateway.authorize import check_address
from gateway.exchange import Exchange
from gateway.formats.base import Format
from gateway.line import Line
from gateway.runtime import current, running
from governance.domain.access import Grant


async def opened(line: Line, path: str, spoken: Format) -> Exchange:
    """The exchange of one request; `path` is below the surface's prefix."""
    gateway = running() or await current()
    exchange = Exchange.open(gateway, line, path, spoken)
    exchange.record.client_ip = gateway.client_ip(line)
    return exchange


def check(exchange: Exchange) -> None:
    """Raises Refused where the headers are too large, the gateway is starting, or its log takes no more."""
    limit = exchange.gateway.max_header_bytes
    if exchange.headers.size + len(exchange.line.query) > limit:
        raise errors.headers_too_large(limit)
    if exchange.gateway.snapshot.version == 0:
        raise errors.not_ready()
    if not exchange.gateway.recorder.accepting:
        raise errors.log_full()


def asks_for_models(exchange: Exchange) -> Grant:
    """Who asks what there is: free, so neither admitted nor billed. Raises Refused."""
    exchange.billable = False
    exchange.record.request_class = "models"
    grant = authenticate(exchange)
    check_address(exchange, grant)
    return grant


def answer(exchange: Exchange, found: object) -> None:
    """Answer without a provider, as JSON."""
    body = json.dumps(found).encode()
    settle.finish(exchange, "success", 200)
    exchange.start(200, [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())])
    exchange.end(body)
