"""How long something took, in words."""

from __future__ import annotations

DASH = "—"


def duration(milliseconds: float | None) -> str:
    """`840 ms`, `12.4 s`, `2 m 05 s`."""
    if milliseconds is None:
        return DASH
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms" if milliseconds >= 1 else "<1 ms"
    if milliseconds < 59_950:
        return f"{milliseconds / 1000:.1f} s"
    minutes, seconds = divmod(round(milliseconds / 1000), 60)
    return f"{minutes} m {seconds:02d} s"
