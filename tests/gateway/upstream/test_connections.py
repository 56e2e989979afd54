"""Connections: kept, found dead, given up in every stage, closed; and how long an answer may take."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest

from gateway.upstream import NotNoted, TimedOut, Unanswered, Upstream, UpstreamError, pool
from gateway.upstream import client as client_module
from gateway.upstream.connection import Connection
from gateway.upstream.pool import Pool
from tests.gateway.upstream.scripted import WHOLE, Peer, answering, asked, body_of, provider, request, upstream

CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
MEGABYTE = 1024 * 1024
BIG = bytes(8 * MEGABYTE)


def sockets() -> int:
    """Open sockets of this process."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
        except OSError:
            continue
    return count


async def turn_until(reached: Callable[[], bool]) -> None:
    """Let the loop turn until something holds; bounded."""
    async with asyncio.timeout(5):
        while not reached():
            await asyncio.sleep(0.005)


def reset(peer: Peer) -> None:
    peer.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.reset()


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_connection_that_dies_under_a_request_is_replaced_without_a_second_note(how: str) -> None:
    requests: list[bytes] = []
    notes: list[int] = []

    async def script(peer: Peer) -> None:
        requests.append(await peer.request())
        await peer.say(WHOLE)
        if peer.number == 0:
            requests.append(await peer.request())
            if how == "reset":
                reset(peer)

    async with provider(script) as served, upstream() as client:
        for _ in range(2):
            response = await client.open(request(served.url), lambda: bool(notes.append(1)) or True)
            assert await body_of(response) == b"{}"
    assert served.connections == 2
    assert len(requests) == 3
    assert notes == [1, 1]


async def test_a_connection_closed_while_idle_is_not_used() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(WHOLE)

    async with provider(script) as served, upstream() as client:
        for _ in range(3):
            await asked(client, served.url)
            await turn_until(lambda: client.open_connections == 0)
    assert served.connections == 3


async def test_it_is_sent_again_once_only() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number == 0:
            await peer.say(WHOLE)
            await peer.request()

    async with provider(script) as served, upstream() as client:
        await asked(client, served.url)
        with pytest.raises(Unanswered, match="closed the connection without an answer"):
            await asked(client, served.url)
    assert served.connections == 2


