"""Write export rows to a binary file, chunk by chunk, in either format."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Sequence
from typing import Any, BinaryIO, Protocol

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from observability.exports.columns import COLUMNS, JSON_COLUMNS, SCHEMA
from observability.models import LogExport

Row = Sequence[Any]
"""Values in the order of `COLUMNS`."""


class Writer(Protocol):
    """Takes chunks of rows; `close` writes what the format still needs and leaves the file open."""

    def write(self, rows: Sequence[Row]) -> None: ...

    def close(self) -> None: ...


class Counted:
    """A file that counts and hashes (SHA-256) what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.bytes = 0
        self.closed = False

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._file.write(view)
        self._digest.update(view)
        self.bytes += len(view)
        return len(view)

    def tell(self) -> int:
        return self.bytes

    def flush(self) -> None:
        self._file.flush()

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        """Nothing: the owner of the file closes it."""


class JsonLines:
    """One object a line, gzip-compressed; times are ISO 8601 in UTC, money whole nano-dollars."""

    def __init__(self, file: Counted) -> None:
        # No time stamp and no name in the header: the same rows give the same bytes.
        self._gzip = gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6, mtime=0)
        self._encoder = msgspec.json.Encoder()

    def write(self, rows: Sequence[Row]) -> None:
        self._gzip.write(self._encoder.encode_lines([dict(zip(COLUMNS, row, strict=True)) for row in rows]))

    def close(self) -> None:
        self._gzip.close()


class Parquet:
    """One row group a chunk, zstd-compressed."""

    def __init__(self, file: Counted) -> None:
        self._writer = pq.ParquetWriter(pa.PythonFile(file, mode="w"), SCHEMA, compression="zstd")

    def write(self, rows: Sequence[Row]) -> None:
        columns: list[pa.Array] = []
        for field, values in zip(SCHEMA, zip(*rows, strict=True), strict=True):
            texts = field.name in JSON_COLUMNS
            columns.append(pa.array([msgspec.json.encode(v).decode() for v in values] if texts else values, field.type))
        self._writer.write_table(pa.Table.from_arrays(columns, schema=SCHEMA))

    def close(self) -> None:
        self._writer.close()


def open_writer(format: str, file: Counted) -> Writer:
    return Parquet(file) if format == LogExport.Format.PARQUET else JsonLines(file)
