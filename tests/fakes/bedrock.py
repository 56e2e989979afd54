"""A fake Amazon Bedrock on loopback: signatures and API keys are verified, bodies are judged as strictly as Bedrock
does, and its Claude is the built-in simulator, whose directives in a prompt choose what is answered.

Its frames, signatures and refusals are written here from AWS's descriptions and used by botocore's own client in
`tests/fakes/test_bedrock.py`, so that it is not shaped by the gateway alone.
"""

from __future__ import annotations

import asyncio
import binascii
import contextlib
import json
import struct
import threading
import uuid
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote

from anthropic._constants import ANTHROPIC_API_VERSION

from gateway.simulator.app import Simulator
from gateway.simulator.line import Cut
from governance.domain.bedrock_ids import anthropic_id, is_bedrock_id, split_prefix
from tests.fakes.sigv4 import Denied, Key, verify

REGION = "eu-central-1"
ACCESS_KEY, SECRET_KEY = "AKIAFAKEBEDROCK00001", "fake/secret+key"
API_KEY = "bedrock-api-key-fake"
ROLE = "arn:aws:iam::123456789012:role/comptroller"
ASSUMED, ASSUMED_SECRET, ASSUMED_TOKEN = "ASIAFAKEBEDROCK00002", "temporary-secret", "temporary/token=="

FIELDS = {
    "anthropic_version",
    "anthropic_beta",
    "max_tokens",
    "messages",
    "metadata",
    "output_config",
    "safeguards",
    "stop_sequences",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
    "context_management",
}
BETAS = {
    "claude-code-20250219",
    "compact-2026-01-12",
    "computer-use-2025-01-24",
    "context-1m-2025-08-07",
    "dangerous-tool-use-2026-09-03",
    "effort-2025-11-24",
    "extended-cache-ttl-2025-04-11",
    "fine-grained-tool-streaming-2025-05-14",
    "interleaved-thinking-2025-05-14",
    "mid-conversation-output-config-2026-07-01",
    "mid-conversation-tool-changes-2026-07-01",
    "thinking-token-count-2026-05-13",
    "tool-search-tool-2025-10-19",
}
_STATUSES = {
    "AccessDeniedException": 403,
    "ExpiredTokenException": 403,
    "InternalServerException": 500,
    "InvalidSignatureException": 403,
    "MissingAuthenticationTokenException": 403,
    "ModelErrorException": 424,
    "ModelNotReadyException": 429,
    "ModelTimeoutException": 408,
    "ResourceNotFoundException": 404,
    "ServiceQuotaExceededException": 400,
    "ServiceUnavailableException": 503,
    "ThrottlingException": 429,
    "UnrecognizedClientException": 403,
    "ValidationException": 400,
}
_IN_STREAM = {
    "overloaded_error": "serviceUnavailableException",
    "rate_limit_error": "throttlingException",
    "invalid_request_error": "validationException",
    "api_error": "internalServerException",
}
_ANSWERED = {400: "ValidationException", 404: "ResourceNotFoundException", 429: "ThrottlingException"}


@dataclass(frozen=True)
class Fault:
    """What the next invocation gets instead of a good answer."""

    kind: str = "ThrottlingException"
    message: str = "Too many requests, please wait before trying again."
    frames: int | None = None
    """Whole frames before it, in a stream; None refuses the request itself."""
    cut: bool = False
    """Close the connection in the middle of the next frame instead of saying anything."""
    corrupt: bool = False
    """Send the next frame with a wrong checksum instead."""
    delay: float = 0.0
    """Seconds before the first byte."""
    streams: bool = False
    """Whether it waits for a request that streams."""


