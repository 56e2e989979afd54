"""Which tables lie in months on PostgreSQL, and making those months ahead."""

from __future__ import annotations

import logging
from datetime import datetime

from django.db import DatabaseError

from governance import partitions
from governance.partitions import Partitioned

logger = logging.getLogger(__name__)
LOG = Partitioned("observability_request", "started_at")
TABLES = (LOG, partitions.LEDGER)


def ensure_months(*, now: datetime) -> list[str]:
    """Make the months that are missing; gives the partitions' names.

    A month that could not be made is a warning only: its rows go to DEFAULT, and the next call moves them.
    """
    made: list[str] = []
    for table in TABLES:
        try:
            made += partitions.ensure(table, now=now)
        except DatabaseError as error:
            logger.warning("The next months of %s could not be made, the next try is tomorrow: %s", table.name, error)
    return made
