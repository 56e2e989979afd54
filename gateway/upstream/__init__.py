"""The HTTP/1.1 client towards providers: `Upstream.open` sends a request, an `UpstreamResponse` gives its answer.

Read on in this order: `client.py` (a request's way), `connection.py` (one connection), `response.py` (an answer as it
is consumed), `pool.py`, `dial.py` (how a connection comes about).
"""

from gateway.upstream.client import Upstream
from gateway.upstream.errors import NotNoted, PrivateAddress, TimedOut, Unanswered, UpstreamError
from gateway.upstream.response import UpstreamResponse

__all__ = ["NotNoted", "PrivateAddress", "TimedOut", "Unanswered", "Upstream", "UpstreamError", "UpstreamResponse"]
