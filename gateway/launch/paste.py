"""The lines that a developer pastes to use Claude Code through this gateway."""

from __future__ import annotations

import shlex


def claude_code_lines(gateway_url: str, secret: str) -> list[str]:
    """Shell lines for bash and zsh; `gateway_url` is the address that the developer's machine reaches."""
    return [
        f"export ANTHROPIC_BASE_URL={shlex.quote(f'{gateway_url}/anthropic')}",
        f"export ANTHROPIC_AUTH_TOKEN={secret}",
        "claude",
    ]
