"""Hand a finished export to a person, in pieces, with an audit entry for each download."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import BinaryIO

from asgiref.sync import sync_to_async
from django.http import StreamingHttpResponse

from governance.services import audit
from governance.services.audit import Actor
from observability.exports.services import open_export
from observability.models import LogExport

PIECE_BYTES = 256 * 1024


def as_attachment(export: LogExport, *, actor: Actor) -> StreamingHttpResponse:
    """The file as a download; the caller has checked who asks. Raises NotAvailable."""
    file = open_export(export)
    try:
        audit.record(actor=actor, action="log_export.downloaded", target=export)
    except BaseException:
        file.close()
        raise
    response = StreamingHttpResponse(_pieces(file), content_type="application/octet-stream")
    response["Content-Disposition"] = f'attachment; filename="{file_name(export)}"'
    response["Cache-Control"] = "private, no-store"
    if export.bytes:
        response["Content-Length"] = str(export.bytes)
    return response


def file_name(export: LogExport) -> str:
    """For example `requests-2026-11-01-to-2026-11-02-7.jsonl.gz`."""
    return f"requests-{export.starts_at:%Y-%m-%d}-to-{export.ends_at:%Y-%m-%d}-{export.pk}.{export.format}"


async def _pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    # Asynchronous, because Django under ASGI reads a synchronous iterator to its end before it sends a byte.
    try:
        while piece := await sync_to_async(file.read, thread_sensitive=False)(PIECE_BYTES):
            yield piece
    finally:
        file.close()
