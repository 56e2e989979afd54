"""Writes by people and commands: keyword-only arguments, one transaction and one audit entry each."""
