"""`manage.py spool`: what lies in the spool of this data folder; replay dead processes' parts, retry what was set
aside.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections import Counter
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from observability.batch import Outage, write
from observability.replay import Replay
from observability.spool import Finished, aside, configured_root, folders
from observability.spool.segments import Damage, Kind, scan


class Command(BaseCommand):
    help = "List the spool of this data folder: records of requests that are not in the database yet."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--replay", action="store_true", help="Write what dead processes left; running ones do so by themselves."
        )
        parser.add_argument("--retry", action="store_true", help="Write again what the database refused before.")

    def handle(self, *args: Any, **options: Any) -> None:
        root = configured_root()
        try:
            if options["replay"]:
                self._replay(root)
            if options["retry"]:
                self._retry(root)
        except Outage as outage:
            raise CommandError(f"The database cannot be written: {outage}. What is left stays in the spool.") from None
        self._list(root)

    def _replay(self, root: Path) -> None:
        done = Replay(root)
        for _ in done.sweep():
            pass
        for result in done.done:
            self.stdout.write(str(result))
        if done.failed:
            failed = "; ".join(f"{owner}: {why}" for owner, why in done.failed.items())
            raise CommandError(f"Not everything could be replayed: {failed}. The log says more.")

    def _retry(self, root: Path) -> None:
        def again(finished: Finished) -> None:
            for (record, posting), reason in write([(finished.record, finished.posting)]).refused:
                if not aside.keep(root, record, posting, reason):
                    raise CommandError("A record could not be set aside again; nothing was removed.")

        try:
            tried, unreadable = aside.retry(root, again)
        except BlockingIOError:
            raise CommandError("Another process retries these records now.") from None
        refused = aside.count(root) - unreadable
        self.stdout.write(f"{tried} records retried, {refused} of them refused again, {unreadable} lines unreadable.")

    def _list(self, root: Path) -> None:
        self.stdout.write(f"Spool {root}: {folders.size(root):,} bytes")
        paths = folders.owners(root)
        for path in paths:
            owned = folders.take(path)
            if owned is not None:
                owned.release()
            self.stdout.write(f"  {path.name}  {'alive' if owned is None else 'dead'}: {_contents(path)}")
        if not paths:
            self.stdout.write("  empty: no process runs on this data folder, and none left anything.")
        for kept in folders.damaged(root):
            self.stdout.write(f"  damaged: {kept} (its note is beside it; remove both when they are looked into)")
        for id_, reason in aside.entries(root):
            self.stdout.write(f"  set aside: {id_}: {reason[:200]}")


def _contents(path: Path) -> str:
    """The records of one owner's folder by kind. Its owner may remove segments meanwhile."""
    kinds: Counter[str] = Counter()
    segments = damage = 0
    for segment in sorted(path.glob("*.segment")):
        try:
            data = segment.read_bytes()
        except FileNotFoundError:
            continue
        segments += 1
        for found in scan(data):
            if isinstance(found, Damage):
                damage += 1
            elif found.kind != Kind.SEGMENT:
                kinds[Kind(found.kind).name.lower()] += 1
    records = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "no records"
    return f"{segments} segments, {records}" + (f", {damage} damaged parts" if damage else "")
