"""Claude's thinking as a reasoning item of OpenAI's, and back.

The signature that proves a thought to be Claude's, or the thought that Claude keeps hidden, travels in the item's
`encrypted_content`, which clients send back as they got it. Reasoning of another maker's model is left out: Claude
refuses thoughts that are not its own.
"""

from __future__ import annotations

from typing import Final

from gateway.wire.openai_clients.fields import JsonObject

_SIGNED: Final = "claude-thinking:"
_HIDDEN: Final = "claude-redacted:"


def reasoning_item(item_id: str, block: JsonObject) -> JsonObject:
    """The finished item for a `thinking` or `redacted_thinking` block."""
    text = block.get("thinking") or ""
    hidden = block.get("type") == "redacted_thinking"
    content = _HIDDEN + str(block.get("data") or "") if hidden else _SIGNED + str(block.get("signature") or "")
    return {
        "id": item_id,
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": text}] if text else [],
        "encrypted_content": content,
    }


def thinking_of(item: JsonObject) -> list[JsonObject]:
    """The block that an item was made of, in a list; an empty one where it was none of Claude's."""
    content = item.get("encrypted_content")
    if not isinstance(content, str):
        return []
    if content.startswith(_HIDDEN):
        return [{"type": "redacted_thinking", "data": content.removeprefix(_HIDDEN)}]
    signature = content.removeprefix(_SIGNED)
    if not content.startswith(_SIGNED) or not signature:
        return []
    summary = item.get("summary")
    texts = [part.get("text") for part in summary if isinstance(part, dict)] if isinstance(summary, list) else []
    thought = "".join(text for text in texts if isinstance(text, str))
    return [{"type": "thinking", "thinking": thought, "signature": signature}]
