"""Fixtures around the fakes, for a `conftest.py` to import."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.processes import SimulatedProvider


@pytest.fixture(scope="session")
def simulator_process() -> Iterator[SimulatedProvider]:
    """One simulated provider for the whole run; use `simulator`, which starts every test clean."""
    with SimulatedProvider() as provider:
        yield provider


@pytest.fixture
def simulator(simulator_process: SimulatedProvider) -> SimulatedProvider:
    """The simulated provider with no script, nothing received and an empty prompt cache."""
    simulator_process.reset()
    return simulator_process
