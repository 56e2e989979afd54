"""The client runs on uvloop in production and on asyncio's own loop in development: every test here runs on both."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator, Mapping

import pytest
import uvloop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture(autouse=True, scope="module")
def _no_socket_is_forgotten() -> Iterator[None]:
    """A socket or task that nobody closed warns when it is collected, and warnings are errors: here, not in a module
    that happens to run later.
    """
    yield
    gc.collect()
