"""Request and answer headers: read them, find the virtual key, and decide which of them travel on."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

RawHeaders = Iterable[tuple[bytes, bytes]]
"""As ASGI gives them: names in lower case, values in latin-1."""

_HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)  # RFC 9110 §7.6.1

_NOT_FORWARDED: Final = _HOP_BY_HOP | {
    b"accept-encoding",
    b"anthropic-workspace-id",
    b"api-key",
    b"authorization",
    b"content-length",
    b"cookie",
    b"expect",
    b"forwarded",
    b"host",
    b"openai-organization",
    b"openai-project",
    b"via",
    b"x-api-key",
    b"x-real-ip",
}
"""Connections and formats apart: what some server takes as a credential, or as the choice of an account."""
_NOT_FORWARDED_PREFIXES: Final = (b"proxy-", b"x-amz-", b"x-comptroller-", b"x-forwarded-", b"x-goog-")
_VIRTUAL_KEY: Final = b"sk-cmp-"

_NOT_RELAYED: Final = _HOP_BY_HOP | {
    b"alt-svc",
    b"anthropic-organization-id",
    b"content-length",
    b"date",
    b"openai-organization",
    b"openai-project",
    b"request-id",
    b"server",
    b"set-cookie",
    b"strict-transport-security",
    b"x-amzn-requestid",
    b"x-should-retry",
}
_NOT_RELAYED_PREFIXES: Final = (b"anthropic-ratelimit-", b"x-comptroller-", b"x-ratelimit-")


class Headers:
    """A view of raw headers: the first value of each name. Its repr shows names alone, because values are secrets."""

    __slots__ = ("_first", "raw")

    def __init__(self, raw: RawHeaders) -> None:
        self.raw = list(raw)
        self._first = dict(reversed(self.raw))

    def __repr__(self) -> str:
        return f"<Headers {', '.join(dict.fromkeys(name.decode('latin-1') for name, _ in self.raw))}>"

    def __contains__(self, name: bytes) -> bool:
        return name in self._first

    @property
    def size(self) -> int:
        """Bytes of all names and values."""
        return sum([len(name) + len(value) for name, value in self.raw])

    def values(self, names: Iterable[bytes]) -> tuple[bytes | None, ...]:
        """The first value of each name, as it came."""
        return tuple(map(self._first.get, names))

    def get(self, name: bytes) -> str | None:
        """The first value, without the white space around it; None where the header is absent."""
        value = self._first.get(name)
        return None if value is None else value.decode("latin-1").strip()


def secret_from(headers: Headers) -> str | None:
    """The secret a client presents: `x-comptroller-key` wins, then `Authorization: Bearer`, then `x-api-key`."""
    if own := headers.get(b"x-comptroller-key"):
        return own
    scheme, _, credential = (headers.get(b"authorization") or "").partition(" ")
    if scheme.lower() == "bearer" and (credential := credential.strip()):
        return credential
    return headers.get(b"x-api-key") or None


def forwardable(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers of a request that a provider may see, in order; the provider adds its host and its credential.

    Gone are every credential of the client, also a virtual key in a header that is not meant for it, what belongs to
    one connection, what tells where the client sits, and our own. `accept-encoding` becomes `identity`: the answer is
    relayed byte for byte and its usage read on the way, which a compressed body would hide; every client understands a
    body that is not compressed.
    """
    kept = [field for field in headers.raw if _is_forwarded(field[0])]
    if b"connection" in headers:
        named = _named_by_connection(headers.raw)
        kept = [field for field in kept if field[0] not in named]
    if _VIRTUAL_KEY in b"\n".join([value for _, value in kept]):
        kept = [field for field in kept if _VIRTUAL_KEY not in field[1]]
    kept.append((b"accept-encoding", b"identity"))
    return kept


def forwardable_query(query: bytes) -> bytes:
    """The query of a request as a provider may see it: as it came, but for parameters that hold a virtual key."""
    if _VIRTUAL_KEY not in unquote_to_bytes(query):
        return query
    return b"&".join(pair for pair in query.split(b"&") if _VIRTUAL_KEY not in unquote_to_bytes(pair))


def relayable(headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """The headers of a provider's answer that the client may see, names in lower case, in order.

    Gone are the provider's limits and retry hints, which are about our account, its `request-id`, which ours replaces,
    cookies, what speaks for its host (`alt-svc`, HSTS) and what our server writes itself. `content-encoding` stays with
    the bytes it describes.
    """
    lowered = [(name.lower(), value) for name, value in headers]
    kept = [field for field in lowered if _is_relayed(field[0])]
    if len(kept) < len(lowered) and (named := _named_by_connection(lowered)):
        return [field for field in kept if field[0] not in named]
    return kept


# The same few names come with every request.
@lru_cache(maxsize=1024)
def _is_forwarded(name: bytes) -> bool:
    return name not in _NOT_FORWARDED and not name.startswith(_NOT_FORWARDED_PREFIXES)


@lru_cache(maxsize=1024)
def _is_relayed(name: bytes) -> bool:
    return name not in _NOT_RELAYED and not name.startswith(_NOT_RELAYED_PREFIXES)


def _named_by_connection(raw: list[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """The headers that a `Connection` header declares to belong to this connection only."""
    return frozenset(
        token.strip().lower() for name, value in raw if name == b"connection" for token in value.split(b",")
    )
