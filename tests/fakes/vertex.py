"""A fake Vertex AI on loopback: tokens are verified, bodies judged as strictly as Claude's servers there do, and its
Claude is the built-in simulator, whose directives in a prompt choose what is answered.

Google's own library and Anthropic's SDK for Vertex AI use it in `tests/fakes/test_vertex.py`, so that it is not shaped
by the gateway alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from gateway.simulator.app import Simulator
from gateway.simulator.line import TRANSPORT
from tests.fakes.asgi import answer, body_of, served
from tests.fakes.google_oauth import TokenService

PROJECT, REGION = "fake-project", "europe-west1"

FIELDS = {
    "anthropic_version",
    "context_management",
    "max_tokens",
    "messages",
    "metadata",
    "output_config",
    "safeguards",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
}
BETAS = {
    "claude-code-20250219",
    "compact-2026-01-12",
    "compact-2026-09-04",
    "computer-use-2025-01-24",
    "context-1m-2025-08-07",
    "context-management-2025-06-27",
    "dangerous-tool-use-2026-09-03",
    "effort-2025-11-24",
    "extended-cache-ttl-2025-04-11",
    "interleaved-thinking-2025-05-14",
    "thinking-token-count-2026-05-13",
    "tool-search-tool-2025-10-19",
    "web-search-2025-03-05",
}
_PATH = re.compile(
    r"/v1/projects/(?P<project>[^/]+)/locations/(?P<region>[^/]+)/publishers/anthropic/models/"
    r"(?P<model>[^/:]+):(?P<how>rawPredict|streamRawPredict)"
)
_VERSION = re.compile(r"vertex-2023-10-16|20\d\d-\d\d-\d\d")
"""Claude Code and the documentation say the first; Anthropic's Python SDK its own API's version, as a date."""
_DATED = re.compile(r"(.+)@(20\d{6})")
_WITH_DATES = {"claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-5", "claude-opus-4-1"}
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


@dataclass(frozen=True)
class Fault:
    """What the next call gets instead of a good answer."""

    status: int = 0
    """Of an error in Google's form; 0 for none."""
    message: str = "Quota exceeded for aiplatform.googleapis.com/online_prediction_input_tokens_per_minute."
    retry_after: int | None = None
    cut_after: int | None = None
    """Close the connection after so many parts of the answer's body."""
    delay: float = 0.0
    """Seconds before anything is answered."""


