"""One running product for each worker and database; a test makes a customer of its own in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.functional.product import Product, database

_running: list[Product] = []


@pytest.fixture(autouse=True, scope="module")
def others_find_the_simulated_provider_alone() -> Iterator[None]:
    """Keys that name no provider may use any: one that a module's tests leave behind would answer the next module's."""
    yield
    for product in _running:
        product.switch_off_all_but("simulated")


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def product(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A product with the simulated provider, on SQLite and on PostgreSQL."""
    with database(request.param) as url:
        started = Product(tmp_path_factory.mktemp("product"), database_url=url).prepare()
        _running.append(started)
        try:
            yield started.start()
        finally:
            _running.remove(started)
            started.stop()
