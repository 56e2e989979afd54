"""TLS towards providers: the system's certificates, names verified, sessions taken up again."""

from __future__ import annotations

import ssl
import sys
from typing import Any


class SessionContext(ssl.SSLContext):
    """A client's context that offers each host the session it gave last.

    A new connection then costs less, and no certificate check, which was made when the session began.

    asyncio has no parameter for the session, but every way of its TLS goes through `wrap_bio`.
    """

    sessions: dict[str, ssl.SSLSession]

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        if session is None and isinstance(server_hostname, str):
            session = self.sessions.get(server_hostname)
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)

    def remember(self, tls: Any) -> None:
        """Keep the session of a connection (its `ssl_object`) for the next; after an answer: TLS 1.3 sends it late."""
        if tls is not None and tls.server_hostname and tls.session is not None:
            self.sessions[tls.server_hostname] = tls.session


def client_context() -> SessionContext:
    """What `ssl.create_default_context` gives, for HTTP/1.1. `SSL_CERT_FILE` and `SSL_CERT_DIR` add certificates."""
    context = SessionContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sessions = {}
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if sys.version_info >= (3, 13):
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["http/1.1"])
    return context
