"""PostgreSQL: the ledger by month. Every row is copied and counted; SQLite stays as it is."""

from django.db import migrations

from governance import partitioning

LEDGER = partitioning.Partitioned("governance_ledgerentry", "occurred_at")


def forwards(apps, schema_editor):
    partitioning.partition(LEDGER, schema_editor)


def backwards(apps, schema_editor):
    partitioning.unpartition(LEDGER, schema_editor, apps.get_model("governance", "LedgerEntry"))


class Migration(migrations.Migration):
    dependencies = [("governance", "0006_reconciliation")]

    operations = [migrations.RunPython(forwards, backwards)]
