"""The governance app: tenants, keys, prices, budgets, the ledger and the audit trail."""

from django.apps import AppConfig


class GovernanceConfig(AppConfig):
    name = "governance"
    verbose_name = "Governance"
