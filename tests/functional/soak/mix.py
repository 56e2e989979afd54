"""What a soak sends, and what must come of each: the client's answer, the row's status, what is charged."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of request. `share` is relative to the others of its group (requests, or streams)."""

    name: str
    share: float
    status: int
    """What the client sees; 0 where it does not stay to see it."""
    row: str
    charged: bool
    exact: bool = True
    size: int = 2_000
    """Bytes of the request's body."""
    stream: bool = False
    ends: bytes = b""
    """What the answer's last kilobytes hold."""


REQUESTS: tuple[Kind, ...] = (
    Kind("message", 60, 200, "success", True),
    Kind("message-20k", 15, 200, "success", True, size=20_000),
    Kind("message-100k", 6, 200, "success", True, size=100_000),
    Kind("message-1m", 0.6, 200, "success", True, size=1_000_000),
    Kind("answer-300k", 1, 200, "success", True),
    Kind("says-400", 4, 400, "error", False, ends=b"invalid_request_error"),
    Kind("says-429", 1, 429, "error", False, ends=b"rate_limit_error"),
    Kind("says-529", 0.1, 529, "error", False, ends=b"overloaded_error"),
    Kind("closes", 0.1, 503, "error", False, ends=b"without an answer"),
    Kind("no-message", 0.5, 503, "error", True, exact=False, ends=b"not a message"),
    Kind("no-key", 3, 401, "refused", False, ends=b"authentication_error"),
    Kind("no-json", 3, 400, "refused", False, ends=b"invalid_request_error"),
    Kind("no-path", 1, 404, "refused", False, ends=b"not_found_error"),
    Kind("leaves-message", 1, 0, "cancelled", True),
    Kind("leaves-body", 0.5, 0, "cancelled", False, size=100_000),
)
STREAMS: tuple[Kind, ...] = (
    Kind("stream", 50, 200, "success", True, stream=True, ends=b"event: message_stop"),
    Kind("burst", 15, 200, "success", True, stream=True, ends=b"event: message_stop"),
    Kind("slow-reader", 5, 200, "success", True, stream=True, ends=b"event: message_stop"),
    Kind("cut", 10, 200, "error", True, exact=False, stream=True, ends=b"event: error"),
    Kind("error-event", 5, 200, "error", True, exact=False, stream=True, ends=b"overloaded_error"),
    Kind("leaves-stream", 15, 0, "cancelled", True, stream=True),
)
KINDS = {kind.name: kind for kind in (*REQUESTS, *STREAMS)}


def schedule(requests: int, streams: int, seed: int = 7) -> list[str]:
    """Names of kinds in the order in which they are sent: so many of both groups, evenly mixed, the same each time."""
    chance = random.Random(seed)
    names: list[str] = []
    for group, count in ((REQUESTS, requests), (STREAMS, streams)):
        # Each kind at least once, whatever its share.
        names += [kind.name for kind in group]
        names += chance.choices(
            [kind.name for kind in group], [kind.share for kind in group], k=max(0, count - len(group))
        )
    chance.shuffle(names)
    return names
