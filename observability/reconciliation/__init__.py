"""Reconciliation: the provider's own cost and usage report beside what the request log and the ledger say."""
