"""Alerts: find what is worth telling, record it once, and deliver it to e-mail addresses and webhooks."""
