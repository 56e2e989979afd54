"""A provider at native speed: answers by path without a look at the body. Alone: `python -m tests.benchmarks.mock`.

`/json/v1/messages` answers 1 KB of JSON; `/paced/v1/messages` streams 300 events 5 ms apart; `/burst/v1/messages` the
same events at once. Only the head of a request is parsed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import cast

import uvloop

EVENTS = 300
GAP_SECONDS = 0.005
_USAGE = {"input_tokens": 500, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 200}
_JSON = json.dumps(
    {
        "id": "msg_bench",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-5-5",
        "content": [{"type": "text", "text": "x" * 700}],
        "stop_reason": "end_turn",
        "usage": _USAGE,
    }
).encode()
_ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nrequest-id: req_bench\r\ncontent-length: %d\r\n\r\n"
    % len(_JSON)
    + _JSON
)
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nrequest-id: req_bench\r\ntransfer-encoding: chunked\r\n\r\n"
)


def _chunk(name: str, data: object) -> bytes:
    event = b"event: %s\ndata: %s\n\n" % (name.encode(), json.dumps(data, separators=(",", ":")).encode())
    return b"%x\r\n%s\r\n" % (len(event), event)


_START = _chunk(
    "message_start",
    {
        "type": "message_start",
        "message": {"id": "msg_bench", "type": "message", "model": "claude-haiku-5-5", "usage": _USAGE},
    },
) + _chunk(
    "content_block_start",
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
)
_DELTA = _chunk(
    "content_block_delta",
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a few words of text "}},
)
_END = (
    _chunk("content_block_stop", {"type": "content_block_stop", "index": 0})
    + _chunk("message_delta", {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": _USAGE})
    + _chunk("message_stop", {"type": "message_stop"})
    + b"0\r\n\r\n"
)


class Mock(asyncio.Protocol):
    """One connection: reads a head, skips `content-length` bytes of body, answers."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._left = 0
        self._path = b""
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._left:
            taken = min(self._left, len(data))
            self._left -= taken
            data = data[taken:]
            if self._left:
                return
            self._answer()
            if not data:
                return
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            return
        head, rest = bytes(self._head[:end]).lower(), bytes(self._head[end + 4 :])
        self._head.clear()
        self._path = head.split(b" ", 2)[1]
        position = head.find(b"\r\ncontent-length:")
        length = int(head[position + 17 :].split(b"\r\n", 1)[0]) if position >= 0 else 0
        self._left = length - len(rest)
        if self._left <= 0:
            self._left = 0
            self._answer()

    def _answer(self) -> None:
        assert self._transport is not None
        if self._path.startswith(b"/paced"):
            self._task = asyncio.get_running_loop().create_task(self._pace())
        elif self._path.startswith(b"/burst"):
            self._transport.write(_STREAM_HEAD + _START + _DELTA * EVENTS + _END)
        else:
            self._transport.write(_ANSWER)

    async def _pace(self) -> None:
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._transport.write(_STREAM_HEAD + _START)
        for number in range(EVENTS):
            self._transport.write(_DELTA)
            await asyncio.sleep(max(0.0, began + (number + 1) * GAP_SECONDS - loop.time()))
        self._transport.write(_END)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Mock, "127.0.0.1", port, backlog=4096)
    print(f"mock on {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
