"""A simulated provider on a real socket, and a client for it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.fakes.fixtures import simulator, simulator_process
from tests.fakes.processes import SimulatedProvider

__all__ = ["simulator", "simulator_process"]


@pytest.fixture
def client(simulator: SimulatedProvider) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=simulator.url, trust_env=False, timeout=20) as found:
        yield found
