"""The golden requests and streams of OpenAI's formats: what a client sent, and what becomes of it.

`python -m tests.gateway.wire.openai_clients.golden` writes the expected halves anew; their diff is what to review.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.wire.openai_clients import chat_request, responses_request
from gateway.wire.openai_clients.chat_answer import ChatStream, completion
from gateway.wire.openai_clients.responses_answer import whole_response
from gateway.wire.openai_clients.responses_stream import ResponsesStream
from gateway.wire.openai_clients.translated import Echo, Translated
from tests.gateway.wire.golden import STREAMS, stream

FOLDER = Path(__file__).parents[3] / "golden" / "clients"
CREATED = 1_790_000_000
ECHO = Echo(include_usage=True, settings={"instructions": "Be brief."})

Case = tuple[str, str]
"""(format, name)."""

REQUESTS: list[Case] = sorted((path.parents[1].name, path.stem) for path in FOLDER.glob("*/requests/*.json"))
ANSWERS: list[Case] = [(kind, name) for kind in ("openai_chat", "openai_responses") for name in STREAMS]

TO_MESSAGES: dict[str, Callable[[bytes], Translated]] = {
    "openai_chat": chat_request.to_messages,
    "openai_responses": responses_request.to_messages,
}
ENCODERS: dict[str, Callable[[str, int, Echo], ChatStream | ResponsesStream]] = {
    "openai_chat": ChatStream,
    "openai_responses": ResponsesStream,
}
WHOLES: dict[str, Callable[[dict[str, Any], str, int, Echo], bytes]] = {
    "openai_chat": completion,
    "openai_responses": whole_response,
}


def request(case: Case) -> dict[str, Any]:
    """`request`, and what it must become: `messages`."""
    kind, name = case
    found: dict[str, Any] = json.loads((FOLDER / kind / "requests" / f"{name}.json").read_text())
    return found


def translated(case: Case) -> dict[str, Any]:
    body = json.dumps(request(case)["request"]).encode()
    found: dict[str, Any] = json.loads(TO_MESSAGES[case[0]](body).body)
    return found


def answer_file(case: Case) -> Path:
    kind, name = case
    return FOLDER / kind / "streams" / f"{name}.sse"


def encoded(case: Case, *chunks: bytes) -> bytes:
    """The client's stream for these parts of Claude's; the golden one's as a whole where none are given."""
    kind, name = case
    encoder = ENCODERS[kind]("asked-for", CREATED, ECHO)
    told = b"".join([encoder.feed(chunk) for chunk in chunks or [stream(name)]])
    # What was cut has no end: the gateway tells an error then.
    return told if name == "cut" else told + encoder.finish()


def _write() -> None:
    for case in REQUESTS:
        given = request(case)["request"]
        path = FOLDER / case[0] / "requests" / f"{case[1]}.json"
        path.write_text(json.dumps({"request": given, "messages": translated(case)}, indent=1) + "\n")
    for case in ANSWERS:
        answer_file(case).write_bytes(encoded(case))


if __name__ == "__main__":
    _write()
