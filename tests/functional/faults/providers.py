"""What providers do wrong, one script each; `good` is the one that does nothing wrong."""

from __future__ import annotations

import gzip

from tests.fakes.wire_provider import (
    BLOCK,
    BLOCK_STOP,
    EVENTS,
    LAST_CHUNK,
    MESSAGE,
    PATIENCE_SECONDS,
    PING,
    START,
    STOP,
    USED,
    WORDS,
    Script,
    Wire,
    chunk,
    error,
    error_body,
    event,
    head,
    text,
    whole,
)

BEGUN = (START, BLOCK, WORDS[0])
BIG = text("x" * (8 << 20))


async def _stream(wire: Wire, *events: bytes) -> None:
    await wire.send(*(chunk(each) for each in events))


async def good(wire: Wire) -> None:
    """Answer every request of the connection with a whole stream."""
    while True:
        await wire.request()
        await wire.send(head())
        await _stream(wire, *EVENTS)
        await wire.send(LAST_CHUNK)


async def good_whole(wire: Wire) -> None:
    """Answer every request of the connection with a JSON message."""
    while True:
        await wire.request()
        await wire.send(whole())


# --- before an answer ---------------------------------------------------------------------------------------------
refuses = None
"""Nobody listens."""


async def closes_at_once(wire: Wire) -> None:
    wire.close()


async def resets_at_once(wire: Wire) -> None:
    wire.reset()


async def closes_after_the_head(wire: Wire) -> None:
    await wire.head()
    wire.close()


async def closes_inside_the_body(wire: Wire) -> None:
    await wire.head()
    await wire.reader.readexactly(1 << 20)
    wire.reset()


async def closes_after_the_body(wire: Wire) -> None:
    await wire.request()
    wire.close()


async def resets_after_the_body(wire: Wire) -> None:
    await wire.request()
    wire.reset()


async def never_answers(wire: Wire) -> None:
    await wire.request()
    wire.line.reached.set()
    await wire.silence()


async def never_reads(wire: Wire) -> None:
    wire.stop_reading()
    await wire.pause(PATIENCE_SECONDS)


async def answers_after_the_head(wire: Wire) -> None:
    """Sends its whole answer before it has read the request's body."""
    length = int((await wire.head())["content-length"])
    await wire.send(head(), *(chunk(each) for each in EVENTS), LAST_CHUNK)
    await wire.reader.readexactly(length)


async def refuses_before_reading(wire: Wire) -> None:
    """An error for a large body, sent after the head alone; then the connection is closed."""
    length = int((await wire.head())["content-length"])
    body = error_body("request_too_large", "The script takes no such body.")
    await wire.send(whole(body, "413 Payload Too Large", "connection: close"))
    await wire.reader.readexactly(length)


# --- inside the answer's head -------------------------------------------------------------------------------------
async def garbage(wire: Wire) -> None:
    await wire.request()
    await wire.send(b"\x16\x03\x01\x00\xa5 this is no HTTP\r\n\r\n")
    await wire.silence()


async def resets_after_the_status_line(wire: Wire) -> None:
    await wire.request()
    await wire.send(b"HTTP/1.1 200 OK\r\n")
    await wire.pause(0.05)
    wire.reset()


async def resets_after_the_headers(wire: Wire) -> None:
    await wire.request()
    await wire.send(head())
    await wire.pause(0.05)
    wire.reset()


async def closes_after_the_headers(wire: Wire) -> None:
    await wire.request()
    await wire.send(head(), LAST_CHUNK)


async def huge_header(wire: Wire) -> None:
    await wire.request()
    await wire.send(head("200 OK", f"x-huge: {'h' * (1 << 20)}"))
    await wire.silence()


