"""Writes one batch of finished requests: rows, charges and changed hours in one transaction, once by id.

The recorder writes what has just ended through it, the replay what a dead process left.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, transaction

from governance import ledger
from governance.domain.allowance import WindowState
from governance.ledger import Posting
from observability import rollups, rows
from observability.records import RequestRecord

logger = logging.getLogger(__name__)

Item = tuple[RequestRecord, Posting | None]


class Outage(Exception):
    """The database cannot be written now; the same batch may be written later."""


@dataclass(slots=True)
class Written:
    """What became of a batch."""

    records: list[RequestRecord]
    windows: list[WindowState]
    refused: list[tuple[Item, str]] = field(default_factory=list)
    """What the database does not take, not even repaired, and why."""


def commit(batch: Sequence[Item], owner: str = "") -> Written:
    """One transaction. Safe to repeat after a commit whose answer was lost: rows and charges are written once
    by id. `owner` is the process whose leases covered the charges. Raises Outage.
    """
    records = [record for record, _ in batch]
    try:
        with transaction.atomic():
            rows.insert(records)
            windows = ledger.post([posting for _, posting in batch if posting is not None], owner=owner)
            rollups.mark(record.started_at for record in records)
    except (DataError, IntegrityError):
        raise
    except (DatabaseError, InterfaceError) as error:
        raise outage(error) from error
    return Written(records, windows)


def outage(error: Exception) -> Outage:
    """A database error as the reason why writing must wait."""
    return Outage(f"{type(error).__name__}: {str(error).strip() or 'no reason given'}")


def write(batch: Sequence[Item], owner: str = "") -> Written:
    """Write the batch in one transaction; where a row is refused, one by one. Raises Outage."""
    try:
        return commit(batch, owner)
    except Outage:
        raise
    except Exception:
        logger.exception("A batch of the request log was refused; its rows are written one by one.")
    written = Written([], [])
    for item in batch:
        try:
            windows = _write_one(item, owner)
        except Outage:
            raise
        except Exception as error:
            logger.critical("Request %s cannot be written (%s); it is set aside.", item[0].id, error)
            written.refused.append((item, str(error)))
        else:
            written.records.append(item[0])
            written.windows += windows  # a window may come twice: each state says what its own row added
    return written


def _write_one(item: Item, owner: str) -> list[WindowState]:
    """Write one row, repaired where it must be. Raises what the database says where even that is refused."""
    record = item[0]
    try:
        return commit([item], owner).windows
    except Outage:
        raise
    except Exception as error:
        reason = error
    changed = rows.repair(record)
    windows = commit([item], owner).windows
    logger.error("Request %s was written after a repair of %s: %s", record.id, ", ".join(changed), reason)
    return windows
