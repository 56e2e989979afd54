"""Google's access tokens: worked out in threads, ahead of their end, and taken from memory by requests.

Only the first request with a credential waits for Google. From then on its token is renewed some minutes before it
ends, as long as somebody uses it. Where Google fails, the old token serves to its last second; then, and until Google
answers again, requests are told why. However many wait, one refresh runs.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple

from gateway.providers.base import CannotCall

AHEAD_SECONDS: Final = 300.0
"""How long before its end a token is renewed."""
AGAIN_SECONDS: Final = 10.0
"""How long after a refresh that failed the next one is begun."""
MARGIN_SECONDS: Final = 10.0
"""A token this near to its end could end on the way."""
_MAX_HOLDERS: Final = 256

_threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="google-tokens")


class Token(NamedTuple):
    """An access token and when it ends, in Unix seconds."""

    value: str
    ends: float

    def __repr__(self) -> str:
        return f"<Token until {self.ends:.0f}>"


class Tokens:
    """The tokens of one credential. `fetch` blocks and raises CannotCall with a sentence."""

    def __init__(self, fetch: Callable[[], Token], *, ahead: float = AHEAD_SECONDS) -> None:
        self._fetch = fetch
        self._ahead = ahead
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._running: Future[None] | None = None
        self._failed: tuple[float, str, str] | None = None
        """When the last refresh failed, in Unix seconds, why, and the library's words; None after one that did not."""
        self._timer: threading.Timer | None = None
        self._used = False

    async def get(self) -> str:
        """A token that is valid now. Raises CannotCall."""
        token = self._known(time.time())
        if token is not None:
            return token
        # Shielded: one caller that leaves does not end the refresh that others wait for.
        await asyncio.shield(asyncio.wrap_future(self._refresh()))
        return self._fresh()

    def get_blocking(self) -> str:
        """The same for the admin and checks."""
        token = self._known(time.time())
        if token is not None:
            return token
        self._refresh().result()
        return self._fresh()

    def _known(self, now: float) -> str | None:
        """The token in memory, and its refresh begun where it is due. Raises CannotCall right after a failure."""
        self._used = True
        token, failed = self._token, self._failed
        waits = failed is not None and now < failed[0] + AGAIN_SECONDS
        if token is None or now >= token.ends - MARGIN_SECONDS:
            if failed is not None and waits and self._running is None:
                if token is not None and now < token.ends:
                    return token.value
                raise CannotCall(failed[1], detail=failed[2])
            return None
        if now >= self._due(token) and not waits:
            self._refresh()
        return token.value

    def _fresh(self) -> str:
        """After a refresh that was waited for."""
        token = self._token
        if token is None or time.time() >= token.ends:
            _, why, detail = self._failed or (0.0, "Google gave a token that has ended already.", "")
            raise CannotCall(why, detail=detail)
        return token.value

    def _due(self, token: Token) -> float:
        return token.ends - self._ahead

    def _refresh(self) -> Future[None]:
        """The refresh that runs, or a new one; it never raises."""
        with self._lock:
            if self._running is None:
                self._running = _threads.submit(self._work)
            return self._running

    def _work(self) -> None:
        token, failed = self._token, None
        try:
            token = self._fetch()
        except CannotCall as error:
            failed = (time.time(), str(error), error.detail)
        except Exception as error:
            # Whatever a credential's library raises: its text may quote the key, its name does not.
            failed = (time.time(), f"The Google credential cannot be used ({type(error).__name__}).", "")
        with self._lock:
            self._token, self._failed, self._running = token, failed, None
        if failed is None and token is not None:
            self._renew_later(token)

    def _renew_later(self, token: Token) -> None:
        """Renew it in time even where nobody asks in its last minutes; not where nobody asked at all."""
        self._used = False
        timer = threading.Timer(max(1.0, self._due(token) - time.time()), self._renew)
        timer.daemon = True
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = timer
        timer.start()

    def _renew(self) -> None:
        if self._used:
            self._refresh()


_holders: dict[tuple[str, str], Tokens] = {}


def held(method: str, secret: str, fetch: Callable[[], Token]) -> Tokens:
    """The process's one holder for a credential; a changed secret is another credential."""
    key = (method, secret)
    found = _holders.get(key)
    if found is None:
        if len(_holders) >= _MAX_HOLDERS:
            _holders.pop(next(iter(_holders)), None)
        found = _holders.setdefault(key, Tokens(fetch))
    return found


def forget() -> None:
    """Ask Google anew, as after a change of what lies outside of the configuration."""
    _holders.clear()
