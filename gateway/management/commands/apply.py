"""Create or change customers, teams, keys, budgets and providers from a YAML file."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from governance.configuration import ConfigurationError, apply, parse


class Command(BaseCommand):
    help = (
        "Bring the configuration to what a YAML file says, in one transaction. Things are known by their names; "
        "what the file does not name stays as it is, and nothing is deleted. Prints a diff."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="The YAML file, or - for standard input.")
        parser.add_argument("--dry-run", action="store_true", help="Only print what would change.")

    def handle(self, *args: Any, file: str, dry_run: bool, **options: Any) -> None:
        try:
            text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{file} cannot be read: {error}.") from None
        try:
            outcome = apply(parse(text), dry_run=dry_run)
        except ConfigurationError as error:
            raise CommandError(f"{file} was not applied; nothing was written.\n{error}") from None
        for line in outcome.lines:
            self.stdout.write(line)
        self.stdout.write(outcome.summary())
        if dry_run:
            self.stdout.write("Dry run: nothing was written.")
        elif outcome.secrets:
            self.stdout.write("\nNew secrets, shown this once only:")
            for name, secret in outcome.secrets.items():
                self.stdout.write(f"  {name}  {secret}")
