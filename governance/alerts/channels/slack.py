"""Incoming webhooks of Slack and what understands them (Mattermost, Rocket.Chat, Discord with /slack)."""

from __future__ import annotations

import json
from typing import Any

from governance.alerts.channels.hooks import post
from governance.alerts.messages import Message

_MOST_FIELDS = 10
"""Slack refuses a section with more."""


def send(url: str, message: Message) -> int:
    """Post one message; gives the answer's status. Raises NotDelivered."""
    return post(url, json.dumps(body(message)).encode())


def body(message: Message) -> dict[str, Any]:
    """`text` is what a notification shows and what receivers without blocks read."""
    fields = [_markdown(f"*{_safe(label)}*\n{_safe(value)}"[:2000]) for label, value in message.facts[:_MOST_FIELDS]]
    return {
        "text": _safe(f"{message.title}. {message.text} {message.link}"),
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": message.title[:150]}},
            {"type": "section", "text": _markdown(_safe(message.text)[:3000])},
            {"type": "section", "fields": fields},
            {"type": "section", "text": _markdown(f"<{message.link}|Open in Comptroller>")},
        ],
    }


def _markdown(text: str) -> dict[str, str]:
    return {"type": "mrkdwn", "text": text}


def _safe(text: str) -> str:
    """Names of budgets are typed by people: none of them may become a link or call everybody."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
