"""The real Claude Code client, run without a terminal in a home of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_SECONDS = 90


def find() -> str | None:
    """`COMPTROLLER_TEST_CLAUDE`, or `claude` on the path."""
    return os.environ.get("COMPTROLLER_TEST_CLAUDE") or shutil.which("claude")


needs_claude = pytest.mark.skipif(
    find() is None, reason="no Claude Code: put `claude` on the path or its file name in COMPTROLLER_TEST_CLAUDE"
)


@dataclass
class ClaudeCode:
    """One person's client: `home` keeps sessions and settings, `work` is where it works."""

    home: Path
    base_url: str
    key: str = field(default="sk-any", repr=False)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def work(self) -> Path:
        return self.home / "work"

    def start(self, prompt: str, *arguments: str, model: str = "sonnet") -> subprocess.CompletedProcess[str]:
        """One prompt; gives up after 90 s."""
        self.work.mkdir(parents=True, exist_ok=True)
        program = find()
        assert program is not None
        inherited = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        return subprocess.run(
            [program, "-p", prompt, "--output-format", "json", "--model", model, *arguments],
            cwd=self.work,
            env={
                **inherited,
                "HOME": str(self.home),
                "ANTHROPIC_BASE_URL": self.base_url,
                "ANTHROPIC_API_KEY": self.key,
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
                "IS_SANDBOX": "1",
                **self.environment,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )

    def run(self, prompt: str, *arguments: str, model: str = "sonnet") -> dict[str, Any]:
        """The client's own JSON result: `result`, `is_error`, `session_id`, `total_cost_usd`, `modelUsage`, …"""
        done = self.start(prompt, *arguments, model=model)
        try:
            found: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            raise AssertionError(f"claude ended with {done.returncode}: {done.stdout}\n{done.stderr}") from None
        return found
