"""Post to an address that a person typed: public addresses only, no redirects, bounded in time and size.

The name is resolved here and the request goes to the address that was looked at, so that a name that changes its
address in between gains nothing. No proxy of the environment is used: it would resolve the name again.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

TIMEOUT = httpx.Timeout(10.0, connect=5.0)
MAX_SECONDS = 20.0
"""An answer that trickles in is given up after this."""
MAX_BYTES = 2048
"""As much of an answer as is worth showing."""


class OutboundError(Exception):
    """It could not be sent or was not answered; the message completes "The message was not delivered: …".

    `permanent` where another try could not end differently.
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and the start of the body, as text."""

    status: int
    text: str


def is_public(address: str) -> bool:
    """Whether an IP address is reachable from everywhere."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return ip.is_global and not ip.is_multicast


def post(url: str, body: bytes, headers: Mapping[str, str], *, allow_private: bool) -> Answer:
    """Send and read the answer, whatever its status. Raises OutboundError."""
    try:
        target = httpx.URL(url)
    except httpx.InvalidURL:
        raise OutboundError("its address cannot be read; enter it again", permanent=True) from None
    port = target.port or (443 if target.scheme == "https" else 80)
    addresses = _resolve(target.host, port, allow_private=allow_private)
    problem = OutboundError("it could not be reached")
    with httpx.Client(timeout=TIMEOUT, follow_redirects=False, trust_env=False) as client:
        for address in addresses[:3]:
            try:
                return _exchange(client, target, address, body, headers)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                problem = OutboundError(f"it could not be reached ({error or 'in time'})")
            except httpx.TimeoutException:
                raise OutboundError("it did not answer in time") from None
            except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
                raise OutboundError(f"the connection failed ({error or type(error).__name__})") from None
    raise problem


def _resolve(host: str, port: int, *, allow_private: bool) -> list[str]:
    """The addresses of a host, IPv4 first; all of them must be allowed."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise OutboundError(f"there is no host {host}") from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in sorted(found, key=lambda entry: entry[0])))
    if not allow_private and not all(is_public(address) for address in addresses):
        raise OutboundError(
            f"{host} is on loopback or a private network, which COMPTROLLER_ALLOW_PRIVATE_UPSTREAMS=1 would allow",
            permanent=True,
        )
    return addresses


def _exchange(client: httpx.Client, target: httpx.URL, address: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    request = client.build_request(
        "POST",
        target.copy_with(host=address),
        content=body,
        headers={**headers, "host": target.netloc.decode("ascii")},
        extensions={"sni_hostname": target.host},
    )
    deadline = time.monotonic() + MAX_SECONDS
    response = client.send(request, stream=True)
    try:
        read = bytearray()
        for chunk in response.iter_raw():
            read += chunk
            if len(read) >= MAX_BYTES or time.monotonic() > deadline:
                break
        return Answer(response.status_code, bytes(read[:MAX_BYTES]).decode("utf-8", "replace"))
    finally:
        response.close()
