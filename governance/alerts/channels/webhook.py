"""The signed webhook: one JSON object a message; docs/alerts.md has its fields and how to check the signature."""

from __future__ import annotations

import json
import time

from governance.alerts.channels.hooks import post
from governance.alerts.messages import Message
from governance.domain.alerts import signature


def send(url: str, message: Message, *, secret: str, delivery: str) -> int:
    """Post one message; `delivery` is the same on each retry. Gives the answer's status. Raises NotDelivered."""
    body = json.dumps(message.payload, ensure_ascii=False, separators=(",", ":")).encode()
    headers = {
        "x-comptroller-signature": signature(secret, body, sent_at=int(time.time())),
        "x-comptroller-delivery": delivery,
    }
    return post(url, body, headers)
