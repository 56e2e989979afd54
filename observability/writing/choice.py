"""Which recorder a gateway process has: one that hands over to a writer's process, or one with a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from django.conf import settings

from governance.domain.allowance import WindowState
from observability import exposition, live, metrics
from observability.recorder import Recorder
from observability.records import RequestRecord
from observability.spool import Spool
from observability.writing.client import ProcessRecorder


def configured(
    spool: Spool,
    *,
    on_posted: Callable[[list[WindowState]], object],
    on_written: Callable[[Sequence[str]], object],
) -> Recorder | ProcessRecorder:
    """As `COMPTROLLER_WRITER` says, for the running event loop; both are called in its thread.

    A process whose metrics are in its own memory keeps the thread: what a writer counted would be seen by nobody.
    `python -m gateway.serve` and `up` share them through files; Daphne in development does not.
    """
    if settings.COMPTROLLER["COMPTROLLER_WRITER"] == "process" and exposition.shared():
        return ProcessRecorder(spool, on_posted=on_posted, on_written=on_written)
    loop = asyncio.get_running_loop()

    def posted(windows: list[WindowState]) -> None:
        loop.call_soon_threadsafe(on_posted, windows)

    def written(records: list[RequestRecord]) -> None:
        loop.call_soon_threadsafe(on_written, [record.id for record in records])

    return Recorder(listeners=(written, live.publish, metrics.observe), on_posted=(posted,), spool=spool)
