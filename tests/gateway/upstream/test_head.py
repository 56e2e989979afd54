"""What may stand in the head of a request, and what must not; and the compressed form of an answer."""

from __future__ import annotations

import asyncio
import tracemalloc
import zlib

import pytest

from gateway.providers.base import UpstreamRequest
from gateway.upstream import UpstreamError
from gateway.upstream.head import fields, place
from gateway.upstream.inflate import MOST_BYTES, Inflater
from tests.gateway.upstream.scripted import WHOLE, Peer, asked, provider, request, upstream


@pytest.mark.parametrize(
    "header",
    [
        (b"x", b"a\r\nx-api-key: stolen"),
        (b"x", b"a\nb"),
        (b"x", b"a\rb"),
        (b"x", b"a\0b"),
        (b"x\r\ny", b"a"),
        (b"x y", b"a"),
        (b"x:y", b"a"),
        (b"", b"a"),
        (b"x\xff", b"a"),
        (b"content-length", b"5"),
        (b"Transfer-Encoding", b"chunked"),
        (b"host", b"other"),
        (b"connection", b"close"),
    ],
)
def test_a_header_that_could_frame_another_request_is_refused(header: tuple[bytes, bytes]) -> None:
    good = (b"x-good", b"\tany value, even \xff")
    assert fields([good, good]) == b"\r\nx-good: \tany value, even \xff" * 2
    for headers in ([header], [good, header], [header, good]):
        with pytest.raises(UpstreamError, match="the request has a header"):
            fields(headers)


async def test_a_refused_header_costs_nothing_and_is_not_noted() -> None:
    notes: list[int] = []
    async with upstream() as client:
        with pytest.raises(UpstreamError, match="the request has a header"):
            await client.open(
                UpstreamRequest("http://127.0.0.1:9/", [(b"x", b"a\r\nb")], b""), lambda: bool(notes.append(1)) or True
            )
        assert client.open_connections == 0
    assert notes == []


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://h/v1/messages?beta=true", b"/v1/messages?beta=true"),
        ("http://h", b"/"),
        ("http://h?q=1", b"/?q=1"),
        ("http://h/a b?c d", b"/a%20b?c%20d"),
        ("http://h/a%20b?c=%2F%zz+1", b"/a%20b?c=%2F%zz+1"),
        ("http://h/ü?q=\xff", b"/%C3%BC?q=%FF"),
        ('http://h/"<>\\^`{|}', b"/%22%3C%3E%5C%5E%60%7B%7C%7D"),
        ("http://h/a#fragment", b"/a"),
    ],
)
def test_the_target_of_a_request(url: str, target: bytes) -> None:
    assert place(url).lines.startswith(target + b" HTTP/1.1\r\nhost: h\r\n")


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://Example.COM:80/", b"example.com"),
        ("https://example.com:443/", b"example.com"),
        ("https://example.com:80/", b"example.com:80"),
        ("http://[::1]:8080/", b"[::1]:8080"),
        ("http://bücher.example/", b"xn--bcher-kva.example"),
    ],
)
def test_the_host_of_a_request(url: str, host: bytes) -> None:
    assert b"\r\nhost: " + host + b"\r\n" in place(url).lines


@pytest.mark.parametrize(
    "url",
    [
        "http://h/a\r\nx: y",
        "http://h/\tb",
        "http://h\n/",
        "http://h/\0",
        "ftp://h/",
        "//h/",
        "h/",
        "",
        "http://",
        "http:///a",
        "http://user:secret@h/",
        "http://h:port/",
        "http://h:99999/",
        "http://a b/",
        "http://[::1/",
        "http://" + "a" * 70 + "/",
    ],
)
def test_an_address_that_cannot_be_used(url: str) -> None:
    with pytest.raises(UpstreamError, match="its address cannot be used") as caught:
        place(url)
    assert "secret" not in f"{caught.value} {caught.value.detail}"


async def test_the_request_as_the_provider_gets_it() -> None:
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        for _ in range(2):
            seen.append(await peer.request())
            await peer.say(WHOLE)

    async with provider(script) as served, upstream() as client:
        await asked(client, served.url)
        response = await client.open(UpstreamRequest(served.url, (), b"body"))
        await response.read_all(10)
    host = f"127.0.0.1:{served.port}".encode()
    assert seen == [
        b"POST /v1/messages HTTP/1.1\r\nhost: %b\r\ncontent-length: 2\r\nx-api-key: sk-secret\r\n\r\n{}" % host,
        b"POST /v1/messages HTTP/1.1\r\nhost: %b\r\ncontent-length: 4\r\n\r\nbody" % host,
    ]


