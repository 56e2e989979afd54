"""Reconciliation in the admin: a month of days, one day, the queue, imports, closed months and workspaces."""

from observability.admin.reconciliation import days, exceptions, tables  # noqa: F401  (registers them)
