"""What one process serves: everything, the data plane alone, or what people use; each answers for what it does not."""

from __future__ import annotations

from enum import StrEnum

from django.conf import settings

from gateway import errors
from gateway.line import Line
from gateway.line.asgi import Receive, Scope, Send
from governance.domain.ids import new_ulid

PROBES = ("/healthz", "/readyz", "/metrics")
HINTS = ("/v1/messages", "/v1/models")
"""Asked by a client whose address lacks the prefix: both roles tell it so."""


class Role(StrEnum):
    """`--role` of `gateway.serve` and, with WORKER, of `up`."""

    ALL = "all"
    GATEWAY = "gateway"
    WEB = "web"
    WORKER = "worker"

    @property
    def serves_data_plane(self) -> bool:
        return self in {Role.ALL, Role.GATEWAY}

    @property
    def serves_people(self) -> bool:
        return self in {Role.ALL, Role.WEB}

    @property
    def serves_http(self) -> bool:
        return self is not Role.WORKER


def is_for_both(path: str) -> bool:
    """What Django answers in the gateway role, too."""
    return path in PROBES or any(path == hint or path.startswith(f"{hint}/") for hint in HINTS)


async def not_for_clients(line: Line) -> None:
    """The web role's answer to a model call, in the form that its client reads."""
    answer = errors.Answer(
        404,
        "not_found_error",
        f"This process serves the admin and the API only. Set ANTHROPIC_BASE_URL={settings.GATEWAY_URL}/anthropic",
        errors.NO_RETRY,
    )
    request_id = new_ulid()
    body = answer.body(request_id)
    fixed = [(b"request-id", request_id.encode()), (b"content-type", b"application/json")]
    line.start(answer.status, [*fixed, (b"content-length", str(len(body)).encode()), *answer.headers])
    line.end(body)


async def not_for_people(scope: Scope, receive: Receive, send: Send) -> None:
    """The gateway role's answer to everything that is not a model call."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 4404})
        return
    body = f"This process serves model calls only. The admin, the API and /me/ are at {settings.PUBLIC_URL}\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 404, "headers": headers})
    await send({"type": "http.response.body", "body": body})
