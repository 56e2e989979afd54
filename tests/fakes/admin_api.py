"""Anthropic's Admin API on loopback: a real HTTP server whose answers a test scripts, page by page."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

KEY = "sk-ant-admin01-only-for-tests"


@dataclass
class Answer:
    """One answer out of turn: it is given once, before what the fake would say."""

    status: int
    body: bytes = b'{"type": "error", "error": {"type": "api_error", "message": "scripted"}}'
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class AdminApiFake:
    """`days` are whole buckets by report; `page_size` buckets go into a page. `asked` is every request, in order."""

    url: str = ""
    page_size: int = 31
    cost: list[dict[str, Any]] = field(default_factory=list)
    usage: list[dict[str, Any]] = field(default_factory=list)
    out_of_turn: list[Answer] = field(default_factory=list)
    asked: list[tuple[str, list[tuple[str, str]], dict[str, str]]] = field(default_factory=list)

    def answer(self, path: str, query: list[tuple[str, str]], headers: dict[str, str]) -> Answer:
        self.asked.append((path, query, headers))
        if self.out_of_turn:
            return self.out_of_turn.pop(0)
        if headers.get("x-api-key") != KEY or headers.get("anthropic-version") != "2023-06-01":
            return Answer(
                401, b'{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}'
            )
        buckets = {"/v1/organizations/cost_report": self.cost, "/v1/organizations/usage_report/messages": self.usage}
        if path not in buckets:
            return Answer(404)
        one = dict(query)
        chosen = [
            b for b in buckets[path] if one["starting_at"] <= b["starting_at"] and b["ending_at"] <= one["ending_at"]
        ]
        begin = int(one.get("page", "page_0").removeprefix("page_"))
        size = min(self.page_size, int(one["limit"]))
        more = begin + size < len(chosen)
        page = {
            "data": chosen[begin : begin + size],
            "has_more": more,
            "next_page": f"page_{begin + size}" if more else None,
        }
        return Answer(200, json.dumps(page).encode())


@contextmanager
def running() -> Iterator[AdminApiFake]:
    fake = AdminApiFake()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = fake.answer(parts.path, parse_qsl(parts.query), headers)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *args: object) -> None:
            """Nothing: the test's own output stays readable."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
