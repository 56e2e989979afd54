"""The world of the API tests."""

from __future__ import annotations

import pytest

from tests.governance.api.world import World, build


@pytest.fixture
def world(db: None) -> World:
    return build()
