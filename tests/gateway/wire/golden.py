"""The golden streams and what each must be metered as."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from gateway.wire.usage import Meter, Metered
from governance.domain.usage import Iteration, Usage

FOLDER = Path(__file__).parents[2] / "golden"
STREAMS = sorted(path.stem for path in (FOLDER / "streams").glob("*.sse"))


def stream(name: str) -> bytes:
    return (FOLDER / "streams" / f"{name}.sse").read_bytes()


def expected(name: str) -> Metered:
    fields: dict[str, Any] = json.loads((FOLDER / "streams" / f"{name}.json").read_text())
    usage = fields.pop("usage")
    iterations = tuple(Iteration(**entry) for entry in usage.pop("iterations", ()))
    return Metered(usage=Usage(**usage, iterations=iterations), **fields)


def meter(*chunks: bytes, is_stream: bool = True) -> Metered:
    tap = Meter(is_stream)
    for chunk in chunks:
        tap.feed(chunk)
    return tap.finish()


def without_bytes(metered: Metered) -> Metered:
    """The estimate's input is not part of what a golden file states."""
    return replace(metered, content_bytes=0)