async def early_hints(wire: Wire) -> None:
    await wire.request()
    await wire.send(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
    await wire.send(head(), *(chunk(each) for each in EVENTS), LAST_CHUNK)


# --- inside a stream ----------------------------------------------------------------------------------------------
def cut_after(*events: bytes, how: str = "close") -> Script:
    """Send these events of a stream, then end the connection."""

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(head())
        for each in events:
            await _stream(wire, each)
        await wire.pause(0.05)
        if how == "reset":
            wire.reset()

    return script


def ends_after(*events: bytes) -> Script:
    """Send these events, then end the body in good order."""

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(head())
        await _stream(wire, *events)
        await wire.send(LAST_CHUNK)

    return script


async def silent_inside(wire: Wire) -> None:
    await wire.request()
    await wire.send(head())
    await _stream(wire, *BEGUN)
    await wire.silence()


async def bad_chunk(wire: Wire) -> None:
    await wire.request()
    await wire.send(head())
    await _stream(wire, *BEGUN)
    await wire.pause(0.05)
    await wire.send(b"this is no size\r\n")
    await wire.silence()


async def bytewise(wire: Wire) -> None:
    """Every byte of the answer in a write and a packet of its own."""
    await wire.request()
    for byte in b"".join([head(), *(chunk(each) for each in EVENTS), LAST_CHUNK]):
        await wire.send(bytes([byte]))


async def squeezed(wire: Wire) -> None:
    await wire.request()
    body = gzip.compress(b"".join(EVENTS))
    await wire.send(head("200 OK", "content-encoding: gzip", length=len(body)), body)


async def squeezed_and_broken(wire: Wire) -> None:
    await wire.request()
    body = gzip.compress(b"".join(EVENTS) * 50)
    await wire.send(head("200 OK", "content-encoding: gzip", length=len(body)), body[:40], b"\xff" * (len(body) - 40))


async def more_than_the_end(wire: Wire) -> None:
    """A whole answer, and bytes behind it that belong to no request."""
    await wire.request()
    await wire.send(
        head(), *(chunk(each) for each in EVENTS), LAST_CHUNK, b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbad"
    )
    await wire.silence()


# --- whole answers ------------------------------------------------------------------------------------------------
async def shorter_than_told(wire: Wire) -> None:
    await wire.request()
    await wire.send(head(kind="application/json", length=len(MESSAGE) + 10), MESSAGE)


async def longer_than_told(wire: Wire) -> None:
    await wire.request()
    await wire.send(head(kind="application/json", length=len(MESSAGE) - 10), MESSAGE[:-10])
    await wire.pause(0.05)
    await wire.send(MESSAGE[-10:])
    await wire.silence()


async def silent_inside_a_message(wire: Wire) -> None:
    await wire.request()
    await wire.send(head(kind="application/json", length=len(MESSAGE)), MESSAGE[:50])
    await wire.silence()


async def no_message(wire: Wire) -> None:
    await wire.request()
    await wire.send(whole(b'{"hello": "world"}'))


def says(status: str, kind: str = "", *headers: str) -> Script:
    """An error status, with an error of this type or with no body at all."""

    async def script(wire: Wire) -> None:
        while True:
            await wire.request()
            await wire.send(whole(error_body(kind) if kind else b"", status, *headers))

    return script


async def closes_under_the_next_request(wire: Wire) -> None:
    """The first answer of the port keeps the connection; it is closed when the next request has come over it."""
    if wire.line.connections > 1:
        await good(wire)
    await wire.request()
    await wire.send(head(), *(chunk(each) for each in EVENTS), LAST_CHUNK)
    await wire.request()


# --- gates: the test says when it goes on --------------------------------------------------------------------------
async def gate_before_the_answer(wire: Wire) -> None:
    await wire.request()
    await wire.at_gate()
    await wire.send(head(), *(chunk(each) for each in EVENTS), LAST_CHUNK)


async def gate_before_a_message(wire: Wire) -> None:
    await wire.request()
    await wire.at_gate()
    await wire.send(whole())


async def gate_inside_a_message(wire: Wire) -> None:
    await wire.request()
    answer = whole()
    await wire.send(answer[:-20])
    await wire.at_gate()
    await wire.send(answer[-20:])


def gate_after(*events: bytes, rest: bytes = b"", ends: str = "whole") -> Script:
    """Send these events, wait at the gate, then send the rest of a good stream (or do what `ends` says)."""

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(head())
        for each in events:
            await _stream(wire, each)
        await wire.at_gate()
        match ends:
            case "cut":
                return
            case "silent":
                await wire.silence()
                return
        left = EVENTS[EVENTS.index(events[-1]) + 1 :] if not rest else [rest]
        await _stream(wire, *left)
        await wire.send(LAST_CHUNK)

    return script


async def wide(wire: Wire) -> None:
    """A stream of four megabytes, as fast as the other side takes it."""
    await wire.request()
    await wire.send(head())
    await _stream(wire, START, BLOCK)
    for _ in range(64):
        await _stream(wire, text("y" * 65536))
    await _stream(wire, BLOCK_STOP, USED, STOP)
    await wire.send(LAST_CHUNK)


async def one_big_event(wire: Wire) -> None:
    await wire.request()
    await wire.send(head())
    await _stream(wire, START, BLOCK, BIG, BLOCK_STOP, USED, STOP)
    await wire.send(LAST_CHUNK)


async def only_pings(wire: Wire) -> None:
    await wire.request()
    await wire.send(head())
    for _ in range(5):
        await _stream(wire, PING)
        await wire.pause(0.02)
    await wire.send(LAST_CHUNK)


error_first = ends_after(error("overloaded_error"))
error_inside = ends_after(*BEGUN, error("overloaded_error"))
inside_message_start = cut_after(START[: len(START) // 2])
inside_an_event = cut_after(*BEGUN, WORDS[1][:40])
future_event = ends_after(START, BLOCK, *WORDS, event("of_a_later_release", anything=1), BLOCK_STOP, USED, STOP)


async def gate_before_an_error(wire: Wire) -> None:
    await wire.request()
    await wire.at_gate()
    await wire.send(whole(error_body("overloaded_error"), "529 Overloaded"))
