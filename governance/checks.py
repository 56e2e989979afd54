"""Checks that `manage.py check --database default` and `migrate` run: the database's triggers are there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register
from django.db import DatabaseError, connections

from governance import triggers


@register(Tags.database)
def triggers_are_installed(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Runs with `check --database default` and before `migrate`; a database without our tables yet passes."""
    found: list[CheckMessage] = []
    for alias in databases or ():
        connection = connections[alias]
        try:
            if "governance_configurationversion" not in connection.introspection.table_names():
                continue
            missing = triggers.missing_triggers(alias)
        except DatabaseError:
            continue
        if missing:
            found.append(
                Error(
                    f"Database triggers are missing or altered: {', '.join(missing)}.",
                    hint="Run `manage.py migrate`; it makes them again.",
                    id="governance.E001",
                )
            )
    return found
