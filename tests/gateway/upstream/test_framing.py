"""Where an answer ends: by length, by chunks, by the connection's end; and what must not pass for one."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from gateway.upstream import Unanswered, UpstreamError
from tests.gateway.upstream.scripted import WHOLE, Peer, answering, asked, body_of, provider, request, upstream

CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
STREAM = (
    CHUNKED
    + b"5;name=value\r\nhello\r\n"
    + b"00006\r\n world\r\n"
    + b"0\r\nx-trailer: late\r\ncontent-type: x/y\r\n\r\n"
)


async def failure(*parts: bytes, read_timeout: float = 5) -> UpstreamError:
    """The error that an answer of these packets ends with; the connection must not be kept."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(*parts)
        await peer.gone()

    async with provider(script) as served, upstream(read_timeout=read_timeout) as client:
        with pytest.raises(UpstreamError) as caught:
            await asked(client, served.url)
        await served.finish()
    return caught.value


async def test_a_chunked_answer_cut_at_every_byte() -> None:
    async def script(peer: Peer) -> None:
        for cut in range(1, len(STREAM)):
            await peer.request()
            await peer.say(STREAM[:cut], STREAM[cut:])

    async with provider(script) as served, upstream() as client:
        for _ in range(1, len(STREAM)):  # over one connection: after each the parser stands where it should
            response = await client.open(request(served.url))
            assert await body_of(response) == b"hello world"
            assert (response.content_type, response.header(b"x-trailer")) == ("text/event-stream", None)
    assert served.connections == 1


async def test_a_chunked_answer_byte_by_byte() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(*(bytes([byte]) for byte in STREAM))

    async with provider(script) as served, upstream() as client:
        assert await asked(client, served.url) == b"hello world"


async def test_what_comes_in_one_packet_is_given_at_once() -> None:
    given: list[bytes] = []
    async with provider(answering(CHUNKED + b"1\r\nx\r\n" * 300 + b"0\r\n\r\n")) as served, upstream() as client:
        response = await client.open(request(served.url))
        await response.relay(given.append)
    assert given == [b"x" * 300]


@pytest.mark.parametrize(
    "answer",
    [
        CHUNKED + b"5\r\nhel",
        CHUNKED + b"5\r\nhello\r\n",
        CHUNKED + b"5\r\nhello\r\n0\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
    ],
)
async def test_an_answer_that_ends_early_broke_off(answer: bytes) -> None:
    async with provider(answering(answer)) as served, upstream() as client:
        with pytest.raises(UpstreamError, match="its answer broke off"):
            await asked(client, served.url)


@pytest.mark.parametrize("wrong", [b"3\r\nhello\r\n", b"x\r\nhello\r\n", b"-5\r\nhello\r\n", b"fffffffffffffffff\r\nx"])
async def test_a_chunk_of_a_wrong_size_ends_the_answer_after_what_was_right(wrong: bytes) -> None:
    given: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(CHUNKED + b"4\r\ngood\r\n")
        await seen.wait()
        await peer.say(b"3\r\nyes\r\n" + wrong)
        await peer.gone()

    def sink(chunk: bytes) -> None:
        given.append(chunk)
        seen.set()

    seen = asyncio.Event()
    async with provider(script) as served, upstream() as client:
        response = await client.open(request(served.url))
        with pytest.raises(UpstreamError, match="its answer broke off"):
            await response.relay(sink)
        await served.finish()
    assert b"".join(given).startswith(b"goodyes")


@pytest.mark.parametrize("more", [b"x", b"\0" * 100, WHOLE, WHOLE[:20], b"HTTP/1.1 500 Oops\r\n\r\n", b"}" * 100_000])
@pytest.mark.parametrize("first", [WHOLE, STREAM])
async def test_what_follows_an_answer_is_never_the_next_one(first: bytes, more: bytes) -> None:
    """Response splitting: whatever stands behind the body, the connection is not used again."""
    async with provider(answering(first + more)) as served, upstream() as client:
        for _ in range(2):
            assert await asked(client, served.url) == (b"{}" if first is WHOLE else b"hello world")
    assert served.connections == 2


