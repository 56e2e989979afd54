"""Tables of governance, one module a subject."""

from governance.models.alerts import Alert, AlertChannel, AlertDelivery
from governance.models.allowances import AllowanceWindow, GatewayProcess, Lease
from governance.models.audit import AuditEntry
from governance.models.budgets import Budget, RateLimit, ScopedLimit
from governance.models.keys import KeyActivity, KeySecret, ProviderAccess, VirtualKey
from governance.models.ledger import LedgerEntry
from governance.models.people import Membership
from governance.models.price_rules import ModelAlias, PriceOverride
from governance.models.prices import Price, PriceProposal
from governance.models.providers import Provider, ProviderCredential, ProviderState
from governance.models.raises import Raise
from governance.models.reconciliation import (
    MonthLock,
    ReconciliationDay,
    ReconciliationException,
    ReconciliationLine,
    ReportDay,
    ReportImport,
    ReportLine,
    Workspace,
)
from governance.models.repricing import Repricing, RepricingLine
from governance.models.routing import RoutingRule, RoutingSettings
from governance.models.tenants import Customer, Developer, Project, Team
from governance.models.version import ConfigurationVersion, KeyChange

__all__ = [
    "Alert",
    "AlertChannel",
    "AlertDelivery",
    "AllowanceWindow",
    "AuditEntry",
    "Budget",
    "ConfigurationVersion",
    "Customer",
    "Developer",
    "GatewayProcess",
    "KeyActivity",
    "KeyChange",
    "KeySecret",
    "Lease",
    "LedgerEntry",
    "Membership",
    "ModelAlias",
    "MonthLock",
    "Price",
    "PriceOverride",
    "PriceProposal",
    "Project",
    "Provider",
    "ProviderAccess",
    "ProviderCredential",
    "ProviderState",
    "Raise",
    "RateLimit",
    "ReconciliationDay",
    "ReconciliationException",
    "ReconciliationLine",
    "ReportDay",
    "ReportImport",
    "ReportLine",
    "Repricing",
    "RepricingLine",
    "RoutingRule",
    "RoutingSettings",
    "ScopedLimit",
    "Team",
    "VirtualKey",
    "Workspace",
]
