"""The admin's title, colours and grouped side navigation (django-unfold's UNFOLD setting)."""

from typing import Any

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Comptroller",
    "SITE_HEADER": "Comptroller",
    "SITE_SUBHEADER": "What Claude Code costs, and who may spend it",
    "SITE_SYMBOL": "account_balance",
    "SHOW_HISTORY": False,
}
