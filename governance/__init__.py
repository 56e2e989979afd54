"""Tenants, virtual keys, providers, prices, budgets, the ledger and the audit trail."""
