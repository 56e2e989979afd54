"""Writes what dead processes left in their spools, exactly once, and settles what they had under way.

A folder whose lock is free belongs to a process that is gone. Its finished requests are written as the recorder would
have; a request that went to a provider and never ended here is an orphan, charged for its estimated prompt and marked
`estimated`. Every write is once by id, so a replay that is cut off is simply done again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from django.db import DatabaseError, InterfaceError

from governance import leases
from governance.catalog import price_book
from governance.domain.pricing import PriceBook
from governance.domain.usage import Usage
from governance.ledger import Posting
from governance.models import LedgerEntry
from observability import batch, metrics
from observability.batch import Item, Outage
from observability.models import Request
from observability.records import RequestRecord
from observability.spool import Admitted, aside, folders, notes
from observability.spool.folders import Owned
from observability.spool.segments import Damage, Entry, Kind, scan

logger = logging.getLogger(__name__)

T = TypeVar("T")
BATCH_ROWS = 200
DIED = "gateway_died"
"""The error type of an orphan's row."""


def recover_leases(owner: str) -> None:
    """What a dead process held and did not spend is free again."""
    count = leases.recover(owner, note="died; its spool was replayed")
    logger.warning("The process %s died: its spool was replayed and %d leases given back.", owner, count)


on_recovered: list[Callable[[str], object]] = [recover_leases]
"""Called with the owner's id once everything that it left is in the database, in the thread that replays; then its
folder goes. One that raises keeps the folder: the replay comes again."""


@dataclass(slots=True)
class Replayed:
    """What one dead process left."""

    owner: str
    finished: int = 0
    """Rows that were not in the database yet."""
    orphans: int = 0
    uncharged: int = 0
    """Requests between two attempts: nothing was charged."""
    set_aside: int = 0
    damaged: list[Path] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.owner}: {self.finished} finished requests written, {self.orphans} charged by estimate, "
            f"{self.uncharged} without a charge, {self.set_aside} set aside, {len(self.damaged)} damaged files kept"
        )


@dataclass(slots=True)
class _Contents:
    """Which records a folder holds."""

    finished: set[str] = field(default_factory=set)
    admitted: dict[str, tuple[Path, bytes]] = field(default_factory=dict)
    """The last note, and its segment, of each request that has no FINISHED."""
    withdrawn: set[str] = field(default_factory=set)
    """Those of them whose last attempt ended without a charge."""
    damage: dict[Path, list[Damage]] = field(default_factory=dict)
    """By segment: what is no intact record."""
    unreadable: dict[Path, list[str]] = field(default_factory=dict)
    """By segment: requests whose records are intact and make no sense to this release."""

    def not_read(self, path: Path, id: str, error: ValueError) -> None:
        logger.critical("The spool's record of request %s %s; its file %s is kept.", id, error, path.name)
        self.unreadable.setdefault(path, []).append(id)


class Replay:
    """Replays every dead owner's folder under `root`. `listeners` get the rows as those of the recorder do."""

    def __init__(self, root: Path, *, listeners: Sequence[Callable[[list[RequestRecord]], object]] = ()) -> None:
        self.root = root
        self._listeners = listeners
        self.done: list[Replayed] = []
        self.failed: dict[str, str] = {}
        """Why a dead owner's folder could not be replayed, by owner; tried again with each pass."""

    def sweep(self) -> Iterator[None]:
        """One pass over all folders, in steps of one batch or one file: others may work in between.

        Raises Outage where the database is away; what is left comes with the next pass.
        """
        for path in folders.owners(self.root):
            owned = folders.take(path)
            if owned is None:
                continue
            try:
                yield from self._replay(owned)
                self.failed.pop(owned.owner, None)
            except Outage:
                raise
            except (DatabaseError, InterfaceError) as error:
                raise batch.outage(error) from error
            except Exception as error:
                # Its own trouble: the folders of others are not held up by it.
                if self.failed.get(owned.owner) != str(error):
                    logger.exception("The spool of %s cannot be replayed; it is tried again.", owned.owner)
                self.failed[owned.owner] = str(error)
            finally:
                owned.release()

    def _replay(self, owned: Owned) -> Iterator[None]:
        result = Replayed(owned.owner)
        contents = _Contents()
        for path in owned.segments():
            self._look(path, contents)
            yield
        for path in owned.segments():
            for items in _batches(_finished(path, contents)):
                self._write(items, result, "finished")
                yield
        prices = price_book() if contents.admitted else None
        for ids in _batches(iter(contents.admitted)):
            self._orphans(ids, contents, prices, result)
            yield
        for recovered in on_recovered:
            recovered(owned.owner)
        self._close(owned, contents, result)

    def _look(self, path: Path, contents: _Contents) -> None:
        """Read one segment's notes; where it is damaged, which parts of it."""
        damage: list[Damage] = []
        for found in scan(path.read_bytes()):
            if isinstance(found, Damage):
                damage.append(found)
                continue
            match found.kind:
                case Kind.FINISHED:
                    contents.finished.add(found.id)
                    contents.admitted.pop(found.id, None)
                case Kind.ADMITTED if found.id not in contents.finished:
                    contents.admitted[found.id] = (path, found.payload)
                    contents.withdrawn.discard(found.id)
                case Kind.WITHDRAWN:
                    contents.withdrawn.add(found.id)
        if damage:
            contents.damage[path] = damage

    def _write(self, items: list[Item], result: Replayed, kind: str) -> None:
        """Write what is not in the database yet."""
        known = _known([record.id for record, _ in items])
        fresh = [item for item in items if item[0].id not in known]
        if not fresh:
            return
        written = batch.write(fresh, result.owner)
        for (record, posting), reason in written.refused:
            if not aside.keep(self.root, record, posting, reason):
                raise Outage("a record that the database refuses could not be set aside in a file")
            result.set_aside += 1
        setattr(result, kind, getattr(result, kind) + len(written.records))
        metrics.SPOOL_REPLAYED.labels(kind).inc(len(written.records))
        for listener in self._listeners:
            try:
                listener(written.records)
            except Exception:
                logger.exception("A listener of the replay failed; the log itself is written.")

    def _orphans(self, ids: list[str], contents: _Contents, prices: PriceBook | None, result: Replayed) -> None:
        now = datetime.now(UTC)
        charged: list[Item] = []
        uncharged: list[Item] = []
        for id_ in ids:
            path, payload = contents.admitted[id_]
            try:
                note = notes.admitted(payload)
            except ValueError as error:
                contents.not_read(path, id_, error)
                continue
            if id_ in contents.withdrawn or prices is None:
                uncharged.append((_between_attempts(note, now), None))
            else:
                charged.append(orphan(note, prices, now))
        self._write(charged, result, "orphans")
        self._write(uncharged, result, "uncharged")

    def _close(self, owned: Owned, contents: _Contents, result: Replayed) -> None:
        for path in sorted({*contents.damage, *contents.unreadable}):
            ranges = [[part.start, part.end] for part in contents.damage.get(path, ())]
            why = "parts are no intact records" if ranges else "records that this release cannot read"
            kept = folders.keep_damaged(self.root, path, why, ranges=ranges, ids=contents.unreadable.get(path, []))
            result.damaged.append(kept)
        for path in owned.strangers():
            result.damaged.append(folders.keep_damaged(self.root, path, "not a file of the spool"))
        owned.remove()
        self.done.append(result)
        if result.damaged:
            logger.error(
                "A spool was damaged; what was intact is written. See %s. %s", self.root / folders.DAMAGED, result
            )
        else:
            logger.warning("The spool of a process that is gone was replayed. %s", result)


