"""A client on a bare socket: sends exactly these bytes, reads as slowly as it likes, and leaves when it likes."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Any, Self

TIMEOUT_SECONDS = 25.0


@dataclass
class Answer:
    """What arrived. `whole` is False where the connection ended before the answer did."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole: bool = False

    @property
    def request_id(self) -> str:
        return self.headers.get("request-id", "")

    @property
    def events(self) -> list[tuple[str, Any]]:
        """(event, decoded data) as Anthropic's own client reads them: the last name counts, a ping's data does not.

        Raises where an event is not whole.
        """
        blocks = self.body.decode().split("\n\n")
        assert blocks.pop() == "", f"the stream ends inside an event: {blocks[-1:]}"
        found = []
        for block in blocks:
            fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
            if "data" in fields:
                name = fields.get("event", "")
                found.append((name, None if name == "ping" else json.loads(fields["data"])))
        return found


class WireClient:
    """One connection to the gateway; everything blocks, for at most `TIMEOUT_SECONDS`."""

    def __init__(self, port: int, *, receive_buffer: int = 0) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(TIMEOUT_SECONDS)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    # --- writing --------------------------------------------------------------------------------------------
    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_bytewise(self, data: bytes) -> None:
        for place in range(len(data)):
            self.socket.sendall(data[place : place + 1])

    # --- leaving --------------------------------------------------------------------------------------------
    def leave(self) -> None:
        """FIN (RST where the system has bytes for us that were not read)."""
        self.socket.close()

    def reset(self) -> None:
        """RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def half_close(self) -> None:
        """FIN, but go on reading."""
        self.socket.shutdown(socket.SHUT_WR)

    # --- reading --------------------------------------------------------------------------------------------
    def head(self) -> Answer:
        """Status and headers; status 0 where the connection ended before them."""
        try:
            while b"\r\n\r\n" not in self._buffer:
                self._more()
        except (EOFError, ConnectionError):
            return Answer()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return Answer(int(first.split(" ")[1]), headers)

    def read(self, *, step: int = 65536, pause: float = 0.0) -> Answer:
        """The whole answer, or what came of it; at most `step` bytes at a time with a pause before each."""
        answer = self.head()
        if not answer.status:
            return answer
        body: list[bytes] = []
        with contextlib.suppress(EOFError, ConnectionError):
            if answer.headers.get("transfer-encoding") == "chunked":
                while size := int(self._line(step, pause), 16):
                    body.append(self._exactly(size, step, pause))
                    assert self._exactly(2, step, pause) == b"\r\n"
                assert self._line(step, pause) == b""
            else:
                body.append(self._exactly(int(answer.headers["content-length"]), step, pause))
            answer.whole = True
        answer.body = b"".join(body)
        return answer

    def until(self, marker: bytes) -> bytes:
        """Read until these bytes have come; what follows them stays unread."""
        while marker not in self._buffer:
            self._more()
        return self._buffer

    def closed(self) -> bool:
        """Whether the other side ends the connection now, without another byte."""
        try:
            return not self._buffer and not self.socket.recv(1)
        except ConnectionError:
            return True

    def _line(self, step: int, pause: float) -> bytes:
        while b"\r\n" not in self._buffer:
            self._more(step, pause)
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def _exactly(self, size: int, step: int, pause: float) -> bytes:
        while len(self._buffer) < size:
            self._more(step, pause)
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def _more(self, step: int = 65536, pause: float = 0.0) -> None:
        if pause:
            time.sleep(pause)
        data = self.socket.recv(step)
        if not data:
            raise EOFError
        self._buffer += data


def request(
    secret: str,
    *,
    stream: bool = True,
    path: str = "/v1/messages",
    size: int = 0,
    tags: str = "",
    headers: tuple[str, ...] = (),
) -> bytes:
    """A model call as bytes; `size` pads its prompt to about so many bytes."""
    body = json.dumps({
        "model": "claude-opus-5-5",
        "max_tokens": 1024,
        "stream": stream,
        "messages": [{"role": "user", "content": "hello " * max(1, size // 6)}],
    }).encode()  # fmt: skip
    lines = [
        f"POST /anthropic{path} HTTP/1.1",
        "host: 127.0.0.1",
        f"authorization: Bearer {secret}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *([f"x-comptroller-tags: {tags}"] if tags else []),
        *headers,
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + body
