"""The simulated provider's ASGI application: Anthropic's Messages API, answered by script."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec

from gateway.simulator import control, conversation, directives, errors, improvise, message, models, script
from gateway.simulator.answer import Answer, BadScript, answer
from gateway.simulator.conversation import Ask, BadRequest
from gateway.simulator.delivery import ANSWERED, Delivery
from gateway.simulator.journal import KEPT_REQUESTS, Entry, Journal
from gateway.simulator.line import ClientGone, Headers, Line, Receive, Scope, Send
from gateway.simulator.prompt_cache import PromptCache, estimate
from gateway.simulator.script import Playbook, Script, Seen

MAX_BODY_BYTES = 32 * 1024 * 1024

_COMMON: Headers = [
    (b"x-simulated-provider", b"comptroller"),
    (b"anthropic-organization-id", b"org_simulated"),
    # A real provider tells its limits on every answer; a gateway must keep them from its clients.
    (b"anthropic-ratelimit-requests-limit", b"4000"),
    (b"anthropic-ratelimit-requests-remaining", b"3999"),
    (b"anthropic-ratelimit-input-tokens-limit", b"2000000"),
    (b"anthropic-ratelimit-input-tokens-remaining", b"1999000"),
]


class Simulator:
    """All state of one simulated provider; the instance is the ASGI callable."""

    def __init__(self, initial: Script | None = None, kept_requests: int = KEPT_REQUESTS) -> None:
        self.initial = initial or Script()
        self.playbook = Playbook(self.initial)
        self.journal = Journal(kept_requests)
        self.cache = PromptCache()
        self.gates: dict[str, asyncio.Event] = {}

    def reset(self) -> None:
        """Back to the state after the start: first script, no cache, no journal; held answers go on."""
        self.playbook = Playbook(self.initial)
        self.journal.reset()
        self.cache.clear()
        for gate in self.gates.values():
            gate.set()
        self.gates.clear()

    def gate(self, name: str) -> asyncio.Event:
        return self.gates.setdefault(name, asyncio.Event())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "lifespan":
                await _lifespan(receive, send)
            case "http" if scope["path"].startswith(control.PREFIX):
                await control.handle(self, scope, receive, send)
            case "http":
                await self._exchange(scope, receive, send)
            case _:
                await send({"type": "websocket.close", "code": 1000})

    async def _exchange(self, scope: Scope, receive: Receive, send: Send) -> None:
        entry = self.journal.open(scope)
        line = Line(scope, receive, send)
        outcome = "cut"
        try:
            outcome = await self._answer(line, entry)
        except ClientGone:
            outcome = "cancelled"
        finally:
            line.close()
            self.journal.close(entry, outcome)

    async def _answer(self, line: Line, entry: Entry) -> str:
        body = await line.body(MAX_BODY_BYTES)
        if body is None:
            return await self._refuse(line, entry, 413, "Request exceeds the maximum allowed number of bytes.")
        self.journal.body(entry, body)
        credentials = _credentials(entry.headers)
        if not self.playbook.accepts(credentials):
            return await self._refuse(line, entry, 401, "invalid x-api-key")
        try:
            match entry.method, entry.path:
                case "POST", script.MESSAGES_PATH:
                    return await self._messages(line, entry, body, credentials)
                case "POST", script.COUNT_PATH:
                    conversation.read(body)
                    return await self._plain(line, entry, credentials, {"input_tokens": estimate(body)})
                case "GET", script.MODELS_PATH:
                    return await self._plain(line, entry, credentials, models.page(entry.query))
                case "GET", path if found := models.find(path.removeprefix(f"{script.MODELS_PATH}/")):
                    return await self._plain(line, entry, credentials, found)
                case "HEAD", _:
                    return await self._plain(line, entry, credentials, {})
        except BadRequest as error:
            return await self._refuse(line, entry, 400, str(error), error.details)
        except (BadScript, ValueError) as error:
            return await self._refuse(line, entry, 400, str(error))
        return await self._refuse(line, entry, 404, f"Not Found: {entry.path} (simulated provider)")

    async def _messages(self, line: Line, entry: Entry, body: bytes, credentials: tuple[str, ...]) -> str:
        ask = conversation.read(body)
        entry.model, entry.stream = ask.model, bool(ask.stream)
        if ask.max_tokens is None:
            raise BadRequest("max_tokens: Field required")
        turn = conversation.turn(ask)
        steps = self._rule(entry, credentials, ask, turn.prompt)
        shaped = improvise.shaped(ask) if steps is None else None
        prompt = turn.prompt
        if "[[" in prompt and shaped is None:
            steps = directives.directives(prompt) if steps is None else steps
            prompt = directives.without(prompt)
        wanted = self._step(steps or [], turn.step)
        scripted = bool(steps) and turn.step < len(steps or [])

        def reply() -> message.Reply:
            tokens = self.cache.split(body, ask, time.monotonic())
            content = shaped or improvise.content(ask, turn, wanted, prompt, scripted)
            return message.reply(ask, wanted, content, tokens)

        return await self._delivery(line, entry, wanted).run(reply)

    async def _plain(self, line: Line, entry: Entry, credentials: tuple[str, ...], body: dict[str, Any]) -> str:
        """A small JSON answer, unless a rule for this path wants an error or a fault."""
        wanted = self._step(self._rule(entry, credentials, None, "") or [], 0)
        return await self._delivery(line, entry, wanted).run_plain(msgspec.json.encode(body))

    def _delivery(self, line: Line, entry: Entry, wanted: Answer) -> Delivery:
        gate = self.gate(wanted.hold) if wanted.hold else None
        return Delivery(line, entry, wanted, _headers(entry), gate)

    async def _refuse(
        self, line: Line, entry: Entry, status: int, text: str, details: dict[str, Any] | None = None
    ) -> str:
        entry.status = status
        body = errors.body(status, text, entry.request_id, details=details)
        await line.whole(status, [*_headers(entry), (b"content-type", b"application/json")], body)
        return ANSWERED

    def _rule(
        self, entry: Entry, credentials: tuple[str, ...], ask: Ask | None, prompt: str
    ) -> list[dict[str, Any]] | None:
        if not self.playbook.script.rules:
            return None
        return self.playbook.steps_for(
            Seen(
                path=entry.path,
                headers={name.decode("latin-1"): value.decode("latin-1") for name, value in entry.headers},
                credentials=credentials,
                model=ask.model if ask else "",
                prompt=prompt,
                stream=bool(ask and ask.stream),
            )
        )

    def _step(self, steps: list[dict[str, Any]], index: int) -> Answer:
        """The answer of this step of the script; after the last step only the defaults speak."""
        own = steps[index] if index < len(steps) else {}
        return answer(self.playbook.script.defaults | own)


def _headers(entry: Entry) -> Headers:
    return [(b"request-id", entry.request_id.encode()), *_COMMON]


def _credentials(headers: Headers) -> tuple[str, ...]:
    """Every secret the request carries: `x-api-key` and the bearer token."""
    found: list[str] = []
    for name, value in headers:
        if name == b"x-api-key":
            found.append(value.decode("latin-1"))
        elif name == b"authorization" and value[:7].lower() == b"bearer ":
            found.append(value[7:].decode("latin-1"))
    return tuple(found)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return


application = Simulator()
