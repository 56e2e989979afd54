"""The load client and the mock provider: what they measure is what happened, and what went wrong is counted."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.benchmarks import native, traffic
from tests.benchmarks.native import Answers, Job, Mock

pytestmark = pytest.mark.compiler

Load = Callable[..., Answers]


@pytest.fixture(scope="module")
def programs() -> dict[str, Path]:
    return native.build()


@pytest.fixture
def mock(programs: dict[str, Path]) -> Iterator[Mock]:
    with Mock(programs["mock"]) as started:
        yield started


@pytest.fixture
def load(programs: dict[str, Path], tmp_path: Path) -> Load:
    def run(port: int, answer: str, job: Job, size: int = 2_000, secrets: tuple[str, ...] = ("one", "two")) -> Answers:
        body = traffic.body(size, stream=False)
        head = traffic.head("", answer, len(body))
        return native.load(programs["load"], tmp_path, port, head, body, list(secrets), job)

    return run


def seen(mock: Mock) -> dict[str, int]:
    told: dict[str, int] = httpx.get(f"http://127.0.0.1:{mock.port}/stats").json()
    return told


@pytest.mark.parametrize("size", [2_000, 100_000, 1_000_000])
def test_a_body_has_its_size_to_the_byte_and_the_shape_of_a_model_call(size: int) -> None:
    made = traffic.body(size, stream=True)
    assert len(made) == size
    call = json.loads(made)
    assert call["stream"] is True
    assert call["messages"][-1]["role"] == "user"
    assert json.loads(call["metadata"]["user_id"])["session_id"] == traffic.SESSION


def test_a_closed_loop_keeps_its_connections_busy(mock: Mock, load: Load) -> None:
    answers = load(mock.port, "json", Job(connections=8, seconds=0.3))
    assert answers.failed == 0
    assert answers.requests == len(answers.total) == len(answers.first) == seen(mock)["requests"] > 100
    assert answers.body_bytes[0] == answers.body_bytes[1] > 900
    assert all(first <= total for first, total in zip(answers.first, answers.total, strict=True))
    assert 0.3 <= answers.seconds < 5


def test_an_open_loop_sends_at_its_rate(mock: Mock, load: Load) -> None:
    answers = load(mock.port, "json", Job(connections=4, seconds=0.5, rate=40))
    assert (answers.requests, answers.failed) == (20, 0)


def test_an_open_loop_counts_the_time_that_a_request_waited_for_a_connection(mock: Mock, load: Load) -> None:
    """Ten requests at once on one connection, 50 ms each: the last one waited for the nine before it."""
    answers = load(mock.port, "slow-1-50", Job(connections=1, seconds=0.1, rate=100))
    assert answers.requests == 10
    assert answers.total[0] >= 50_000
    assert answers.total[9] >= 10 * 50_000 - 100_000


def test_streams_are_all_open_at_once_and_last_as_long_as_their_events(mock: Mock, load: Load) -> None:
    answers = load(mock.port, "slow-4-50", Job(connections=300, streams=True))
    assert (answers.requests, answers.failed, answers.peak_streams) == (300, 0, 300)
    assert min(answers.total) >= 4 * 50_000
    assert min(answers.first) < 200_000
    assert seen(mock)["peak_streams"] == 300


def test_eight_megabytes_arrive_whole(mock: Mock, load: Load) -> None:
    answers = load(mock.port, "json", Job(connections=3, seconds=0.1), size=8_000_000)
    told = seen(mock)
    assert answers.failed == 0
    assert told["body_bytes"] == 8_000_000 * answers.requests == 8_000_000 * told["requests"] > 0


def test_a_stream_has_the_events_of_the_provider(mock: Mock) -> None:
    text = httpx.post(f"http://127.0.0.1:{mock.port}/burst/v1/messages", content=b"{}").text
    events = [line.partition(": ")[2] for line in text.splitlines() if line.startswith("event: ")]
    assert events[:3] == ["message_start", "content_block_start", "content_block_delta"]
    assert events.count("content_block_delta") == 300
    assert events[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_a_status_that_is_no_success_is_a_failure_and_enough_of_them_end_the_run(mock: Mock, load: Load) -> None:
    answers = load(mock.port, "error-500", Job(connections=2, seconds=30, failures=20))
    assert answers.requests == 0
    assert answers.odd_status == 500
    assert answers.failures["status"] > 20
    assert answers.seconds < 10


@contextmanager
def canned(answer: bytes) -> Iterator[int]:
    """A server that sends these bytes to whoever connects, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65_536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfive.", "closed"),
        (CHUNKED + b"5\r\nfive.\r\n", "closed"),
        (CHUNKED + b"5\r\nfive.five.0\r\n\r\n", "framing"),
        (CHUNKED + b"xyz\r\n", "framing"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", "framing"),
        (b"", "closed"),
    ],
)
def test_an_answer_that_breaks_off_is_a_failure_of_its_kind(load: Load, answer: bytes, kind: str) -> None:
    with canned(answer) as port:
        answers = load(port, "json", Job(connections=1, streams=True, patience=5))
    assert (answers.requests, answers.failed) == (0, 1)
    assert answers.failures[kind] == 1


def test_an_answer_in_pieces_with_trailers_counts(load: Load) -> None:
    whole = b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED + b"5\r\nfive.\r\nA\r\nten bytes.\r\n0\r\nx: y\r\n\r\n"
    with canned(whole) as port:
        answers = load(port, "json", Job(connections=1, streams=True, patience=5))
    assert (answers.requests, answers.failed, answers.body_bytes) == (1, 0, (15, 15))


def test_a_server_that_does_not_answer_is_said(load: Load) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        answers = load(port, "json", Job(connections=2, streams=True, patience=0.2))
    assert (answers.requests, answers.failures["unfinished"]) == (0, 2)


def test_without_a_compiler_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "compiler", lambda: None)
    with pytest.raises(native.NoCompiler, match="apt-get install gcc"):
        native.build()
