"""Issue one virtual key and print its secret, once."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from gateway.launch.instance import running_url
from gateway.launch.paste import claude_code_lines
from governance.models import Developer, Project, Team
from governance.services.keys import issue_key
from governance.services.tenants import create_developer

_ACTOR = "manage.py issue_key"


class Command(BaseCommand):
    help = "Issue a virtual key and print its secret and the lines to paste for Claude Code. The secret is shown once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--team", required=True, help="Customer and team, for example Acme/Core.")
        parser.add_argument("--name", required=True, help="Who or what uses the key, for example ada-laptop.")
        parser.add_argument("--developer", default="", help="E-mail address; made at the first mention.")
        parser.add_argument("--project", default="", help="Project counted unless a request names another.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with transaction.atomic():
                team = _team(options["team"])
                key, secret = issue_key(
                    team=team,
                    name=options["name"],
                    developer=_developer(team, options["developer"]),
                    project=_project(team, options["project"]),
                    actor=None,
                    actor_name=_ACTOR,
                )
        except ValidationError as error:
            raise CommandError(f"The key was not issued. {' '.join(error.messages)}") from None
        if options["json"]:
            told = {
                "id": key.pk,
                "name": key.name,
                "customer": team.customer.name,
                "team": team.name,
                "developer": key.developer.email if key.developer else None,
                "project": key.project.name if key.project else None,
                "public_id": secret.public_id,
                "secret": str(secret),
            }
            self.stdout.write(json.dumps(told))
            return
        self.stdout.write(f"Key {key.name} of {team}. Its secret is shown this once only:\n\n  {secret}\n")
        self.stdout.write("Paste into a terminal to use Claude Code with it:\n")
        for line in claude_code_lines(_gateway_url(), str(secret)):
            self.stdout.write(f"  {line}")


def _gateway_url() -> str:
    """As the settings say, else where `up` answers, which may have been given another port."""
    given = settings.COMPTROLLER
    configured: str = given["COMPTROLLER_GATEWAY_URL"] or given["COMPTROLLER_PUBLIC_URL"]
    return configured or running_url(settings.DATA_DIR) or settings.GATEWAY_URL


def _team(path: str) -> Team:
    teams: Iterable[Team] = Team.objects.select_related("customer")
    for team in teams:
        if f"{team.customer.name}/{team.name}".casefold() == path.casefold():
            return team
    known = ", ".join(f"{team.customer.name}/{team.name}" for team in list(teams)[:20])
    raise CommandError(f"There is no team {path!r}. Known: {known or 'none'}.")


def _developer(team: Team, email: str) -> Developer | None:
    if not email:
        return None
    found: Developer | None = Developer.objects.filter(customer=team.customer, email__iexact=email).first()
    return found or create_developer(customer=team.customer, team=team, email=email, actor=None, actor_name=_ACTOR)


def _project(team: Team, name: str) -> Project | None:
    if not name:
        return None
    found: Project | None = Project.objects.filter(customer=team.customer, name__iexact=name).first()
    if found is None:
        raise CommandError(f"{team.customer.name} has no project {name!r}.")
    return found
