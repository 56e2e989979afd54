"""Requests as Claude Code sends them: head and body of a model call, the body of a wanted size to the byte."""

from __future__ import annotations

import json
from functools import lru_cache

MODEL = "claude-haiku-5-5"
SESSION = "0c0f0c9e-5a4e-4d0e-9b1a-5f1f3f1e7a11"
_BETAS = (
    "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27,prompt-caching-scope-2026-01-05"
)
_HEADERS = {
    "host": "127.0.0.1",
    "accept": "application/json",
    "accept-encoding": "gzip, deflate, br, zstd",
    "authorization": "Bearer {secret}",
    "content-type": "application/json",
    "anthropic-version": "2023-06-01",
    "anthropic-beta": _BETAS,
    "anthropic-dangerous-direct-browser-access": "true",
    "user-agent": "claude-cli/2.1.330 (external, cli)",
    "x-app": "cli",
    "x-claude-code-session-id": SESSION,
    "x-stainless-arch": "x64",
    "x-stainless-lang": "js",
    "x-stainless-os": "Linux",
    "x-stainless-package-version": "0.80.0",
    "x-stainless-retry-count": "0",
    "x-stainless-runtime": "node",
    "x-stainless-runtime-version": "v24.3.0",
    "x-stainless-timeout": "600",
}
_PROSE = (
    "The request is read once, checked against what the key may do, and sent on as it came.\n"
    'A line of code: if (left["limit"] < worst) { return refuse("exhausted"); }\n'
)


def head(prefix: str, answer: str, length: int) -> bytes:
    """Request line and headers; `answer` is the mock's name for what it is to answer, `{secret}` is filled in later."""
    lines = [f"POST {prefix}/v1/messages?beta=true&mock={answer} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in {**_HEADERS, "content-length": str(length)}.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@lru_cache(maxsize=16)
def body(size: int, stream: bool) -> bytes:
    """A model call of `size` bytes (800 at least): a third of a large one is tools, the rest a conversation."""
    call = {
        "model": MODEL,
        "max_tokens": 32000,
        "stream": stream,
        "metadata": {"user_id": json.dumps({"device_id": "d" * 64, "account_uuid": "", "session_id": SESSION})},
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.330; cc_entrypoint=cli;"},
            {"type": "text", "text": "You help with code.", "cache_control": {"type": "ephemeral"}},
        ],
        "tools": [_tool(number) for number in range(min(30, size // 6_000))],
        "messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}],
    }
    turns: list[dict[str, object]] = []
    left = size - len(json.dumps(call).encode()) - 400
    while left > 6_000:
        turn = _turn(len(turns))
        turns += turn
        left -= len(json.dumps(turn).encode())
    call["messages"] = [*turns, {"role": "system", "content": "Primary working directory: /home/ada/src/gateway"}]
    call["messages"] += [{"role": "user", "content": [{"type": "text", "text": ""}]}]
    missing = size - len(json.dumps(call).encode())
    assert missing >= 0, f"a model call of {size} bytes is too small"
    call["messages"][-1]["content"][0]["text"] = ("word " * (missing // 5 + 1))[:missing]
    return json.dumps(call).encode()


def _tool(number: int) -> dict[str, object]:
    properties = {
        f"argument_{n}": {"type": "string", "description": _PROSE, "enum": ["first", "second"]} for n in range(4)
    }
    return {
        "name": f"Tool{number}",
        "description": _PROSE * 4,
        "input_schema": {"type": "object", "properties": properties, "required": ["argument_0"]},
    }


def _turn(number: int) -> list[dict[str, object]]:
    """The assistant reads a file, the client sends its text: about 5 KB."""
    used = {"type": "tool_use", "id": f"toolu_{number}", "name": "Read", "input": {"file_path": f"/src/{number}.py"}}
    result = {"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": _PROSE * 28}
    return [{"role": "assistant", "content": [used]}, {"role": "user", "content": [result]}]
