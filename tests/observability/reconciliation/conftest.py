"""The same people as in the tests of the governance API."""

from __future__ import annotations

import pytest

from tests.governance.api.world import World, build


@pytest.fixture
def world(db: None) -> World:
    return build()
