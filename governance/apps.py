"""The governance app: tenants, keys, prices, budgets, the ledger and the audit trail."""

from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate


class GovernanceConfig(AppConfig):
    name = "governance"
    verbose_name = "Governance"

    def ready(self) -> None:
        from governance import checks  # noqa: F401  (registers them)

        post_migrate.connect(_complete_the_database, sender=self, dispatch_uid="governance.complete")


def _complete_the_database(using: str, **_: Any) -> None:
    """What a migration cannot keep: SQLite loses a rebuilt table's triggers; roles need permissions."""
    from governance import roles, triggers

    tables = set(connections[using].introspection.table_names())
    needed = {model._meta.db_table for model in (*triggers.APPEND_ONLY, *triggers.CONFIGURATION)}
    if needed | {"auth_group", "governance_configurationversion"} <= tables:
        triggers.install(using)
        roles.install(using)