@pytest.mark.parametrize("first", [b"", b"H", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_it_is_not_sent_again_where_an_answer_began_or_the_connection_was_new(first: bytes) -> None:
    async def script(peer: Peer) -> None:
        if first:
            await peer.request()
            await peer.say(WHOLE)
        await peer.request()
        await peer.say(first)

    async with provider(script) as served, upstream() as client:
        if first:
            await asked(client, served.url)
        with pytest.raises(Unanswered, match="closed the connection without an answer"):
            await asked(client, served.url)
    assert served.connections == 1


async def test_it_is_not_sent_again_where_the_provider_may_have_worked_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "STALE_SECONDS", 0.0)
    async with provider(answering(WHOLE, b"")) as served, upstream() as client:
        await asked(client, served.url)
        with pytest.raises(Unanswered):
            await asked(client, served.url)
    assert served.connections == 1


async def test_a_note_that_cannot_be_written_costs_no_connection() -> None:
    async with provider(answering(WHOLE, WHOLE)) as served, upstream() as client:
        for _ in range(2):
            with pytest.raises(NotNoted):
                await client.open(request(served.url), lambda: False)
            await asked(client, served.url)
    assert served.connections == 1


async def test_a_note_that_fails_costs_no_connection() -> None:
    def note() -> bool:
        raise ZeroDivisionError

    async with provider(answering(WHOLE)) as served, upstream() as client:
        with pytest.raises(ZeroDivisionError):
            await client.open(request(served.url), note)
        assert await asked(client, served.url) == b"{}"
    assert served.connections == 1


async def test_the_latest_used_connection_is_used_first_and_the_rest_grows_old(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers: list[int] = []

    async def script(peer: Peer) -> None:
        while not peer.reader.at_eof():
            await peer.request()
            numbers.append(peer.number)
            await together.wait()
            await peer.say(WHOLE)

    together = asyncio.Event()
    async with provider(script) as served, upstream(read_timeout=0.4) as client:
        asking = [asyncio.create_task(asked(client, served.url)) for _ in range(5)]
        await turn_until(lambda: len(numbers) == 5)
        together.set()
        await asyncio.gather(*asking)
        assert client.open_connections == 5
        numbers.clear()
        for _ in range(4):
            await asked(client, served.url)
        assert len(set(numbers)) == 1
        monkeypatch.setattr(client_module, "IDLE_SECONDS", 0.0)
        await turn_until(lambda: client.open_connections == 0)


async def test_idle_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MOST_IDLE", 2)

    async def script(peer: Peer) -> None:
        await peer.request()
        arrived.append(peer.number)
        await together.wait()
        await peer.say(WHOLE)
        await peer.gone()

    together = asyncio.Event()
    arrived: list[int] = []
    async with provider(script) as served, upstream() as client:
        asking = [asyncio.create_task(asked(client, served.url)) for _ in range(5)]
        await turn_until(lambda: len(arrived) == 5)
        together.set()
        await asyncio.gather(*asking)
        await turn_until(lambda: client.open_connections == 2)


async def test_silence_is_given_up_in_each_stage() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say([b"", b"HTTP/1.1 200 OK\r\nx: y\r\n", CHUNKED, CHUNKED + b"5\r\nhello\r\n"][peer.number])
        await peer.gone()

    async with provider(script) as served, upstream(read_timeout=0.2) as client:
        for _ in range(4):
            began = asyncio.get_running_loop().time()
            with pytest.raises(TimedOut, match="it did not answer in time"):
                await asked(client, served.url)
            assert asyncio.get_running_loop().time() - began >= 0.19
        await served.finish()


async def test_an_answer_may_take_longer_than_the_time_out_while_bytes_come() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(CHUNKED)
        for _ in range(12):
            await asyncio.sleep(0.05)
            await peer.say(b"1\r\nx\r\n")
        await peer.say(b"0\r\n\r\n")

    async with provider(script) as served, upstream(read_timeout=0.3) as client:
        assert await asked(client, served.url) == b"x" * 12


async def test_no_time_out_runs_while_the_consumer_pauses() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(CHUNKED + b"5\r\nfirst\r\n")
        await paused.wait()
        await peer.say(b"6\r\nsecond\r\n0\r\n\r\n")
        await peer.gone()

    given: list[bytes] = []
    paused = asyncio.Event()

    async with provider(script) as served, upstream(read_timeout=0.1) as client:
        response = await client.open(request(served.url))

        def sink(chunk: bytes) -> None:
            given.append(chunk)
            if len(given) == 1:
                response.pause()
                paused.set()

        relaying = asyncio.create_task(response.relay(sink))
        await asyncio.sleep(0.4)  # four times the time-out
        assert given == [b"first"]
        response.resume()
        await relaying
        assert b"".join(given) == b"firstsecond"


async def test_a_provider_that_reads_slowly_is_waited_for_while_it_reads() -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        left = 48 * MEGABYTE
        while left:
            left -= len(await peer.reader.readexactly(MEGABYTE))
            await asyncio.sleep(0.05)
        await peer.say(WHOLE)

    # What the system's buffers hold is read within the time-out, the whole is not.
    async with provider(script) as served, upstream(read_timeout=1) as client:
        assert await asked(client, served.url, bytes(48 * MEGABYTE)) == b"{}"


async def test_a_provider_that_does_not_read_is_given_up() -> None:
    async def script(peer: Peer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await given_up.wait()
        peer.reset()

    given_up = asyncio.Event()
    async with provider(script) as served, upstream(read_timeout=0.2) as client:
        with pytest.raises(UpstreamError, match="it did not take the request in time"):
            await asked(client, served.url, BIG)
        given_up.set()


@pytest.mark.parametrize("closing", [True, False])
async def test_an_answer_that_comes_before_the_request_was_read_is_given(closing: bool) -> None:
    too_large = b"HTTP/1.1 413 Too Large\r\ncontent-length: 9\r\n\r\ntoo large"

    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.say(too_large)
        if not closing:
            peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await answered.wait()

    answered = asyncio.Event()
    async with provider(script) as served, upstream() as client:
        response = await client.open(request(served.url, BIG))
        assert response.status == 413
        assert await body_of(response) == b"too large"
        await turn_until(lambda: client.open_connections == 0)
        answered.set()


async def test_a_body_of_every_size_arrives_whole() -> None:
    async def script(peer: Peer) -> None:
        while not peer.reader.at_eof():
            body = (await peer.request()).partition(b"\r\n\r\n")[2]
            await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body), body)

    async with provider(script) as served, upstream() as client:
        for size in (0, 1, 2000, 65_535, 65_536, 65_537, 300_000, 8_000_000):
            body = os.urandom(size)
            response = await client.open(request(served.url, body))
            assert await body_of(response, 10_000_000) == body
    assert served.connections == 1


async def cancelled(client: Upstream, url: str, when: Callable[[], bool], body: bytes = b"{}") -> None:
    asking = asyncio.create_task(asked(client, url, body))
    await turn_until(when)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


@pytest.mark.parametrize("stage", ["sending", "waiting", "reading"])
async def test_a_request_cancelled_in_any_stage_leaves_nothing(stage: str) -> None:
    async def script(peer: Peer) -> None:
        if stage == "sending":
            await peer.reader.readuntil(b"\r\n\r\n")
        else:
            await peer.request()
        if stage == "reading":
            await peer.say(CHUNKED + b"1\r\nx\r\n")
        reached.set()
        await peer.gone()

    before, tasks = sockets(), len(asyncio.all_tasks())
    reached = asyncio.Event()
    async with provider(script) as served, upstream() as client:
        await cancelled(client, served.url, reached.is_set, BIG if stage == "sending" else b"{}")
        await turn_until(lambda: client.open_connections == 0)
        await served.finish()
    assert len(asyncio.all_tasks()) == tasks
    await turn_until(lambda: sockets() <= before)


async def test_a_request_cancelled_while_connecting_leaves_nothing() -> None:
    with socket.socket() as full:  # its queue of one is full: a further connection waits
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        before, tasks = sockets(), len(asyncio.all_tasks())
        async with upstream() as client:
            url = f"http://127.0.0.1:{full.getsockname()[1]}/"
            await cancelled(client, url, lambda: sockets() > before)
            await turn_until(lambda: sockets() <= before)
        async with upstream(connect_timeout=0.2) as client:
            with pytest.raises(Unanswered, match="it could not be reached in time"):
                await asked(client, url)
        await turn_until(lambda: sockets() <= before)
        assert len(asyncio.all_tasks()) == tasks
        for each in waiting:
            each.close()


async def test_cancelled_just_as_the_answer_came_it_does_not_end_anothers_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The race: the answer is here and its connection free, but who asked is cancelled before it runs."""

    async def script(peer: Peer) -> None:
        while not peer.reader.at_eof():
            await peer.request()
            await peer.say(WHOLE)

    original = Pool.give
    asking: list[asyncio.Task[bytes]] = []

    def give(self: Pool, connection: Connection) -> None:
        original(self, connection)
        if len(asking) == 1:
            asking[0].cancel()
            asking.append(asyncio.create_task(asked(client, served.url)))

    monkeypatch.setattr(Pool, "give", give)
    async with provider(script) as served, upstream() as client:
        asking.append(asyncio.create_task(asked(client, served.url)))
        with pytest.raises(asyncio.CancelledError):
            await asking[0]
        assert await asking[1] == b"{}"
    assert served.connections == 1


async def test_closing_ends_what_is_under_way() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"" if peer.number == 0 else CHUNKED)
        arrived.append(peer.number)
        await peer.gone()

    arrived: list[int] = []
    async with provider(script) as served, upstream() as client:
        asking = []
        for _ in range(2):
            asking.append(asyncio.create_task(asked(client, served.url)))
            await turn_until(lambda: len(arrived) == len(asking))
        await client.close()
        for each in asking:
            with pytest.raises(UpstreamError, match="the gateway stops"):
                await each
        with pytest.raises(UpstreamError, match="the gateway stops"):
            await asked(client, served.url)


@pytest.mark.parametrize("pushed", [True, False])
async def test_an_abort_ends_who_reads(pushed: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(CHUNKED + b"5\r\nhello\r\n")
        await peer.gone()

    async with provider(script) as served, upstream() as client:
        response = await client.open(request(served.url))
        given: list[bytes] = []

        async def read() -> None:
            while chunk := await response.read():
                given.append(chunk)

        reading = asyncio.create_task(response.relay(given.append) if pushed else read())
        await turn_until(lambda: given == [b"hello"])
        response.abort()
        with pytest.raises(UpstreamError, match="given up: the client is gone"):
            await reading
        await served.finish()


async def test_what_a_sink_raises_ends_the_relay() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(CHUNKED + b"5\r\nhello\r\n")
        await peer.gone()

    def sink(chunk: bytes) -> None:
        raise ZeroDivisionError

    async with provider(script) as served, upstream() as client:
        response = await client.open(request(served.url))
        with pytest.raises(ZeroDivisionError):
            await response.relay(sink)
        await served.finish()


async def test_a_consumer_that_does_not_read_does_not_fill_the_memory() -> None:
    size = 32 * 1024 * 1024

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        part = b"x" * 65_536
        for _ in range(size // len(part)):
            peer.writer.write(part)
            await peer.writer.drain()
            sent.append(len(part))

    sent: list[int] = []
    async with provider(script) as served, upstream(read_timeout=0.2) as client:
        response = await client.open(request(served.url))
        stands = -1
        while stands != sum(sent):
            stands = sum(sent)
            await asyncio.sleep(0.3)
        assert stands < size
        assert response._unread <= 1024 * 1024
        read = 0
        while chunk := await response.read():
            read += len(chunk)
        response.close()
    assert read == size


async def test_the_system_watches_for_peers_that_vanished(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    async with provider(answering(WHOLE)) as served, upstream() as client:
        await asked(client, served.url)
        (connection,) = client._connections
        link = connection._transport.get_extra_info("socket")
        seen += [
            link.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            link.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
            link.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
        ]
    assert seen == [1, 1, 60]
