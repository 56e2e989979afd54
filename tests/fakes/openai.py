"""A server of OpenAI's two APIs on loopback: strict about requests, scripted by markers in the prompt.

A user message may say `[[openai: {"steps": [...]}]]`; the first answer after it plays the first step, the next one the
second, and so on. A step is an object: `text`, `reasoning`, `calls` (a list of `{"name", "arguments"}`), `usage`
(fields put over the counted ones, or false for none), `error_after` or `cut_after` (so many chunks), `finish` (why).
The prompt cache is OpenAI's: the longest beginning that an earlier request had, from 1,024 tokens in steps of 128.

`refused` judges requests by OpenAI's published rules and its SDK's own types, not by what our translation writes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Any

from aiohttp import web
from openai.types.chat import (
    ChatCompletionMessageParam,
    ChatCompletionToolChoiceOptionParam,
    ChatCompletionToolUnionParam,
    completion_create_params,
)
from pydantic import TypeAdapter, ValidationError

from tests.fakes import openai_responses as responses

KEY = "sk-openai-test"
MODEL = "gpt-5"
SERVED = "gpt-5-2025-08-07"
CHARACTERS_PER_TOKEN = 4

_MESSAGE = TypeAdapter(ChatCompletionMessageParam)
_TOOL = TypeAdapter(ChatCompletionToolUnionParam)
_CHOICE = TypeAdapter(ChatCompletionToolChoiceOptionParam)
_FIELDS = set(completion_create_params.CompletionCreateParamsBase.__annotations__) | {"stream"}
_WANTS_RESPONSES = re.compile(r"gpt-5\.[4-9]")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class FakeOpenAI:
    """Runs in a thread of its own while it is entered; `bodies` are the requests that came, oldest first."""

    def __init__(self, *, usage: bool = True) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.raw: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.failures: deque[tuple[int, Any]] = deque()
        """(status, body) of the next answers, before any script."""
        self.usage = usage
        """False for a server that never tells what was used."""
        self.port = 0
        self._prompts: list[str] = []
        self._answers = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._stop = asyncio.Event()

    @property
    def url(self) -> str:
        """Up to `/v1`."""
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> FakeOpenAI:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        for prefix in ("/v1", "/openai/v1", "/openai/deployments/{deployment}"):
            app.router.add_post(f"{prefix}/chat/completions", self._chat)
        for prefix in ("/v1", "/openai/v1", "/openai"):
            app.router.add_post(f"{prefix}/responses", self._respond)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/openai/v1/models", self._models)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    def _allowed(self, request: web.Request) -> bool:
        azure = request.path.startswith("/openai/")
        given = request.headers.get("api-key" if azure else "authorization", "")
        return given == (KEY if azure else f"Bearer {KEY}")

    async def _models(self, request: web.Request) -> web.Response:
        if not self._allowed(request):
            return failed(401, f"Incorrect API key provided: {KEY[:5]}***.", code="invalid_api_key")
        models = [{"id": name, "object": "model", "created": 1, "owned_by": "openai"} for name in (MODEL, "gpt-4o")]
        return web.json_response({"object": "list", "data": models})

    async def _read(self, request: web.Request) -> dict[str, Any] | web.Response:
        """The body, or what is said against it."""
        raw = await request.read()
        self.raw.append(raw)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.paths.append(request.path_qs)
        if not self._allowed(request):
            return failed(401, "Incorrect API key provided.", code="invalid_api_key")
        body: dict[str, Any] = json.loads(raw)
        self.bodies.append(body)
        if self.failures:
            status, answer = self.failures.popleft()
            return web.json_response(answer, status=status, headers={"x-request-id": "req_failed"})
        return body

    def _headers(self) -> dict[str, str]:
        return {
            "x-request-id": f"req_{self._answers:06d}",
            "openai-organization": "org-ours",
            "x-ratelimit-remaining-tokens": "1",
        }

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        body = await self._read(request)
        if isinstance(body, web.Response):
            return body
        if (why := responses.refused(body)) is not None:
            return failed(400, why)
        step = step_of(body["input"], {tool["name"] for tool in body.get("tools", ())})
        usage = self._count(body, body["input"], step)
        self._answers += 1
        head = responses.head(f"resp_{self._answers:06d}", body["model"], body)
        if not body.get("stream"):
            return web.json_response(responses.whole(step, head, usage), headers=self._headers())
        response = web.StreamResponse(headers={**self._headers(), "content-type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        for event in responses.events(step, head, usage):
            await response.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
        await response.write_eof()
        return response

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await self._read(request)
        if isinstance(body, web.Response):
            return body
        if (why := refused(body)) is not None:
            return failed(400, why)
        step = step_of(body["messages"], {tool["function"]["name"] for tool in body.get("tools", ())})
        usage = self._count(body, body["messages"], step)
        self._answers += 1
        head = {
            "id": f"chatcmpl-{self._answers:06d}",
            "created": 1_790_000_000,
            "model": SERVED if body["model"] == MODEL else body["model"],
            "service_tier": "default",
            "system_fingerprint": "fp_1",
        }
        headers = self._headers()
        if not body.get("stream"):
            answer = {**head, "object": "chat.completion", **_whole(step, head["id"]), **_given(usage)}
            return web.json_response(answer, headers=headers)
        response = web.StreamResponse(headers={**headers, "content-type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        told = usage if (body.get("stream_options") or {}).get("include_usage") else None
        async for chunk in _chunks(step, {**head, "object": "chat.completion.chunk"}, told):
            if chunk is None:
                assert request.transport is not None
                request.transport.abort()
                break
            await response.write(b"data: " + chunk + b"\n\n")
        else:
            with contextlib.suppress(ConnectionResetError):
                await response.write_eof()
        return response

    def _count(self, body: dict[str, Any], said: list[Any], step: dict[str, Any]) -> dict[str, Any] | None:
        prompt = json.dumps([body.get("tools"), *said], sort_keys=True).removesuffix("]")
        shared = max((_shared(prompt, earlier) for earlier in self._prompts), default=0) // CHARACTERS_PER_TOKEN
        self._prompts.append(prompt)
        told = step.get("usage", {})
        if told is False or not self.usage:
            return None
        said = step.get("text", "") + json.dumps(step.get("calls", []))
        reasoning = len(step.get("reasoning", "")) // CHARACTERS_PER_TOKEN
        prompt_tokens = told.get("prompt_tokens", len(prompt) // CHARACTERS_PER_TOKEN)
        completion = told.get("completion_tokens", len(said) // CHARACTERS_PER_TOKEN + reasoning)
        cached = told.get("cached_tokens", shared // 128 * 128 if shared >= 1024 else 0)
        return {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": prompt_tokens + completion,
            "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": reasoning, "audio_tokens": 0},
        }


def failed(status: int, message: str, *, code: str | None = None, kind: str = "invalid_request_error") -> web.Response:
    """An error as OpenAI words it."""
    error = {"message": message, "type": kind, "param": None, "code": code}
    return web.json_response({"error": error}, status=status, headers={"x-request-id": "req_failed"})


def refused(body: dict[str, Any]) -> str | None:
    """What OpenAI would say against a request."""
    if unknown := set(body) - _FIELDS:
        return f"Unrecognized request arguments supplied: {', '.join(sorted(unknown))}"
    if not body.get("messages"):
        return "Invalid 'messages': empty array. Expected an array with minimum length 1."
    if "stream_options" in body and not body.get("stream"):
        return "The 'stream_options' parameter is only allowed when 'stream' is enabled."
    if body.get("reasoning_effort") and body.get("temperature", 1) != 1:
        return "Unsupported value: 'temperature' does not support a value other than the default (1)."
    if _WANTS_RESPONSES.match(body["model"]) and body.get("tools") and body.get("reasoning_effort") != "none":
        return (
            f"Function tools with reasoning_effort are not supported for {body['model']} in /v1/chat/completions. To "
            "use function tools, use /v1/responses or set reasoning_effort to 'none'."
        )
    if "tool_choice" in body and not body.get("tools"):
        return "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified."
    try:
        for message in body["messages"]:
            responses.exhaust(_MESSAGE.validate_python(message, strict=False))
        for tool in body.get("tools", ()):
            responses.exhaust(_TOOL.validate_python(tool))
        if "tool_choice" in body:
            _CHOICE.validate_python(body["tool_choice"])
    except ValidationError as error:
        return f"Invalid request: {str(error)[:500]}"
    return _bad_tools(body) or _bad_order(body["messages"])


def _bad_tools(body: dict[str, Any]) -> str | None:
    names = [tool["function"]["name"] for tool in body.get("tools", ())]
    for name in names:
        if not _NAME.fullmatch(name):
            return f"Invalid 'tools[0].function.name': {name!r} does not match '^[a-zA-Z0-9_-]+$' or is too long."
    for tool in body.get("tools", ()):
        schema = tool["function"].get("parameters", {})
        if schema.get("type") == "object" and "properties" not in schema:
            return f"Invalid schema for function '{tool['function']['name']}': object schema missing properties."
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice["function"]["name"] not in names:
        return "Tool choice 'function' names a tool that is not in 'tools'."
    return None


def _bad_order(messages: list[dict[str, Any]]) -> str | None:
    open_calls: set[str] = set()
    for number, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                return "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
            open_calls.remove(message["tool_call_id"])
            continue
        if open_calls:
            return (
                "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
                f"'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(open_calls)}"
            )
        for call in message.get("tool_calls") or ():
            if len(call["id"]) > 40:
                return f"Invalid 'messages[{number}].tool_calls[0].id': string too long."
            open_calls.add(call["id"])
            json.loads(call["function"]["arguments"])
    return None


def _shared(one: str, other: str) -> int:
    limit = min(len(one), len(other))
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return low


def _text(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _turns(messages: list[dict[str, Any]]) -> int:
    """How often the model answered: items of Responses that follow one another are one answer."""
    by_model = [m.get("role") == "assistant" or m.get("type") in ("reasoning", "function_call") for m in messages]
    return sum(now and not before for before, now in zip([False, *by_model], by_model, strict=False))


def step_of(messages: list[dict[str, Any]], offered: set[str]) -> dict[str, Any]:
    """What to answer: the step of the last script whose turn it is; its calls only where their tools are offered."""
    for position in range(len(messages) - 1, -1, -1):
        text = _text(messages[position])
        if messages[position].get("role") != "user" or "[[openai:" not in text:
            continue
        script, _ = json.JSONDecoder().raw_decode(text.partition("[[openai:")[2].lstrip())
        turn = _turns(messages[position:])
        steps: list[dict[str, Any]] = script["steps"]
        step = steps[turn] if turn < len(steps) else {}
        if all(call["name"] in offered for call in step.get("calls", ())):
            return step or {"text": "Nothing more."}
        break
    return {"text": "ok"}


def _given(usage: dict[str, Any] | None) -> dict[str, Any]:
    return {} if usage is None else {"usage": usage}


def _calls(step: dict[str, Any], answer: str) -> list[dict[str, Any]]:
    return [
        {
            "id": call.get("id", f"call_{answer}_{number}"),
            "type": "function",
            "function": {"name": call["name"], "arguments": json.dumps(call["arguments"])},
        }
        for number, call in enumerate(step.get("calls", ()))
    ]


def _finish(step: dict[str, Any]) -> str:
    return step.get("finish") or ("tool_calls" if step.get("calls") else "stop")


def _whole(step: dict[str, Any], answer: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": step.get("text"), "refusal": None, "annotations": []}
    if step.get("reasoning"):
        message["reasoning_content"] = step["reasoning"]
    if calls := _calls(step, answer):
        message["tool_calls"] = calls
    return {"choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(step)}]}


def _deltas(step: dict[str, Any], answer: str) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": "" if "text" in step else None, "refusal": None}
    for field, text in (("reasoning_content", step.get("reasoning", "")), ("content", step.get("text", ""))):
        for start in range(0, len(text), 7):
            yield {field: text[start : start + 7]}
    for number, call in enumerate(_calls(step, answer)):
        function = call["function"]
        yield {"tool_calls": [{"index": number, **call, "function": {"name": function["name"], "arguments": ""}}]}
        for start in range(0, len(function["arguments"]), 11):
            part = function["arguments"][start : start + 11]
            yield {"tool_calls": [{"index": number, "function": {"arguments": part}}]}


async def _chunks(
    step: dict[str, Any], head: dict[str, Any], usage: dict[str, Any] | None
) -> AsyncIterator[bytes | None]:
    """The data of each event; None where the connection breaks."""

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return json.dumps({**head, "choices": [choice], "usage": None, "obfuscation": "x7"}).encode()

    for number, delta in enumerate(_deltas(step, head["id"])):
        if number == step.get("cut_after"):
            yield None
            return
        if number == step.get("error_after"):
            yield json.dumps({"error": {"message": "The server had an error.", "type": "server_error"}}).encode()
            return
        yield chunk(delta)
        await asyncio.sleep(0)
    yield chunk({}, _finish(step))
    if usage is not None:
        yield json.dumps({**head, "choices": [], "usage": usage}).encode()
    yield b"[DONE]"


@contextlib.contextmanager
def fake_openai(**options: Any) -> Iterator[FakeOpenAI]:
    with FakeOpenAI(**options) as fake:
        yield fake


def script(*steps: dict[str, Any]) -> str:
    """The marker to put into a prompt."""
    return f"[[openai: {json.dumps({'steps': list(steps)})}]]"
