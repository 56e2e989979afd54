"""The ways a message travels, one module each: `send` returns the answer's status or raises NotDelivered."""

from __future__ import annotations


class NotDelivered(Exception):
    """The message did not arrive; the text completes "Not delivered: …". `permanent`: another try is of no use."""

    def __init__(self, reason: str, *, status: int | None = None, permanent: bool = False) -> None:
        super().__init__(reason)
        self.status = status
        self.permanent = permanent


__all__ = ["NotDelivered"]
