"""A web server on loopback that takes webhooks and answers as a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Posted:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """`answers` are the next statuses, then 200 for good; "hang" answers nothing until the test is over."""

    url: str = ""
    answers: list[int | str] = field(default_factory=list)
    posted: list[Posted] = field(default_factory=list)
    text: str = "ok"
    over: threading.Event = field(default_factory=threading.Event)


class _Handler(BaseHTTPRequestHandler):
    server: Any

    def do_POST(self) -> None:
        receiver: Receiver = self.server.receiver
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        receiver.posted.append(Posted(self.path, headers, body))
        answer = receiver.answers.pop(0) if receiver.answers else 200
        if answer == "hang":
            receiver.over.wait(30)
            return
        self.send_response(int(answer))
        if 300 <= int(answer) < 400:
            self.send_header("location", receiver.url)
        self.send_header("content-length", str(len(receiver.text)))
        self.end_headers()
        self.wfile.write(receiver.text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests look at `posted`."""


@contextmanager
def receiver() -> Iterator[Receiver]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        made = Receiver(f"http://127.0.0.1:{server.server_address[1]}/hook?key=very-secret")
        server.receiver = made  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield made
        finally:
            made.over.set()
            server.shutdown()
            thread.join()
