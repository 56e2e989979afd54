"""`manage.py reconcile`: lay days beside Anthropic's cost and usage reports, read from its Admin API or from files."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from governance.domain.money import usd_string
from governance.models import ReconciliationDay, ReconciliationException
from observability.reconciliation.client import Unreachable
from observability.reconciliation.parse import BadReport, Kind, read_file
from observability.reconciliation.services import admin_api, compare_day, import_report, reconcile

ACTOR_NAME = "manage.py reconcile"
MAX_BYTES = 64 * 1024 * 1024


class Command(BaseCommand):
    help = "Compare days with Anthropic's reports. Without a file they are read with ANTHROPIC_ADMIN_KEY."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--file", type=Path, help="A saved cost report: one page, a list of pages, or one a line.")
        parser.add_argument("--usage", type=Path, help="A saved usage report, in the same forms.")
        parser.add_argument("--day", type=_day, help="One UTC day, for example 2026-11-20.")
        parser.add_argument("--from", dest="first", type=_day, help="First UTC day.")
        parser.add_argument("--to", dest="last", type=_day, help="Last UTC day, included. Default: yesterday.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            days = self._run(options)
        except (Unreachable, BadReport) as error:
            raise CommandError(str(error)) from None
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        for day in days:
            self._tell(day)

    def _run(self, options: dict[str, Any]) -> list[ReconciliationDay]:
        chosen = self._range(options)
        imported: set[date] = set()
        files: tuple[tuple[Kind, Path | None], ...] = (("cost", options["file"]), ("usage", options["usage"]))
        for kind, path in files:
            if path is not None:
                imported |= self._file(kind, path)
        if options["file"] or options["usage"]:
            return [compare_day(day) for day in sorted(imported) if chosen is None or chosen[0] <= day <= chosen[1]]
        api = admin_api()
        if api is None:
            raise CommandError("Set ANTHROPIC_ADMIN_KEY, or name saved reports with --file and --usage.")
        yesterday = timezone.now().astimezone(UTC).date() - timedelta(days=1)
        first, last = chosen or (yesterday, yesterday)
        return reconcile(first=first, last=last, api=api, actor_name=ACTOR_NAME)

    def _range(self, options: dict[str, Any]) -> tuple[date, date] | None:
        day, first, last = options["day"], options["first"], options["last"]
        if day is not None:
            if first or last:
                raise CommandError("Give --day or --from and --to, not both.")
            return day, day
        if first is None and last is None:
            return None
        if first is None:
            raise CommandError("Give the first day too, with --from.")
        return first, last or timezone.now().astimezone(UTC).date() - timedelta(days=1)

    def _file(self, kind: Kind, path: Path) -> set[date]:
        try:
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise CommandError(f"{path} cannot be read: {error.strerror}.") from None
        if len(content) > MAX_BYTES:
            raise CommandError(f"{path} is larger than {MAX_BYTES:,} bytes; is it the right file?")
        report = read_file(content, kind)
        done = import_report(report=report, source="file", actor=None, actor_name=ACTOR_NAME, file_name=path.name)
        self.stdout.write(f"{path.name}: {len(done.days)} day(s) new or changed, {done.unchanged} as known.")
        for name in report.unknown:
            self.stdout.write(f"{path.name}: not known to this version, kept with its line: {name}")
        return set(report.days)

    def _tell(self, row: ReconciliationDay) -> None:
        theirs = "no cost report" if row.theirs_nano_usd is None else f"theirs {usd_string(row.theirs_nano_usd)}"
        drift = "" if row.drift_nano_usd is None else f", drift {usd_string(row.drift_nano_usd)}"
        waiting = ReconciliationException.objects.filter(day=row.day, status="open").exclude(kind="late").count()
        tail = f", {waiting} exception(s) to decide" if waiting else ""
        ours = f"ours {usd_string(row.ours_nano_usd)}"
        self.stdout.write(f"{row.day} {row.get_state_display().lower()}: {ours}, {theirs}{drift} USD{tail}")


def _day(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:
        raise CommandError(f"{text!r} is no day; write it as 2026-11-20.") from None
