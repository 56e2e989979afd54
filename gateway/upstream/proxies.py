"""The usual proxy variables (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`, lower case wins), read once."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

from gateway.upstream.errors import UpstreamError
from gateway.upstream.head import Origin


class Proxy:
    """An HTTP proxy. Its repr shows no password."""

    __slots__ = ("authorization", "host", "port")

    def __init__(self, url: str) -> None:
        """Raises UpstreamError where it is not a proxy that is spoken to in plain HTTP."""
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            port = parts.port or 80
            if parts.scheme != "http" or not parts.hostname:
                raise ValueError("only http:// proxies can be used")
        except ValueError as error:
            raise UpstreamError("the proxy that the environment names cannot be used", f"({error})") from None
        self.host = parts.hostname
        self.port = port
        self.authorization = b""
        """The header line, with its end."""
        if parts.username is not None:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self.authorization = b"proxy-authorization: Basic " + b64encode(user.encode()) + b"\r\n"

    def __repr__(self) -> str:
        return f"<Proxy {self.host}:{self.port}>"


class Proxies:
    """Which proxy leads to an origin."""

    def __init__(self) -> None:
        self._said = getproxies_environment()

    def of(self, origin: Origin) -> str | None:
        """The proxy's address; None where the variables name none for this origin."""
        url = self._said.get("https" if origin.secure else "http") or self._said.get("all")
        if not url or proxy_bypass_environment(origin.written.decode(), self._said):
            return None
        return url
