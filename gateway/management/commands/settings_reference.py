"""Print docs/settings.md: the reference of every setting, made from the list that the process itself reads."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from gateway.env import REFERENCE

_INTRODUCTION = """\
# Settings

Comptroller reads its settings from the environment. A wrong value stops the start with a sentence that says which and
why; an unset or empty variable takes the default. Every secret may also be given as `NAME_FILE`, the path of a file
that holds it (a Docker or Kubernetes secret); giving both is refused.

The three secrets that are generated when absent are written into `secrets/` of the data folder, readable by their
owner alone. Keep them with your backups: without the encryption keys stored provider credentials cannot be read, and
with another pepper every issued virtual key is unknown. Several replicas must share them.

<!-- Made by `manage.py settings_reference`; a test compares it with the code. -->

| setting | default | secret | meaning |
| --- | --- | --- | --- |
"""


def reference() -> str:
    """The page, as Markdown."""
    rows = (
        f"| `{setting.name}` | {setting.default_text or f'`{setting.default}`'} "
        f"| {'yes' if setting.secret else ''} | {setting.help} |\n"
        for setting in REFERENCE
    )
    return _INTRODUCTION + "".join(rows)


class Command(BaseCommand):
    help = "Print the reference of every setting as Markdown: docs/settings.md is this."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(reference(), ending="")
