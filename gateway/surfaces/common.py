"""What every surface does alike: open the exchange of a request, and check that it can be served at all."""

from __future__ import annotations

from gateway import errors
from gateway.exchange import Exchange
from gateway.formats.base import Format
from gateway.line import Line
from gateway.runtime import current, running


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
