"""The head of a request as bytes, and the address it goes to; nothing that could end a line early gets in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Final
from urllib.parse import quote, urlsplit

from gateway.upstream.errors import UpstreamError
from gateway.upstream.resolve import is_literal

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_HOST: Final = re.compile(r"[a-z0-9_.-]+")
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
_OURS: Final = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"te", b"trailer"}
)
"""What frames the message and belongs to this connection: the client alone writes it."""
_PLAIN: Final = "!$%&'()*+,-./:;=?@_~"
"""What may stand in a path or a query as it is; `%` too, for what is encoded already stays so."""
_MAX_NAMES: Final = 1024
MAX_KEPT: Final = 256
"""Characters of a URL that is remembered: its query is a client's."""

_name_of = itemgetter(0)
_names: set[bytes] = set()
"""Header names that were found valid: the same few come with every request."""


class Origin:
    """Scheme, host and port: what connections are kept for. Equal ones are the same object."""

    __slots__ = ("host", "port", "secure", "written")

    def __init__(self, secure: bool, host: str, port: int) -> None:
        self.secure = secure
        self.host = host
        self.port = port
        bracketed = f"[{host}]" if ":" in host else host
        self.written = (bracketed if port == (443 if secure else 80) else f"{bracketed}:{port}").encode()
        """As the `Host` header has it."""

    def __repr__(self) -> str:
        return f"<Origin {'https' if self.secure else 'http'}://{self.written.decode()}>"


class Place:
    """Where one URL leads: an origin, and the first lines of every request to it."""

    __slots__ = ("lines", "origin")

    def __init__(self, origin: Origin, target: bytes) -> None:
        self.origin = origin
        self.lines = b"%b HTTP/1.1\r\nhost: %b\r\ncontent-length: " % (target, origin.written)
        """From the target to where the length of the body follows."""


def place(url: str) -> Place:
    """Take a URL apart. Raises UpstreamError where it is not one that can be asked."""
    return _known_place(url) if len(url) <= MAX_KEPT else _place(url)


def _place(url: str) -> Place:
    try:
        if _CONTROL.search(url):
            raise ValueError("a control character")
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or parts.username is not None or parts.password is not None:
            raise ValueError("neither http nor https, or with a user")
        host = parts.hostname or ""
        secure = parts.scheme == "https"
        port = parts.port if parts.port is not None else (443 if secure else 80)
        if not is_literal(host):
            host = host.encode("idna").decode("ascii").lower()
            if not _HOST.fullmatch(host):
                raise ValueError("no host")
    except ValueError as error:
        raise UpstreamError("its address cannot be used", f"({error})") from None
    target = quote(parts.path or "/", safe=_PLAIN)
    if parts.query:
        # The query's bytes came as latin-1.
        target += "?" + quote(parts.query, safe=_PLAIN, encoding="latin-1", errors="replace")
    return Place(_origin(secure, host, port), target.encode("ascii"))


_known_place = lru_cache(maxsize=4096)(_place)


@lru_cache(maxsize=1024)
def _origin(secure: bool, host: str, port: int) -> Origin:
    return Origin(secure, host, port)


def fields(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The header lines, each with a line end before it. Raises UpstreamError for a name or a value that would change
    where the head ends.
    """
    lines = b"\r\n".join((b"", *map(b": ".join, headers)))
    ends = len(headers)
    if not _names.issuperset(map(_name_of, headers)):
        _learn(headers)
    if lines.count(b"\n") != ends or lines.count(b"\r") != ends or b"\0" in lines:
        raise UpstreamError("the request has a header value that HTTP does not allow")
    return lines


def _learn(headers: Sequence[tuple[bytes, bytes]]) -> None:
    for name, _ in headers:
        if not _NAME.fullmatch(name) or name.lower() in _OURS:
            raise UpstreamError("the request has a header that may not be sent", f"({name[:100]!r})")
    if len(_names) > _MAX_NAMES:
        _names.clear()
    _names.update(map(_name_of, headers))
