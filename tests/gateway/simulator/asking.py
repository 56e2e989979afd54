"""Requests as tests write them, and streams as tests read them."""

from __future__ import annotations

import json
from typing import Any

import httpx

MODEL = "claude-opus-5-5"


def ask(prompt: str | list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return {"model": MODEL, "max_tokens": 1024, "messages": messages} | more


def answer(client: httpx.Client, prompt: str | list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """The message of a non-streaming request that must succeed."""
    response = client.post("/v1/messages", json=ask(prompt, **more))
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def stream(client: httpx.Client, prompt: str | list[dict[str, Any]], **more: Any) -> list[dict[str, Any]]:
    """The data of every event of a stream that must end well; names must agree with types."""
    response = client.post("/v1/messages", json=ask(prompt, stream=True, **more))
    assert response.status_code == 200, response.text
    return events(response.text)


def events(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for part in text.strip().split("\n\n"):
        name, data = part.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def said(stream_events: list[dict[str, Any]]) -> str:
    deltas = (event["delta"] for event in stream_events if event["type"] == "content_block_delta")
    return "".join(delta.get("text", "") for delta in deltas)
