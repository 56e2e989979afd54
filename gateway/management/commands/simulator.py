"""`manage.py simulator`: start the simulated provider, a scriptable fake Claude for demos and tests."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from gateway.simulator import command


class Command(BaseCommand):
    help = "Start the simulated provider: Anthropic's Messages API, answered by script; no model is called."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        command.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            command.run(options["host"], options["port"], options["script"], options["keep"])
        except command.CannotStart as error:
            raise CommandError(str(error)) from None
