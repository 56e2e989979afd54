"""Post to an address that a person typed: public addresses only, no redirects, bounded in time and size.

The name is resolved here and the request goes to the address that was looked at, so that a name that changes its
address in between gains nothing. No proxy of the environment is used: it would resolve the name again. Of the answer
only the status is given: its text may repeat the address, which is a secret, or what no reader may see.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from governance.domain.addresses import is_public

TIMEOUT = httpx.Timeout(10.0, connect=5.0)
"""For each step; an answer that trickles in passes every one of them."""
MAX_SECONDS = 20.0
"""From the first connection to the end of the answer, over all addresses that are tried."""
MAX_BYTES = 2048
"""As much of an answer is taken, so that the receiver need not see its connection broken."""


class OutboundError(Exception):
    """It could not be sent or was not answered; the message completes "The message was not delivered: …".

    `permanent` where another try could not end differently.
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class _Deadline:
    """Cuts the connection under way when the time is over, whatever it waits for.

    A time-out of the client bounds one read; a receiver that sends a byte now and then never meets it.
    """

    def __init__(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None

    @property
    def left(self) -> float:
        """Seconds, never below zero."""
        return max(0.0, self._ends_at - time.monotonic())

    @contextmanager
    def watching(self) -> Iterator[None]:
        timer = threading.Timer(self.left, self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            with self._lock:
                self._drop()

    def seen(self, event: str, info: Mapping[str, Any]) -> None:
        """The client's trace. Our own handle on the connection stays good when TLS takes the first one over."""
        if event == "connection.connect_tcp.complete":
            with self._lock:
                self._drop()
                self._connection = info["return_value"].get_extra_info("socket").dup()
            if not self.left:
                self._cut()

    def _cut(self) -> None:
        with self._lock:
            if self._connection is not None:
                try:
                    self._connection.shutdown(socket.SHUT_RDWR)
                except OSError:  # the other side was faster
                    self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def post(url: str, body: bytes, headers: Mapping[str, str], *, allow_private: bool) -> int:
    """Send, and give the status of the answer, whatever it is. Raises OutboundError."""
    try:
        target = httpx.URL(url)
    except httpx.InvalidURL:
        raise OutboundError("its address cannot be read; enter it again", permanent=True) from None
    port = target.port or (443 if target.scheme == "https" else 80)
    addresses = _resolve(target.host, port, allow_private=allow_private)
    problem = OutboundError("it could not be reached")
    deadline = _Deadline(MAX_SECONDS)
    with deadline.watching(), httpx.Client(timeout=TIMEOUT, follow_redirects=False, trust_env=False) as client:
        for address in addresses[:3]:
            try:
                return _exchange(client, target, address, body, headers, deadline)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                problem = OutboundError(f"it could not be reached ({error or 'in time'})")
                if not deadline.left:
                    break
            except httpx.TimeoutException:
                raise OutboundError("it did not answer in time") from None
            except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
                if not deadline.left:
                    raise OutboundError("it did not answer in time") from None
                # The text of such an error quotes what was received.
                raise OutboundError(f"the connection failed ({type(error).__name__})") from None
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


def _exchange(
    client: httpx.Client, target: httpx.URL, address: str, body: bytes, headers: Mapping[str, str], deadline: _Deadline
) -> int:
    steps = httpx.Timeout(TIMEOUT).as_dict()
    request = client.build_request(
        "POST",
        target.copy_with(host=address),
        content=body,
        headers={**headers, "host": target.netloc.decode("ascii")},
        timeout=httpx.Timeout(**{step: min(seconds or MAX_SECONDS, deadline.left) for step, seconds in steps.items()}),
        extensions={"sni_hostname": target.host, "trace": deadline.seen},
    )
    response = client.send(request, stream=True)
    try:
        taken = 0
        for chunk in response.iter_raw():
            taken += len(chunk)
            if taken >= MAX_BYTES:
                break
    except httpx.HTTPError:
        pass  # it has answered; how the rest ends is of no interest
    finally:
        response.close()
    return response.status_code
