"""A mail server on loopback that keeps what it takes, and refuses what a test says."""

from __future__ import annotations

import base64
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any


@dataclass
class MailServer:
    """`refuse` answers RCPT for an address; `login` is the user and password it asks for."""

    port: int = 0
    refuse: dict[str, str] = field(default_factory=dict)
    login: tuple[str, str] | None = None
    messages: list[tuple[str, list[str], EmailMessage]] = field(default_factory=list)
    """(sender, recipients, message) in the order they came."""

    def to(self, address: str) -> list[EmailMessage]:
        return [message for _, recipients, message in self.messages if address in recipients]


class _Session(socketserver.StreamRequestHandler):
    server: Any

    def handle(self) -> None:
        mail: MailServer = self.server.mail
        self.say("220 sink ready")
        recipients: list[str] = []
        sender, welcome = "", mail.login is None
        while line := self.rfile.readline():
            verb, _, rest = line.decode().strip().partition(" ")
            match verb.upper():
                case "EHLO":
                    self.say("250-sink\r\n250-AUTH PLAIN\r\n250 8BITMIME" if mail.login else "250-sink\r\n250 8BITMIME")
                case "AUTH":
                    _, user, password = base64.b64decode(rest.split()[1]).decode().split("\0")
                    welcome = (user, password) == mail.login
                    self.say("235 welcome" if welcome else "535 wrong user or password")
                case "MAIL":
                    sender, recipients = _address(rest), []
                    self.say("250 ok" if welcome else "530 log in first")
                case "RCPT":
                    refusal = mail.refuse.get(_address(rest))
                    recipients += [] if refusal else [_address(rest)]
                    self.say(refusal or "250 ok")
                case "DATA":
                    self.say("354 go on")
                    message = message_from_bytes(self.data(), policy=policy.default)
                    mail.messages.append((sender, recipients, message))
                    self.say("250 kept")
                case "QUIT":
                    self.say("221 bye")
                    return
                case _:
                    self.say("250 ok")

    def data(self) -> bytes:
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        return b"".join(lines)

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


def _address(argument: str) -> str:
    return argument[argument.index("<") + 1 : argument.index(">")]


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@contextmanager
def mail_server() -> Iterator[MailServer]:
    with _Server(("127.0.0.1", 0), _Session) as server:
        mail = server.mail = MailServer(server.server_address[1])  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield mail
        finally:
            server.shutdown()
            thread.join()
