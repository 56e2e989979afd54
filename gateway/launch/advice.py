"""What an operator must know before roles run apart: what works without Redis or PostgreSQL, and where."""

from __future__ import annotations

from django.conf import settings
from django.db import connection

from gateway.roles import Role


def when_apart(role: Role, *, separate_web: bool = False) -> list[str]:
    """One sentence for each thing that does not work, or only under a condition; empty for everything in one."""
    if role is Role.ALL and not separate_web:
        return []
    sentences: list[str] = []
    if not settings.COMPTROLLER["REDIS_URL"] and role is not Role.WORKER:
        sentences.append(
            "Without REDIS_URL the live log stays empty: requests are served by another process than the page. "
            "The request log and everything else are complete."
        )
    if role is Role.ALL:
        return sentences
    if settings.CELERY_BROKER_URL.startswith("filesystem:"):
        sentences.append(
            f"The task queue lies in files under {settings.DATA_DIR}: every role must run on this machine, with this "
            "COMPTROLLER_DATA_DIR. Set REDIS_URL for several machines."
        )
    if connection.vendor == "sqlite":
        sentences.append(
            f"The database is an SQLite file ({settings.DATABASES['default']['NAME']}): every role must run on this "
            "machine. Set DATABASE_URL to PostgreSQL for several machines."
        )
    return sentences
