"""Google's tokens: fetched once for many, renewed ahead of their end, kept where Google fails; never on the loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from gateway.providers.base import CannotCall
from gateway.providers.vertex import tokens
from gateway.providers.vertex.tokens import Token, Tokens


class Google:
    """Gives tokens that last `lifetime` seconds; `gate` holds an answer back, `broken` denies it."""

    def __init__(self, lifetime: float = 3600) -> None:
        self.lifetime = lifetime
        self.asked = 0
        self.broken = ""
        self.gate = threading.Event()
        self.gate.set()
        self.threads: set[str] = set()

    def __call__(self) -> Token:
        self.asked += 1
        number = self.asked
        self.threads.add(threading.current_thread().name)
        assert self.gate.wait(10)
        if self.broken:
            raise CannotCall(self.broken)
        return Token(f"token-{number}", time.time() + self.lifetime)


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not what():
            await asyncio.sleep(0.01)


async def test_many_requests_wait_for_one_refresh_and_the_loop_goes_on() -> None:
    google = Google()
    google.gate.clear()
    held = Tokens(google)
    waiting = [asyncio.create_task(held.get()) for _ in range(50)]
    await until(lambda: google.asked == 1)
    waiting[0].cancel()
    google.gate.set()
    got = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(got[0], asyncio.CancelledError)
    assert set(got[1:]) == {"token-1"}
    assert google.asked == 1
    assert threading.current_thread().name not in google.threads


async def test_a_token_in_memory_needs_no_thread() -> None:
    google = Google()
    held = Tokens(google)
    await held.get()
    google.gate.clear()
    assert [await held.get() for _ in range(3)] == ["token-1"] * 3
    assert google.asked == 1


async def test_it_is_renewed_ahead_while_the_old_one_serves() -> None:
    google = Google(lifetime=100)
    held = Tokens(google)
    assert await held.get() == "token-1"
    google.gate.clear()
    google.lifetime = 3600
    # 100 s are within the 300 s in which it is due.
    assert await held.get() == "token-1"
    await until(lambda: google.asked == 2)
    assert await held.get() == "token-1"
    google.gate.set()
    await until(lambda: held._token is not None and held._token.value == "token-2")
    assert await held.get() == "token-2"
    assert google.asked == 2


async def test_it_is_renewed_in_time_though_nobody_asks() -> None:
    google = Google(lifetime=301.0)
    held = Tokens(google)
    await held.get()
    await held.get()
    google.lifetime = 3600
    await until(lambda: google.asked == 2)
    assert await held.get() == "token-2"


async def test_one_that_nobody_used_is_not_renewed() -> None:
    google = Google(lifetime=301.0)
    held = Tokens(google)
    await held.get()
    held._used = False
    await asyncio.sleep(1.3)
    assert google.asked == 1


async def test_a_failing_refresh_keeps_the_old_one_as_long_as_it_is_valid() -> None:
    google = Google(lifetime=12.0)
    held = Tokens(google)
    await held.get()
    google.broken = "Google gives no token for the credential: out of order"
    assert await held.get() == "token-1"
    await until(lambda: held._failed is not None)
    for _ in range(5):
        assert await held.get() == "token-1"
    # Not asked again at once.
    assert google.asked == 2
    held._token = Token("token-1", time.time() - 1)
    with pytest.raises(CannotCall, match="out of order"):
        await held.get()
    assert google.asked == 2


async def test_after_a_while_google_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    google = Google()
    google.broken = "out of order"
    held = Tokens(google)
    with pytest.raises(CannotCall, match="out of order"):
        await held.get()
    google.broken = ""
    with pytest.raises(CannotCall, match="out of order"):
        await held.get()
    assert google.asked == 1
    monkeypatch.setattr(tokens, "AGAIN_SECONDS", 0.0)
    assert await held.get() == "token-2"


async def test_what_a_library_raises_is_told_without_its_text() -> None:
    def fetch() -> Token:
        raise ZeroDivisionError("-----BEGIN PRIVATE KEY-----")

    with pytest.raises(CannotCall, match="ZeroDivisionError") as raised:
        await Tokens(fetch).get()
    assert "PRIVATE" not in str(raised.value)


async def test_a_token_that_has_ended_already() -> None:
    with pytest.raises(CannotCall, match="ended already"):
        await Tokens(Google(lifetime=-5)).get()


def test_for_those_who_may_block() -> None:
    google = Google()
    held = Tokens(google)
    assert (held.get_blocking(), held.get_blocking()) == ("token-1", "token-1")
    google.broken = "denied"
    with pytest.raises(CannotCall, match="denied"):
        Tokens(google).get_blocking()


def test_a_holder_for_each_secret() -> None:
    tokens.forget()
    google = Google()
    assert tokens.held("google_service_account", "a", google) is tokens.held("google_service_account", "a", google)
    assert tokens.held("google_service_account", "a", google) is not tokens.held("google_service_account", "b", google)
    assert "token" not in repr(Token("token-value", 1.0)).replace("Token until", "")
    tokens.forget()
