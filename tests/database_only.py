"""Plugin (`-p tests.database_only`): of the chosen tests keep those that use the database.

The rest cannot come out differently on another database, and ran already.
"""

from __future__ import annotations

import pytest

_FIXTURES = {"db", "transactional_db", "django_db_reset_sequences", "django_db_serialized_rollback", "live_server"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept = [item for item in items if _uses_database(item)]
    config.hook.pytest_deselected(items=[item for item in items if not _uses_database(item)])
    items[:] = kept


def _uses_database(item: pytest.Item) -> bool:
    names = set(getattr(item, "fixturenames", ()))
    return bool(_FIXTURES & names) or any(item.get_closest_marker(name) for name in ("django_db", "postgres"))
