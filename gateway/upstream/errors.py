"""What can go wrong with a provider, each as one sentence that reads on after "The provider X failed:"."""

from __future__ import annotations

import os
import socket
import ssl


class UpstreamError(Exception):
    """The provider could not be reached, did not answer, or broke off; the message says which.

    `detail` is for the log and the request row alone: it may name addresses that a developer need not know.
    """

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class TimedOut(UpstreamError):
    """The request was sent and no answer came in time."""

    def __init__(self) -> None:
        super().__init__("it did not answer in time")


class Unanswered(UpstreamError):
    """No answer began and the provider most likely did nothing: the request may be sent again."""


class PrivateAddress(UpstreamError):
    """The provider's address is on loopback or a private network and that is not allowed."""

    def __init__(self, host: str) -> None:
        super().__init__(
            "its address is on loopback or a private network, which COMPTROLLER_ALLOW_PRIVATE_UPSTREAMS=1 would allow",
            f"({host})",
        )


class NotNoted(UpstreamError):
    """The request could not be noted first and was not sent: not one of its bytes left."""

    def __init__(self) -> None:
        super().__init__("it was not asked, for the request could not be noted before")


def in_words(error: BaseException) -> str:
    """What the system says of a connection, `connection refused`, in nobody's programming language."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"TLS: {error.reason.replace('_', ' ').lower()}"
    if not isinstance(error, OSError) or not error.errno:
        return str(error)
    # A name's look-up has numbers of its own; asyncio puts the address's tuple in the place of the system's words.
    words = error.strerror if isinstance(error, socket.gaierror | ssl.SSLError) else os.strerror(error.errno)
    return f"{words[:1].lower()}{words[1:]}" if words else str(error)
