"""`manage.py verify_audit`: read the audit trail from its first entry and say whether its chain of hashes holds."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from governance.models import AuditEntry
from governance.services import audit


class Command(BaseCommand):
    help = "Check that no entry of the audit trail was changed, removed or slipped in."

    def handle(self, *args: Any, **options: Any) -> None:
        broken = audit.verify_chain()
        if broken is not None:
            raise CommandError(f"The audit trail does not hold: entry {broken.entry_id} {broken.reason}.")
        last = AuditEntry.objects.order_by("-pk").first()
        head = f", last {last.pk} with hash {last.hash}" if last else ""
        self.stdout.write(f"The audit trail holds: {AuditEntry.objects.count()} entries{head}.")
        self.stdout.write("Keep that hash elsewhere: a trail that was cut off at its end shows only against it.")
