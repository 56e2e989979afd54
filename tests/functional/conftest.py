"""One running product for each worker and database; a test makes a customer of its own in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.functional.product import Product, database


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def product(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A product with the simulated provider, on SQLite and on PostgreSQL."""
    with database(request.param) as url:
        started = Product(tmp_path_factory.mktemp("product"), database_url=url).prepare()
        try:
            yield started.start()
        finally:
            started.stop()