async def test_bytes_on_an_idle_connection_close_it() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(WHOLE)
        if peer.number == 0:
            await answered.wait()
            await peer.say(WHOLE)
            await peer.gone()
            closed.set()

    answered, closed = asyncio.Event(), asyncio.Event()
    async with provider(script) as served, upstream() as client:
        await asked(client, served.url)
        answered.set()
        await closed.wait()
        await asked(client, served.url)
    assert served.connections == 2


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_without_a_length_the_answer_ends_with_the_connection(version: bytes) -> None:
    answer = b"HTTP/%b 200 OK\r\ncontent-type: application/json\r\n\r\nto the end" % version
    async with provider(answering(answer)) as served, upstream() as client:
        for _ in range(2):
            assert await asked(client, served.url) == b"to the end"
    assert served.connections == 2


async def test_without_a_length_a_reset_is_no_end() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\n\r\nhalf of it")
        await arrived.wait()
        peer.writer.get_extra_info("socket").setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER of 0 s: RST
        peer.reset()

    arrived = asyncio.Event()
    async with provider(script) as served, upstream() as client:
        response = await client.open(request(served.url))
        assert await response.read() == b"half of it"
        arrived.set()
        with pytest.raises(UpstreamError, match="its answer broke off"):
            await response.read()


@pytest.mark.parametrize(
    ("head", "connections"),
    [
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}", 2),
        (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\n{}", 1),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}", 2),
        (b"HTTP/1.1 200 OK\r\nConnection: Keep-Alive, Foo\r\nContent-Length: 2\r\n\r\n{}", 1),
    ],
)
async def test_a_connection_is_kept_where_the_provider_keeps_it(head: bytes, connections: int) -> None:
    async with provider(answering(head, head)) as served, upstream() as client:
        for _ in range(2):
            assert await asked(client, served.url) == b"{}"
    assert served.connections == connections


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_what_has_no_body_ends_with_its_head(status: bytes) -> None:
    answer = b"HTTP/1.1 %b\r\netag: x\r\n\r\n" % status
    async with provider(answering(answer, answer)) as served, upstream() as client:
        for _ in range(2):
            assert await asked(client, served.url) == b""
    assert served.connections == 1


async def test_interim_answers_are_passed_over() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\nx-early: 1\r\n\r\n"
    async with provider(answering(interim + WHOLE, interim + WHOLE)) as served, upstream() as client:
        for _ in range(2):
            response = await client.open(request(served.url))
            assert response.status == 200
            assert response.header(b"x-early") is None
            assert await body_of(response) == b"{}"
    assert served.connections == 1


async def test_an_interim_answer_cut_anywhere() -> None:
    both = b"HTTP/1.1 100 Continue\r\nx-early: 1\r\n\r\n" + WHOLE

    async def script(peer: Peer) -> None:
        for cut in range(1, len(both)):
            await peer.request()
            await peer.say(both[:cut], both[cut:])

    async with provider(script) as served, upstream() as client:
        for _ in range(1, len(both)):
            assert await asked(client, served.url) == b"{}"
    assert served.connections == 1


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 40,
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0x2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nno colon here\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nspace before : colon\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nnul: \0\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 201 + b"content-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n" + (b"x: " + b"y" * 1000 + b"\r\n") * 70 + b"content-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 " + b"x" * 100_000,
    ],
)
async def test_what_is_not_http_is_refused(head: bytes) -> None:
    error = await failure(head)
    assert "its answer is not HTTP (" in str(error)
    assert not isinstance(error, Unanswered)


async def test_a_head_within_its_bounds_passes() -> None:
    long = b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 198 + b"y: " + b"z" * 60_000 + b"\r\ncontent-length: 2\r\n\r\n{}"
    async with provider(answering(long)) as served, upstream() as client:
        assert await asked(client, served.url) == b"{}"


async def test_a_head_that_never_ends_is_given_up_though_bytes_come() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nx: ")
        # uvloop refuses what is written to a connection that closed in the same moment.
        with contextlib.suppress(RuntimeError, ConnectionError):
            while not peer.reader.at_eof():
                peer.writer.write(b"y")
                await asyncio.sleep(0.02)

    async with provider(script) as served, upstream(read_timeout=0.3) as client:
        with pytest.raises(UpstreamError, match="did not answer in time"):
            await asked(client, served.url)


@pytest.mark.parametrize("endless", [b"x: " + b"y" * 1_000_000, b"x: y\r\n" * 200_000])
async def test_trailers_without_end_are_given_up(endless: bytes) -> None:
    assert str(await failure(CHUNKED + b"2\r\n{}\r\n0\r\n", endless)) == "its answer broke off"


async def test_a_chunk_extension_without_end_is_given_up() -> None:
    assert str(await failure(CHUNKED + b"2\r\n{}\r\n2;", b"x" * 1_000_000)) == "its answer broke off"
