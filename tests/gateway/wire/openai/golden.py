"""The golden requests, streams and answers of Chat Completions, and what each becomes in Anthropic's form and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from pydantic import TypeAdapter

from gateway.wire.openai.dialect import Dialect
from gateway.wire.openai.request import translate
from gateway.wire.openai.stream import Stream

FOLDER = Path(__file__).parents[3] / "golden" / "providers" / "openai"
REQUESTS = sorted(path.name.partition(".")[0] for path in FOLDER.glob("requests/*.messages.json"))
STREAMS = sorted(path.name.partition(".")[0] for path in FOLDER.glob("streams/*.chat.sse"))
ANSWERS = sorted(path.name.partition(".")[0] for path in FOLDER.glob("answers/*.chat.json"))

_EVENT: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)

DIALECTS = {
    "plain": Dialect(),
    "claude_code": Dialect(efforts=("low", "medium", "high"), left_out=frozenset({"temperature"})),
    "thinking_history": Dialect(efforts=("low", "high"), reasoning_field="reasoning_content", max_output_tokens=16_384),
    "results": Dialect(max_tokens_field="max_tokens"),
    "tool_kinds": Dialect(most_id_characters=40, most_description_characters=60),
    "structured": Dialect(efforts=("minimal", "low")),
}
"""How the server of a golden request speaks, where not by the defaults."""


def offered() -> list[str]:
    """The tools of the requests that the golden answers belong to."""
    return ["Read", "Bash", "Write", "Now"]


def asked(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "requests" / f"{name}.messages.json").read_text())
    return found


def sent(body: dict[str, Any], name: str = "plain") -> bytes:
    dialect = DIALECTS.get(name, DIALECTS["plain"])
    return translate(json.dumps(body).encode(), model="gpt-5", stream=body.get("stream", False), dialect=dialect)


def file(folder: str, name: str) -> bytes:
    return (FOLDER / folder / name).read_bytes()


def events(*chunks: bytes) -> bytes:
    """What a stream becomes that comes in these chunks and then closes."""
    stream = Stream(offered)
    return b"".join([*map(stream.feed, chunks), stream.finish()])


def parsed(stream: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in stream.decode().split("\n") if line.startswith("data: ")]


def message(stream: bytes) -> dict[str, Any]:
    """What Anthropic's own SDK makes of the events."""
    snapshot = None
    buffers: dict[int, bytes] = {}
    for event in parsed(stream):
        if event["type"] != "message_stop":
            built = _EVENT.validate_python(_filled(event))
            snapshot = accumulate_event(event=built, current_snapshot=snapshot, json_bufs=buffers)
    assert snapshot is not None
    return snapshot.to_dict()


def _filled(event: dict[str, Any]) -> dict[str, Any]:
    """The SDK does not validate what it receives; its types, used strictly here, know no unknown count."""
    usage = event.get("message", event).get("usage")
    if usage is not None:
        usage |= {name: value or 0 for name, value in usage.items()}
    return event