@dataclass(frozen=True)
class Seen:
    """One request as it came."""

    method: str
    target: str
    """Path and query, not decoded."""
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Bedrock:
    """One region of it, on one port; also the token service that its roles are assumed at."""

    def __init__(self) -> None:
        self.keys = {
            ACCESS_KEY: Key(SECRET_KEY),
            "ASIAFAKEBEDROCK00003": Key("session-secret", "session/token=="),
            "ASIAFAKEBEDROCK00004": Key("expired-secret", "expired/token==", expired=True),
        }
        self.api_keys = {API_KEY}
        self.unserved: set[str] = set()
        """Ids that this account has no access to."""
        self.seen: list[Seen] = []
        self.faults: list[Fault] = []
        self.assumed: list[dict[str, str]] = []
        self.lifetime = 3600
        """Seconds that the keys of an assumed role last."""
        self.slow_tokens = 0.0
        """Seconds before the token service answers."""
        self.broken_tokens = False
        """Whether the token service answers as none does."""
        self.simulator = Simulator()
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake bedrock", daemon=True)
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def invoked(self) -> list[Seen]:
        """The requests for an answer of a model."""
        return [each for each in self.seen if "/invoke" in each.target]

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def forget(self) -> None:
        """As it was at the start."""
        self.seen.clear()
        self.faults.clear()
        self.assumed.clear()
        self.unserved.clear()
        self.lifetime, self.slow_tokens, self.broken_tokens = 3600, 0.0, False

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request, headers = await _request(reader)
                self.seen.append(request)
                await self._answer(request, headers, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, Cut):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _answer(self, request: Seen, headers: list[tuple[str, str]], writer: asyncio.StreamWriter) -> None:
        path = request.target.partition("?")[0]
        try:
            self._authenticate(request, headers)
            match request.method, [unquote(part) for part in path.strip("/").split("/")]:
                case "POST", ["model", model, "count-tokens"]:
                    await _send(writer, 200, await self._count(model, request.json))
                case "POST", ["model", model, ("invoke" | "invoke-with-response-stream") as action]:
                    await self._invoke(model, request, action != "invoke", writer)
                case "GET", ["foundation-models"]:
                    await _send(writer, 200, {"modelSummaries": [_model("anthropic.claude-opus-5-5", "ON_DEMAND")]})
                case "GET", ["inference-profiles"]:
                    await _send(writer, 200, {"inferenceProfileSummaries": [_profile("eu.anthropic.claude-opus-5-5")]})
                case "POST", [""]:
                    await self._assume(request, writer)
                case _:
                    raise Refusal("ResourceNotFoundException", f"No such operation: {request.method} {path}")
        except (Refusal, Denied) as refusal:
            await _send(writer, _STATUSES[refusal.kind], {"message": str(refusal)}, refusal.kind)

    def _authenticate(self, request: Seen, headers: list[tuple[str, str]]) -> None:
        scheme, _, presented = request.headers.get("authorization", "").partition(" ")
        if scheme == "Bearer":
            if presented not in self.api_keys:
                raise Refusal("AccessDeniedException", "Authentication failed: Please make sure your API Key is valid.")
            return
        if self.broken_tokens and request.target == "/":
            raise Refusal("InternalServerException", "This is not XML.")
        services = ["sts"] if request.target == "/" else ["bedrock"]
        verify(self.keys, request.method, request.target, headers, request.body, region=REGION, services=services)

    async def _assume(self, request: Seen, writer: asyncio.StreamWriter) -> None:
        """The token service's AssumeRole."""
        asked = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        self.assumed.append(asked)
        await asyncio.sleep(self.slow_tokens)
        if asked["RoleArn"] != ROLE:
            error = (
                '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
                f"<Code>AccessDenied</Code><Message>Not authorized for {asked['RoleArn']}</Message></Error>"
                "</ErrorResponse>"
            )
            await _whole(writer, 403, error.encode(), "text/xml")
            return
        self.keys[ASSUMED] = Key(ASSUMED_SECRET, ASSUMED_TOKEN)
        until = (datetime.now(UTC) + timedelta(seconds=self.lifetime)).strftime("%Y-%m-%dT%H:%M:%SZ")
        answer = (
            '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>'
            f"<AssumedRoleUser><AssumedRoleId>AROA:x</AssumedRoleId><Arn>{ROLE}/x</Arn></AssumedRoleUser><Credentials>"
            f"<AccessKeyId>{ASSUMED}</AccessKeyId><SecretAccessKey>{ASSUMED_SECRET}</SecretAccessKey>"
            f"<SessionToken>{ASSUMED_TOKEN}</SessionToken><Expiration>{until}</Expiration></Credentials>"
            "</AssumeRoleResult></AssumeRoleResponse>"
        ).encode()
        await _whole(writer, 200, answer, "text/xml")

    async def _count(self, model: str, body: Any) -> dict[str, int]:
        self._known(model)
        if model.startswith("arn:") or split_prefix(model)[0]:
            raise Refusal("ValidationException", "The provided model doesn't support counting tokens.")
        counted = json.loads(b64decode(body["input"]["invokeModel"]["body"], validate=True))
        judge(counted, {})
        answer = await self._claude("/v1/messages/count_tokens", {**counted, "model": anthropic_id(model)}, {})
        return {"inputTokens": json.loads(answer.body)["input_tokens"]}

    async def _invoke(self, model: str, request: Seen, stream: bool, writer: asyncio.StreamWriter) -> None:
        due = bool(self.faults) and (stream or not self.faults[0].streams)
        fault = self.faults.pop(0) if due else None
        if fault is not None:
            await asyncio.sleep(fault.delay)
            if fault.cut and fault.frames is None:
                raise Cut("the script cuts")
            if fault.frames is None:
                raise Refusal(fault.kind, fault.message)
        self._known(model)
        judge(request.json, request.headers)
        claude = await self._claude(
            "/v1/messages", {**request.json, "model": anthropic_id(model), "stream": stream}, request.headers
        )
        if claude.status != 200:
            kind = _ANSWERED.get(claude.status, "ServiceUnavailableException")
            raise Refusal(kind, json.loads(claude.body)["error"]["message"])
        if not stream:
            await _whole(writer, 200, claude.body, "application/json")
            return
        await self._stream(claude, fault, writer)

    async def _stream(self, claude: Claude, fault: Fault | None, writer: asyncio.StreamWriter) -> None:
        writer.write(_head(200, "application/vnd.amazon.eventstream", "transfer-encoding: chunked"))
        sent = 0
        async for name, data in claude.events():
            if name == "ping":
                continue
            frame = _frame_of(name, data)
            if fault is not None and sent == fault.frames:
                if fault.cut:
                    writer.write(_part(frame[: len(frame) // 2]))
                    await writer.drain()
                    raise Cut("the script cuts")
                frame = (
                    frame[:-1] + bytes([frame[-1] ^ 1]) if fault.corrupt else exception_frame(fault.kind, fault.message)
                )
                writer.write(_part(frame) + b"0\r\n\r\n")
                await writer.drain()
                return
            writer.write(_part(frame))
            await writer.drain()
            sent += 1
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    def _known(self, model: str) -> None:
        if model in self.unserved:
            raise Refusal("AccessDeniedException", "You don't have access to the model with the specified model ID.")
        if not is_bedrock_id(model):
            raise Refusal("ValidationException", "The provided model identifier is invalid.")

    async def _claude(self, path: str, body: dict[str, Any], headers: Mapping[str, str]) -> Claude:
        """Ask the simulator, whose answer may be the beginning of a stream."""
        asked = {name: body[name] for name in body if name not in {"anthropic_version", "anthropic_beta"}}
        claude = Claude(self.simulator, path, json.dumps(asked).encode(), headers)
        await claude.begin()
        return claude


class Claude:
    """One call of the simulator as an application in this process."""

    def __init__(self, simulator: Simulator, path: str, body: bytes, headers: Mapping[str, str]) -> None:
        self.status = 0
        self.body = b""
        self._queue: asyncio.Queue[tuple[bytes, bool]] = asyncio.Queue()
        self._begun = asyncio.Event()
        self._sent = body
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [
                (name.encode(), value.encode())
                for name, value in headers.items()
                if name not in {"authorization", "x-amz-security-token"}
            ],
            "client": ("127.0.0.1", 1),
            "http_version": "1.1",
        }
        self._task = asyncio.create_task(simulator(scope, self._receive, self._send))  # type: ignore[arg-type]
        self._task.add_done_callback(lambda _: (self._begun.set(), self._queue.put_nowait((b"", True))))

    async def begin(self) -> None:
        """Wait for the status, and for the whole body where it is no stream."""
        await self._begun.wait()
        if not self.status:
            self._task.result()
        if not self._streams:
            self.body = b"".join([part async for part in self._parts()])

    async def events(self) -> AsyncIterator[tuple[str, str]]:
        """(name, data) of each event. Raises Cut where the script cuts."""
        rest = ""
        async for part in self._parts():
            *whole, rest = (rest + part.decode()).split("\n\n")
            for block in whole:
                lines = dict(line.split(": ", 1) for line in block.splitlines())
                yield lines["event"], lines["data"]

    async def _parts(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            part, last = await self._queue.get()
            more = not last
            yield part
        if self._task.done():
            self._task.result()

    async def _receive(self) -> dict[str, Any]:
        if self._sent:
            body, self._sent = self._sent, b""
            return {"type": "http.request", "body": body, "more_body": False}
        await asyncio.Event().wait()
        raise AssertionError("nobody gets here")

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            kinds = dict(message["headers"])
            self._streams = kinds.get(b"content-type", b"").startswith(b"text/event-stream")
            self._begun.set()
        else:
            await self._queue.put((message.get("body", b""), not message.get("more_body", False)))

    _streams = False


# --- what Bedrock refuses ---------------------------------------------------------------------------------------------
def judge(body: Any, headers: Mapping[str, str]) -> None:
    if not isinstance(body, dict):
        raise Refusal("ValidationException", "Malformed input request, please reformat your input and try again.")
    for name in body:
        if name not in FIELDS and not name.startswith("amazon-bedrock-"):
            raise Refusal(
                "ValidationException",
                f"Malformed input request: #: extraneous key [{name}] is not permitted, please reformat your input "
                "and try again.",
            )
    # Anthropic's own SDK says the version of Anthropic's API.
    if body.get("anthropic_version") not in {"bedrock-2023-05-31", ANTHROPIC_API_VERSION}:
        raise Refusal("ValidationException", 'anthropic_version: Input should be "bedrock-2023-05-31"')
    if not isinstance(body.get("max_tokens"), int):
        raise Refusal("ValidationException", "max_tokens: Field required")
    if body.get("tools") == []:
        raise Refusal("ValidationException", "tools: List should have at least 1 item")
    asked = [*body.get("anthropic_beta", []), *filter(None, headers.get("anthropic-beta", "").split(","))]
    if set(asked) - BETAS:
        raise Refusal("ValidationException", "invalid beta flag")
    edits = body.get("context_management", {}).get("edits", [])
    if any(not edit["type"].startswith("compact_") for edit in edits):
        raise Refusal("ValidationException", "context_management: Extra inputs are not permitted")
    for index, message in enumerate(body.get("messages", [])):
        more = set(message) - {"role", "content"}
        if "mid-conversation-output-config-2026-07-01" in asked:
            more.discard("output_config")
        if more:
            extra = min(more)
            raise Refusal("ValidationException", f"messages.{index}.{extra}: Extra inputs are not permitted")


# --- bytes ------------------------------------------------------------------------------------------------------------
async def _request(reader: asyncio.StreamReader) -> tuple[Seen, list[tuple[str, str]]]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    values = {name.lower(): value for name, value in headers}
    body = await reader.readexactly(int(values.get("content-length", "0")))
    return Seen(method, target, values, body), headers


def _head(status: int, kind: str, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"content-type: {kind}", f"x-amzn-requestid: {uuid.uuid4()}", *headers, "", ""]
    return "\r\n".join(lines).encode()


async def _send(writer: asyncio.StreamWriter, status: int, body: Any, kind: str = "") -> None:
    extra = [f"x-amzn-errortype: {kind}:http://internal.amazon.com/coral/com.amazon.bedrock/"] if kind else []
    await _whole(writer, status, json.dumps(body).encode(), "application/json", *extra)


async def _whole(writer: asyncio.StreamWriter, status: int, body: bytes, kind: str, *headers: str) -> None:
    writer.write(_head(status, kind, f"content-length: {len(body)}", *headers) + body)
    await writer.drain()


def _part(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _frame_of(name: str, data: str) -> bytes:
    """An event of Claude's as a frame; what ends a message carries Bedrock's metrics."""
    if name == "error":
        error = json.loads(data)["error"]
        return exception_frame(_IN_STREAM.get(error["type"], "internalServerException"), error["message"])
    if name == "message_stop":
        metrics = {"inputTokenCount": 1, "outputTokenCount": 1, "invocationLatency": 1, "firstByteLatency": 1}
        data = json.dumps({**json.loads(data), "amazon-bedrock-invocationMetrics": metrics})
    return chunk_frame(data.encode())


def chunk_frame(data: bytes) -> bytes:
    payload = json.dumps({"bytes": b64encode(data).decode(), "p": "abcdefghij"}).encode()
    kinds = {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}
    return raw_frame(kinds, payload)


def exception_frame(kind: str, message: str) -> bytes:
    kinds = {
        ":exception-type": kind[0].lower() + kind[1:],
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    return raw_frame(kinds, json.dumps({"message": message}).encode())


def raw_frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    fields = bytearray()
    for name, value in headers.items():
        fields += bytes([len(name)]) + name.encode() + b"\x07" + struct.pack("!H", len(value.encode()))
        fields += value.encode()
    start = struct.pack("!II", 12 + len(fields) + len(payload) + 4, len(fields))
    start += struct.pack("!I", binascii.crc32(start))
    whole = start + bytes(fields) + payload
    return whole + struct.pack("!I", binascii.crc32(whole))


def _model(name: str, kind: str) -> dict[str, Any]:
    return {
        "modelArn": f"arn:aws:bedrock:{REGION}::foundation-model/{name}",
        "modelId": name,
        "providerName": "Anthropic",
        "inferenceTypesSupported": [kind],
    }


def _profile(name: str) -> dict[str, Any]:
    base = name.partition(".")[2]
    return {
        "inferenceProfileName": name,
        "inferenceProfileArn": f"arn:aws:bedrock:{REGION}:123456789012:inference-profile/{name}",
        "inferenceProfileId": name,
        "models": [{"modelArn": f"arn:aws:bedrock:{REGION}::foundation-model/{base}"}],
        "status": "ACTIVE",
        "type": "SYSTEM_DEFINED",
    }


@contextlib.contextmanager
def bedrock() -> Iterator[Bedrock]:
    fake = Bedrock()
    fake.start()
    try:
        yield fake
    finally:
        fake.stop()
