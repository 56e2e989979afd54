"""`manage.py refresh_prices [SOURCE]`: propose what the price source lists differently from the catalog."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from governance.catalog import seed_prices
from governance.tasks import refresh_prices


class Command(BaseCommand):
    help = "Compare the price catalog with a source (default: COMPTROLLER_PRICE_SOURCE) and propose the differences."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("source", nargs="?", default="", help="http(s) address or file.")
        parser.add_argument("--shipped", action="store_true", help="Only insert shipped prices that are missing.")

    def handle(self, *args: Any, source: str, shipped: bool, **options: Any) -> None:
        if shipped:
            self.stdout.write(f"{seed_prices()} shipped prices inserted.")
            return
        result = refresh_prices(source)
        if result["error"]:
            raise CommandError(f"Nothing was changed: {result['error']}")
        self.stdout.write(f"Compared with {result['source']}.")
        for name in (
            "listed",
            "unchanged",
            "proposed",
            "auto_approved",
            "waiting",
            "rejected_before",
            "withdrawn",
            "left_out",
        ):
            self.stdout.write(f"{result[name]:6}  {name.replace('_', ' ')}")
