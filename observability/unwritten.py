"""Keeps, in a file, the records that could not be written to the database, so that no charge is ever lost."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

import msgspec
from django.conf import settings

from governance.ledger import Posting
from observability.records import RequestRecord

logger = logging.getLogger(__name__)
_lock = threading.Lock()


def path() -> Path:
    """The file: one JSON object a line with `reason`, `record` (a request row) and `posting` (its charge or
    null).
    """
    return Path(settings.DATA_DIR) / "unwritten.jsonl"


def keep(record: RequestRecord, posting: Posting | None, reason: str) -> None:
    """Append a record; where even that fails, its essentials go to the process's log."""
    try:
        line = msgspec.json.encode({"reason": reason, "record": record, "posting": posting}, enc_hook=repr) + b"\n"
        with _lock:
            descriptor = os.open(path(), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(line)
    except (OSError, ValueError, TypeError) as error:
        logger.critical(
            "Request %s of key %s, %s nano-USD, is neither in the database nor in a file: %s",
            record.id,
            record.virtual_key_id,
            posting.amount_nano_usd if posting else 0,
            error,
        )
