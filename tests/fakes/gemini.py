"""A fake Gemini API on loopback: it answers by script, and refuses what Gemini refuses of a conversation.

Its rules are from Google's reference of generateContent and its guides to function calling and thought signatures:
roles take turns, each call is answered by a result with its id and name, and from generation 3 on the first call of
each step of the current turn comes back with the signature that it was given.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from gateway.simulator.line import TRANSPORT
from tests.fakes.asgi import answer, body_of, served

KEY = "AIzaFakeGeminiKey"
MODELS = ("gemini-2.5-flash", "gemini-3-pro-preview", "gemini-3.8-flash")
FOREIGN = "skip_thought_signature_validator"

_PATH = re.compile(r"/v1beta/models/(?P<model>[^/:]+):(?P<how>generateContent|streamGenerateContent|countTokens)")
_FIELDS = {"contents", "generationConfig", "systemInstruction", "toolConfig", "tools"}
_CONFIG = {
    "maxOutputTokens",
    "responseJsonSchema",
    "responseMimeType",
    "stopSequences",
    "temperature",
    "thinkingConfig",
    "topK",
    "topP",
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}")
_STATUSES = {400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED"}
_SERVER_STATUSES = {500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}

Part = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """The next answer: its parts, each in an event of its own where it is streamed."""

    parts: Sequence[Part] = ()
    finish: str | None = "STOP"
    """None leaves the reason out, as a stream that is cut does."""
    prompt: int = 100
    cached: int = 0
    thoughts: int = 0
    output: int = 10
    blocked: str = ""
    """Why the prompt is refused instead."""
    status: int = 0
    """Of an error instead; 0 for none."""
    message: str = ""
    error_after: int | None = None
    """Parts after which an error event ends the stream."""
    cut_after: int | None = None
    """Parts after which the connection is closed."""
    delay: float = 0.0
    """Seconds before the answer."""


@dataclass(frozen=True)
class Seen:
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Refusal(Exception):
    def __init__(self, status: int, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason

    @property
    def body(self) -> bytes:
        named = _STATUSES.get(self.status) or _SERVER_STATUSES.get(self.status, "UNKNOWN")
        error: dict[str, Any] = {"code": self.status, "message": str(self), "status": named}
        if self.reason:
            kind = "type.googleapis.com/google.rpc.ErrorInfo"
            error["details"] = [{"@type": kind, "reason": self.reason, "domain": "googleapis.com"}]
        return json.dumps({"error": error}, indent=2).encode()


class Gemini:
    """The instance is the ASGI callable; `steps` are answered one after the other."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.seen: list[Seen] = []
        self.signatures: set[str] = set()
        """Those that were given out."""
        self.url = ""

    def forget(self) -> None:
        self.steps.clear()
        self.seen.clear()
        self.signatures.clear()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = await body_of(receive)
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        query = scope["query_string"].decode()
        self.seen.append(Seen(scope["path"] + (f"?{query}" if query else ""), headers, body))
        try:
            await self._answer(scope, headers, parse_qs(query), body, send)
        except Refusal as refusal:
            await answer(send, refusal.status, refusal.body)

    async def _answer(self, scope: Any, headers: Any, query: dict[str, list[str]], body: bytes, send: Any) -> None:
        if headers.get("x-goog-api-key") != KEY:
            raise Refusal(400, "API key not valid. Please pass a valid API key.", "API_KEY_INVALID")
        if scope["method"] == "GET" and scope["path"] == "/v1beta/models":
            models = [{"name": f"models/{name}"} for name in MODELS]
            await answer(send, 200, json.dumps({"models": models}).encode())
            return
        called = _PATH.fullmatch(scope["path"])
        if called is None or called["model"] not in MODELS:
            raise Refusal(404, f"{scope['path']} is not found for API version v1beta, or is not supported.")
        asked = json.loads(body)
        if called["how"] == "countTokens":
            whole = asked["generateContentRequest"]
            if whole.pop("model") != f"models/{called['model']}":
                raise Refusal(400, "The model does not match.")
            self.judge(whole, called["model"])
            await answer(send, 200, json.dumps({"totalTokens": len(body) // 4, "promptTokensDetails": []}).encode())
            return
        step = self.steps.pop(0) if self.steps else Step([{"text": "nothing was scripted"}])
        await asyncio.sleep(step.delay)
        if step.status:
            raise Refusal(step.status, step.message or "Scripted.")
        self.judge(asked, called["model"])
        for part in step.parts:
            if signature := part.get("thoughtSignature"):
                self.signatures.add(signature)
        if called["how"] == "generateContent":
            await answer(send, 200, json.dumps(_answer(called["model"], step, step.parts, last=True)).encode())
            return
        if query.get("alt") != ["sse"]:
            raise Refusal(400, "The stream would be a JSON array.")
        await self._stream(scope, called["model"], step, send)

    async def _stream(self, scope: Any, model: str, step: Step, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        count = max(1, len(step.parts))
        for number in range(count):
            if step.cut_after == number:
                scope["extensions"][TRANSPORT]["transport"].close()
                return
            if step.error_after == number:
                error = Refusal(503, "The model is overloaded. Please try again later.").body
                await _event(send, json.dumps(json.loads(error)))
                break
            parts = step.parts[number : number + 1]
            await _event(send, json.dumps(_answer(model, step, parts, last=number == count - 1)))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def judge(self, asked: dict[str, Any], model: str) -> None:
        """Refuse what Gemini refuses."""
        for name in asked:
            if name not in _FIELDS:
                raise Refusal(400, f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')
        config = asked.get("generationConfig", {})
        for name in config:
            if name not in _CONFIG:
                raise Refusal(400, f'Unknown name "{name}" at generation_config: Cannot find field.')
        thinking = config.get("thinkingConfig", {})
        if {"thinkingLevel", "thinkingBudget"} <= set(thinking):
            raise Refusal(400, "You can only set only one of thinking budget and thinking level.")
        if "thinkingLevel" in thinking and model.startswith("gemini-2"):
            raise Refusal(400, "Thinking level is not supported for this model.")
        for tool in asked.get("tools", []):
            for function in tool["functionDeclarations"]:
                if not _NAME.fullmatch(function["name"]) or "$schema" in function["parametersJsonSchema"]:
                    raise Refusal(400, f"Invalid function declaration {function['name']}.")
        self._judge_contents(asked["contents"], model)

    def _judge_contents(self, contents: list[dict[str, Any]], model: str) -> None:
        if not contents or contents[-1]["role"] != "user":
            raise Refusal(400, "Please ensure that single turn requests end with a user role.")
        turn = 0
        for number, content in enumerate(contents):
            expected = "user" if number % 2 == 0 else "model"
            if content["role"] != expected or not content["parts"]:
                raise Refusal(400, f"contents[{number}]: the roles user and model take turns, none without parts.")
            calls = [part["functionCall"] for part in content["parts"] if "functionCall" in part]
            results = [part["functionResponse"] for part in content["parts"] if "functionResponse" in part]
            if content["role"] == "user" and len(results) < len(content["parts"]):
                turn = number
            if calls:
                answers = [
                    part["functionResponse"] for part in contents[number + 1]["parts"] if "functionResponse" in part
                ]
                if sorted((call["id"], call["name"]) for call in calls) != sorted(
                    (each["id"], each["name"]) for each in answers
                ):
                    raise Refusal(
                        400, "Please ensure that the number of function response parts equals that of function calls."
                    )
        if model.startswith("gemini-2"):
            return
        for number in range(turn + 1, len(contents)):
            calls = [part for part in contents[number]["parts"] if "functionCall" in part]
            if calls and calls[0].get("thoughtSignature") not in self.signatures | {FOREIGN}:
                name = calls[0]["functionCall"]["name"]
                raise Refusal(
                    400, f"Function call `{name}` in the {number}. content block is missing a thought_signature."
                )


def _answer(model: str, step: Step, parts: Sequence[Part], *, last: bool) -> dict[str, Any]:
    usage: dict[str, Any] = {"promptTokenCount": step.prompt, "totalTokenCount": step.prompt + step.output}
    if step.cached:
        usage["cachedContentTokenCount"] = step.cached
    if last:
        usage["candidatesTokenCount"] = step.output
    if step.thoughts:
        usage["thoughtsTokenCount"] = step.thoughts
    made: dict[str, Any] = {"usageMetadata": usage, "modelVersion": model, "responseId": "resp-fake-1"}
    if step.blocked:
        return {"promptFeedback": {"blockReason": step.blocked}, **made}
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    if last and step.finish is not None:
        candidate["finishReason"] = step.finish
    return {"candidates": [candidate], **made}


async def _event(send: Any, data: str) -> None:
    await send({"type": "http.response.body", "body": f"data: {data}\r\n\r\n".encode(), "more_body": True})


@contextlib.contextmanager
def gemini() -> Iterator[Gemini]:
    fake = Gemini()
    with served(fake) as url:
        fake.url = url
        yield fake
