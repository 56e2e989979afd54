"""Print the configuration as the YAML that `apply` takes."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from governance.configuration import export


class Command(BaseCommand):
    help = "Print the whole configuration as YAML for `apply`. It holds no secrets."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(export(), ending="")