PLAIN = b"event: ping\ndata: {}\n\n" * 5000


def packed(plain: bytes, wbits: int = zlib.MAX_WBITS | 16) -> bytes:
    return zlib.compress(plain, wbits=wbits)


def encoded(body: bytes, encoding: bytes = b"gzip") -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-encoding: %b\r\ncontent-length: %d\r\n\r\n" % (encoding, len(body)) + body


@pytest.mark.parametrize("pushed", [True, False])
@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (packed(PLAIN), b"gzip"),
        (packed(PLAIN), b"X-GZIP"),
        (packed(PLAIN, zlib.MAX_WBITS), b"deflate"),
        (packed(PLAIN[:22]) + packed(PLAIN[22:]), b"gzip"),
    ],
)
async def test_a_compressed_answer_comes_in_plain_however_it_is_cut(body: bytes, encoding: bytes, pushed: bool) -> None:
    answer = encoded(body, encoding)

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(*(answer[at : at + 40] for at in range(0, len(answer), 40)))

    async with provider(script) as served, upstream() as client:
        response = await client.open(request(served.url))
        assert [name for name, _ in response.headers] == []
        given: list[bytes] = []
        if pushed:
            await response.relay(given.append)
        else:
            given.append(await response.read_all(len(PLAIN)))
    assert b"".join(given) == PLAIN


@pytest.mark.parametrize("pushed", [True, False])
@pytest.mark.parametrize("body", [packed(PLAIN)[:-20], b"nope", packed(PLAIN) + b"nope"])
async def test_a_broken_compressed_answer_is_an_error(body: bytes, pushed: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(encoded(body))
        await peer.gone()

    async with provider(script) as served, upstream() as client:
        response = await client.open(request(served.url))
        with pytest.raises(UpstreamError, match="its compressed answer is broken"):
            await (response.relay(lambda chunk: None) if pushed else response.read_all(10**7))
        response.close()


async def test_a_small_body_that_inflates_without_end_does_not_fill_the_memory() -> None:
    bomb = encoded(packed(bytes(200 * 1024 * 1024)))
    sizes: list[int] = []

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(bomb)

    async with provider(script) as served, upstream() as client:
        response = await client.open(request(served.url))
        tracemalloc.start()
        try:
            await response.relay(lambda chunk: sizes.append(len(chunk)))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        with pytest.raises(UpstreamError, match="larger than 1,000,000 bytes"):
            await asked(client, served.url)
    assert (sum(sizes), max(sizes)) == (200 * 1024 * 1024, MOST_BYTES)
    assert peak < 8 * 1024 * 1024


async def test_a_pause_holds_a_compressed_answer_back_in_the_middle() -> None:
    plain = bytes(5 * MOST_BYTES)
    given: list[int] = []

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(encoded(packed(plain)))

    async with provider(script) as served, upstream() as client:
        response = await client.open(request(served.url))

        def sink(chunk: bytes) -> None:
            given.append(len(chunk))
            response.pause()
            loop.call_later(0.01, lambda: (seen.append(len(given)), response.resume()))

        loop = asyncio.get_running_loop()
        seen: list[int] = []
        await response.relay(sink)
    assert given == [MOST_BYTES] * 5
    assert seen[:4] == [1, 2, 3, 4]


@pytest.mark.parametrize("encoding", [b"br", b"zstd", b"gzip, gzip", b"identity, br"])
async def test_a_coding_that_was_not_asked_for_is_refused(encoding: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(encoded(b"x", encoding))
        await peer.gone()

    async with provider(script) as served, upstream() as client:
        with pytest.raises(UpstreamError, match="it answered with content-encoding"):
            await client.open(request(served.url))
        await served.finish()


def test_an_inflater_gives_what_its_bound_held_back() -> None:
    inflater = Inflater()
    inflater.feed(packed(bytes(MOST_BYTES * 2)))
    assert [len(inflater.next()) for _ in range(3)] == [MOST_BYTES, MOST_BYTES, 0]
    inflater.finish()
