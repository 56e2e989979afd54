"""A gateway's end of the socket to its writer: sends and receives whole messages and never waits.

It is driven by the event loop, or, where that has ended already, by whoever drains.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

from observability.writing.messages import BadFrame, Frames, ToGateway, ToWriter, frame

READ_BYTES = 1 << 18
BUFFER_BYTES = 1 << 20
"""Asked of the system for what is on its way to the writer: several flushes at full load."""


class Gone(Exception):
    """The other end is closed, or sent what is no message."""


class Link:
    """One connection; not safe for several threads at once."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        self.socket = sock
        self._frames: Frames[ToGateway] = Frames(ToGateway)
        self._out = bytearray()

    @property
    def waiting(self) -> bool:
        """Whether something could not be sent yet."""
        return bool(self._out)

    def send(self, message: ToWriter) -> None:
        """Send, or keep what the socket does not take now. Raises Gone."""
        self._out += frame(message)
        self.flush()

    def flush(self) -> None:
        """Send what is kept, as far as the socket takes it. Raises Gone."""
        try:
            while self._out:
                sent = self.socket.send(self._out)
                del self._out[:sent]
        except BlockingIOError:
            return
        except OSError as error:
            raise Gone(f"it cannot be sent to ({error.strerror})") from None

    def receive(self) -> Iterator[ToGateway]:
        """The messages that are there. Raises Gone at the end, after the last one."""
        try:
            data = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            raise Gone(f"it cannot be received from ({error.strerror})") from None
        if not data:
            raise Gone("it ended")
        try:
            yield from self._frames.feed(data)
        except BadFrame as error:
            raise Gone(f"it sent {error}") from None

    def wait(self, seconds: float) -> None:
        """Block until there is something to receive or room to send what is kept, at most so long."""
        watched = select.poll()
        watched.register(self.socket, select.POLLIN | (select.POLLOUT if self._out else 0))
        watched.poll(max(0.0, seconds) * 1000)

    def close(self) -> None:
        self.socket.close()
