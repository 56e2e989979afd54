"""Migrate and make the first login, provider, team and key, then end: the first half of `up`, for containers."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from gateway.launch.bootstrap import prepare
from gateway.launch.welcome import secrets_lines


class Command(BaseCommand):
    help = (
        "Migrate the database and make what a first start needs: prices, a login, a provider, a team and a key. "
        "Prints the new secrets once. `up` does the same; containers run this before the server."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        prepared = prepare()
        for line in secrets_lines(prepared, settings.GATEWAY_URL):
            self.stdout.write(line)
        self.stdout.write("The database is ready.")
