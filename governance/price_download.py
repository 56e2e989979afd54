"""Fetch the price source: an http(s) address or a local file, bounded in size and time."""

from __future__ import annotations

import time
from pathlib import Path

import httpx

from governance.pricing_source import PriceSourceError

MAX_BYTES = 16 * 1024 * 1024
"""Five times the size of LiteLLM's map of November 2026."""
MAX_SECONDS = 60.0


def fetch(source: str, *, max_bytes: int = MAX_BYTES, max_seconds: float = MAX_SECONDS) -> bytes:
    """The content of an address or file. Raises PriceSourceError with the reason where there is none to use."""
    if source.startswith(("http://", "https://")):
        return _download(source, max_bytes, max_seconds)
    return _read(Path(source.removeprefix("file://")), max_bytes)


def _download(address: str, max_bytes: int, max_seconds: float) -> bytes:
    deadline = time.monotonic() + max_seconds
    content = bytearray()
    try:
        with (
            httpx.Client(
                timeout=httpx.Timeout(10.0, read=min(20.0, max_seconds)), follow_redirects=True, max_redirects=3
            ) as client,
            client.stream("GET", address) as response,
        ):
            if response.status_code != httpx.codes.OK:
                raise PriceSourceError(f"{address} answered {response.status_code}")
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > max_bytes:
                    raise PriceSourceError(f"{address} is larger than {max_bytes:,} bytes; is it the right file?")
                if time.monotonic() > deadline:
                    raise PriceSourceError(f"{address} was not read within {max_seconds:.0f} seconds")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise PriceSourceError(f"{address} cannot be read: {error or type(error).__name__}") from None
    return bytes(content)


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        raise PriceSourceError(f"{path} cannot be read: {error}") from None
    if len(content) > max_bytes:
        raise PriceSourceError(f"{path} is larger than {max_bytes:,} bytes; is it the right file?")
    return content