def orphan(note: Admitted, prices: PriceBook, now: datetime) -> Item:
    """The row and charge of a request whose process died: its estimated prompt at the input price."""
    record = note.record
    usage = Usage(input_tokens=note.prompt_tokens)
    name = note.priced_as or note.model
    cost = prices.charge(note.platform, name, usage, record.started_at, customer_id=record.customer_id)
    record.finished_at = now
    record.status, record.error_type = "error", DIED
    record.error_message = (
        "The gateway process ended before the answer was complete. Charged is an estimate of the prompt "
        f"({note.prompt_tokens:,} tokens from {record.request_bytes:,} bytes) at the input price; what the provider "
        "charged beyond it shows in the reconciliation."
    )
    record.provider, record.provider_credential, record.model = note.provider, note.credential, note.model
    record.input_tokens, record.cost_nano_usd = note.prompt_tokens, cost.nano_usd
    record.cost_quality = "unpriced" if cost.quality == "unpriced" else "estimated"
    record.price_id = cost.price_id
    attempt = _attempt(note, note.prompt_tokens, cost.nano_usd)
    # What the cost proof prices it by again, as of any other attempt.
    attempt["platform"] = note.platform
    if note.priced_as:
        attempt["priced_as"] = note.priced_as
    if cost.overrides:
        attempt["price_overrides"] = list(cost.overrides)
    record.attempts.append(attempt)
    if record.customer_id is None or record.team_id is None or record.virtual_key_id is None:
        return record, None
    return record, Posting(
        id=record.id,
        occurred_at=record.started_at,
        customer_id=record.customer_id,
        team_id=record.team_id,
        project_id=record.project_id,
        developer_id=record.developer_id,
        virtual_key_id=record.virtual_key_id,
        provider_access_id=note.provider_access_id,
        model=record.model,
        amount_nano_usd=cost.nano_usd,
        tokens=note.prompt_tokens,
        price_id=cost.price_id,
        client=record.client,
    )


def _between_attempts(note: Admitted, now: datetime) -> RequestRecord:
    record = note.record
    record.finished_at = now
    record.status, record.error_type = "error", DIED
    record.error_message = (
        "The gateway process ended while this request waited for another try. No provider had answered it, "
        "so nothing is charged."
    )
    record.provider, record.provider_credential = note.provider, note.credential
    record.attempts.append(_attempt(note, 0, 0))
    return record


def _attempt(note: Admitted, tokens: int, cost: int) -> dict[str, object]:
    return {
        "provider": note.provider,
        "credential": note.credential,
        "status": None,
        "tokens": tokens,
        "cost_nano_usd": cost,
        "error": "the gateway process ended",
    }


def _finished(path: Path, contents: _Contents) -> Iterator[Item]:
    """The finished requests of one segment."""
    for found in scan(path.read_bytes()):
        if isinstance(found, Entry) and found.kind == Kind.FINISHED:
            try:
                note = notes.finished(found.payload)
            except ValueError as error:
                contents.not_read(path, found.id, error)
                continue
            yield note.record, note.posting


def _batches(items: Iterator[T]) -> Iterator[list[T]]:
    taken: list[T] = []
    for item in items:
        taken.append(item)
        if len(taken) == BATCH_ROWS:
            yield taken
            taken = []
    if taken:
        yield taken


def _known(ids: list[str]) -> set[str]:
    """Which of the requests are in the database: by their row, or, where that is past its retention, their charge."""
    rows = Request.objects.filter(pk__in=ids).values_list("pk", flat=True)
    return {*rows, *LedgerEntry.objects.filter(pk__in=ids).values_list("pk", flat=True)}
