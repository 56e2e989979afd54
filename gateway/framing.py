"""Which request heads are refused because another HTTP parser on the way could read another request in them.

The parser (llhttp, strict) refuses most of it by itself: Content-Length beside Transfer-Encoding or twice, bare line
feeds, folded lines, spaces before a colon, control characters, sizes of chunks in any other form. What it lets through
and no client of ours sends is refused here. RFC 9112 sections 3.2, 6.1 and 11.2.
"""

from __future__ import annotations

from collections.abc import Sequence

_LOOKALIKES = frozenset({b"content_length", b"transfer_encoding"})
"""Read as the real ones by what turns names into variables (CGI and its heirs)."""
_UNUSUAL = _LOOKALIKES | {b"transfer-encoding"}


def is_ambiguous(method: bytes, version: str, headers: Sequence[tuple[bytes, bytes]], *, upgrade: bool) -> bool:
    """Whether to answer 400 and close. Names of `headers` are in lower case; `upgrade` is the parser's own finding."""
    names = [name for name, _ in headers]
    if version == "1.1" and not upgrade and names.count(b"host") == 1 and _UNUSUAL.isdisjoint(names):
        return False
    hosts = 0
    has_body = False
    for name, value in headers:
        if name == b"host":
            hosts += 1
        elif name == b"transfer-encoding":
            # A second one, a list, or a coding that we would have to undo first.
            if has_body or version != "1.1" or value.strip().lower() != b"chunked":
                return True
            has_body = True
        elif name == b"content-length":
            has_body = has_body or value.strip() != b"0"
        elif name in _LOOKALIKES:
            return True
    if hosts > 1 or (version == "1.1" and not hosts) or version not in {"1.0", "1.1"}:
        return True
    # After an upgrade the parser reads on as another protocol: a body would be taken for its first bytes.
    return upgrade and (has_body or method == b"CONNECT")
