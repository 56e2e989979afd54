"""Print a user's token for the management API."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from rest_framework.authtoken.models import Token

from governance.services import audit

_ACTOR = "manage.py issue_api_token"


class Command(BaseCommand):
    help = "Print the API token of a user, for `Authorization: Token …`. It may do what the user may do in the admin."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--user", required=True, help="Login name.")
        parser.add_argument("--rotate", action="store_true", help="Make a new token; the old one stops working.")

    def handle(self, *args: Any, user: str, rotate: bool, **options: Any) -> None:
        owner = get_user_model()._default_manager.filter(username=user).first()
        if owner is None:
            raise CommandError(f"There is no user {user!r}. Make one in the admin or with `manage.py createsuperuser`.")
        if not owner.is_active:
            raise CommandError(f"User {user!r} is switched off: a token would be refused.")
        with transaction.atomic():
            removed = Token.objects.filter(user=owner).delete()[0] if rotate else 0
            token, made = Token.objects.get_or_create(user=owner)
            if made:
                action = "api_token.rotated" if removed else "api_token.issued"
                audit.record(actor=None, actor_name=_ACTOR, action=action, target=owner)
        self.stdout.write(token.key)
