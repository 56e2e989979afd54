"""What clients do, one script each: most do everything right, some leave, one stage after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.fakes.wire_client import Answer, WireClient, request
from tests.fakes.wire_provider import Line


@dataclass
class Call:
    """One row's request, on its way. `noticed` waits until the gateway has dropped every client's connection."""

    port: int
    secret: str
    line: Line
    stream: bool
    size: int
    tags: str
    noticed: Callable[[], None]

    def bytes(self, *headers: str) -> bytes:
        return request(self.secret, stream=self.stream, size=self.size, tags=self.tags, headers=headers)

    def connect(self, *, receive_buffer: int = 0) -> WireClient:
        return WireClient(self.port, receive_buffer=receive_buffer)

    def provider_waits(self) -> None:
        """Wait until the provider is at its gate."""
        assert self.line.reached.wait(10), "the provider never came to its gate"


Client = Callable[[Call], Answer | None]


def reads_all(call: Call) -> Answer:
    with call.connect() as client:
        client.send(call.bytes())
        return client.read()


def twice(call: Call) -> Answer:
    """Two requests, one after the other, over one connection."""
    with call.connect() as client:
        client.send(call.bytes())
        assert client.read().whole
        client.send(call.bytes())
        return client.read()


def pipelined(call: Call) -> Answer:
    """Two requests at once over one connection; their answers come in order."""
    with call.connect() as client:
        client.send(call.bytes() * 2)
        first, second = client.read(), client.read()
        assert first.whole
        assert first.request_id < second.request_id
        return second


def bytewise(call: Call) -> Answer:
    with call.connect() as client:
        client.send_bytewise(call.bytes())
        return client.read()


def slowly(call: Call) -> Answer:
    """Takes little at a time, with a small window, and rests in between."""
    with call.connect(receive_buffer=4096) as client:
        client.send(call.bytes())
        return client.read(step=65536, pause=0.002)


def pipelined_slowly(call: Call) -> Answer:
    """Two requests at once, and their answers taken more slowly than they come."""
    with call.connect(receive_buffer=4096) as client:
        client.send(call.bytes() * 2)
        assert client.read(step=65536, pause=0.002).whole
        return client.read(step=65536, pause=0.002)


def expects_continue(call: Call) -> Answer:
    """Sends its body only after `100 Continue`."""
    with call.connect() as client:
        head, _, body = call.bytes("expect: 100-continue").partition(b"\r\n\r\n")
        client.send(head + b"\r\n\r\n")
        assert client.head().status == 100
        client.send(body)
        return client.read()


def sends(data: bytes) -> Client:
    """These bytes; `SECRET` stands for the key."""

    def client(call: Call) -> Answer:
        with call.connect() as wire:
            wire.send(data.replace(b"SECRET", call.secret.encode()))
            return wire.read()

    return client


def half_closes(call: Call) -> Answer:
    """Closes its sending side after the request: to us that is a client that left."""
    with call.connect() as client:
        client.send(call.bytes())
        call.provider_waits()
        client.half_close()
        call.noticed()
        call.line.open_gate()
        return client.read()


def leaves(where: str, how: str) -> Client:
    """Leaves `where`, by FIN or RST; the provider waits at its gate until the gateway has noticed."""

    def go(client: WireClient) -> None:
        client.reset() if how == "rst" else client.leave()

    def client(call: Call) -> None:
        wire = call.connect()
        whole = call.bytes()
        head_ends = whole.index(b"\r\n\r\n") + 4
        match where:
            case "inside the head":
                wire.send(whole[: head_ends // 2])
            case "inside the body":
                wire.send(whole[: head_ends + (len(whole) - head_ends) // 2])
            case "after the body":
                wire.send(whole)
            case "before the answer":
                wire.send(whole)
                call.provider_waits()
            case "after the headers":
                wire.send(whole)
                assert wire.head().status == 200
            case "inside the stream":
                wire.send(whole)
                wire.until(b"one ")
            case "with another request behind":
                wire.send(whole * 2)
                wire.until(b"one ")
            case "at the last byte":
                wire.send(whole)
                assert wire.read().whole
            case _:
                raise AssertionError(where)
        time.sleep(0.02)  # the bytes are on their way before the connection ends
        go(wire)
        call.noticed()
        call.line.open_gate()

    return client