@dataclass(frozen=True)
class Seen:
    """One request as it came."""

    method: str
    path: str
    """Not decoded."""
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Refusal(Exception):
    """An answer that is an error: in Google's form, or in Anthropic's where Claude's servers speak."""

    def __init__(self, status: int, message: str, *, claude: bool = False, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.claude = claude
        self.retry_after = retry_after

    @property
    def body(self) -> bytes:
        if self.claude:
            error = {"type": "invalid_request_error", "message": str(self)}
            return json.dumps({"type": "error", "error": error, "request_id": "req_vrtx_1"}).encode()
        status = _STATUSES.get(self.status, "UNKNOWN")
        return json.dumps({"error": {"code": self.status, "message": str(self), "status": status}}, indent=2).encode()


class Vertex:
    """One project in one region; the instance is the ASGI callable."""

    def __init__(self) -> None:
        self.tokens = TokenService()
        self.simulator = Simulator()
        self.seen: list[Seen] = []
        self.faults: list[Fault] = []
        self.unserved: set[str] = set()
        """Ids that this project has no access to."""
        self.regions = {REGION, "global"}
        self.url = ""

    @property
    def service_account(self) -> str:
        """The JSON key of the one account that may call it."""
        return json.dumps(self.tokens.service_account(self.url))

    @property
    def predicted(self) -> list[Seen]:
        """The requests for an answer of a model."""
        return [each for each in self.seen if each.path.endswith("awPredict") and "count-tokens" not in each.path]

    def forget(self) -> None:
        """As it was at the start; tokens that were issued stay valid."""
        self.seen.clear()
        self.faults.clear()
        self.unserved.clear()
        self.tokens.failing = None
        self.tokens.lifetime = 3600

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = await body_of(receive)
        path = scope["raw_path"].decode()
        if path == "/token":
            status, said = self.tokens.token(body)
            await answer(send, status, said)
            return
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        self.seen.append(Seen(scope["method"], path, headers, body))
        try:
            await self._answer(scope, headers, unquote(path), body, send)
        except Refusal as refusal:
            again = refusal.retry_after
            headers_too = () if again is None else ((b"retry-after", str(again).encode()),)
            await answer(send, refusal.status, refusal.body, *headers_too)

    async def _answer(self, scope: Any, headers: Mapping[str, str], path: str, body: bytes, send: Any) -> None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not self.tokens.accepts(token):
            raise Refusal(401, "Request had invalid authentication credentials. Expected OAuth 2 access token.")
        if scope["method"] == "GET" and path == "/v1beta1/publishers/anthropic/models":
            models = [
                {"name": f"publishers/anthropic/models/{name}"} for name in ("claude-opus-5-5", "claude-haiku-4-5")
            ]
            await answer(send, 200, json.dumps({"publisherModels": models}).encode())
            return
        called = _PATH.fullmatch(path)
        if scope["method"] != "POST" or called is None:
            raise Refusal(404, f"The requested URL {path} was not found on this server.")
        if called["project"] != PROJECT:
            raise Refusal(403, f"Permission denied on resource project {called['project']}.")
        if called["region"] not in self.regions:
            raise Refusal(404, f"Publisher Model is not servable in region {called['region']}.")
        fault = self.faults.pop(0) if self.faults else Fault()
        await asyncio.sleep(fault.delay)
        if fault.status:
            raise Refusal(fault.status, fault.message, retry_after=fault.retry_after)
        counts = called["model"] == "count-tokens"
        asked = judged(body, headers, counts=counts)
        model = _anthropics(asked["model"] if counts else called["model"])
        if model is None or model in self.unserved:
            raise Refusal(
                404, f"Publisher Model `{called['model']}` was not found or your project has no access to it."
            )
        sent = {name: value for name, value in asked.items() if name != "anthropic_version"}
        await self._claude(scope, counts, {**sent, "model": model}, fault, send)

    async def _claude(self, scope: Any, counts: bool, asked: Mapping[str, Any], fault: Fault, send: Any) -> None:
        """The simulator's answer, on this connection."""
        path = "/v1/messages/count_tokens" if counts else "/v1/messages"
        waiting = [json.dumps(asked).encode()]
        parts = 0

        async def receive() -> dict[str, Any]:
            if waiting:
                return {"type": "http.request", "body": waiting.pop(), "more_body": False}
            await asyncio.Event().wait()
            raise AssertionError("nobody gets here")

        async def passed(message: Any) -> None:
            nonlocal parts
            if message["type"] == "http.response.body" and message.get("body"):
                parts += 1
                if fault.cut_after is not None and parts > fault.cut_after:
                    scope["extensions"][TRANSPORT]["transport"].close()
                    return
            await send(message)

        inner = {**scope, "path": path, "raw_path": path.encode(), "query_string": b""}
        await self.simulator(inner, receive, passed)


def judged(body: bytes, headers: Mapping[str, str], *, counts: bool) -> dict[str, Any]:
    """The body, as Claude's servers there take it."""
    try:
        asked = json.loads(body)
    except ValueError:
        raise Refusal(400, "Invalid JSON payload received.") from None
    known = FIELDS | {"model"} if counts else FIELDS
    for name in asked:
        if name not in known:
            raise Refusal(400, f"{name}: Extra inputs are not permitted", claude=True)
    if not counts and not _VERSION.fullmatch(asked.get("anthropic_version", "")):
        raise Refusal(400, "anthropic_version: Field required", claude=True)
    if not counts and not isinstance(asked.get("max_tokens"), int):
        raise Refusal(400, "max_tokens: Field required", claude=True)
    unknown = [beta for beta in headers.get("anthropic-beta", "").split(",") if beta and beta not in BETAS]
    if unknown:
        message = f"Unexpected value(s) `{unknown[0]}` for the `anthropic-beta` header."
        raise Refusal(400, message, claude=True)
    for index, message in enumerate(asked.get("messages", [])):
        if extra := sorted(set(message) - {"role", "content"}):
            raise Refusal(400, f"messages.{index}.{extra[0]}: Extra inputs are not permitted", claude=True)
    return dict(asked)


def _anthropics(model: str) -> str | None:
    """The simulator's name of a model; None for an id in a spelling that Vertex AI does not know."""
    if dated := _DATED.fullmatch(model):
        return f"{dated[1]}-{dated[2]}"
    if re.search(r"-20\d{6}$", model) or model in _WITH_DATES or not model.startswith("claude-"):
        return None
    return model


@contextlib.contextmanager
def vertex() -> Iterator[Vertex]:
    fake = Vertex()
    with served(fake) as url:
        fake.url = url
        yield fake
