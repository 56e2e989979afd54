"""PostgreSQL: the request log by month. Every row is copied and counted; SQLite stays as it is."""

from django.db import migrations

from governance import partitioning

LOG = partitioning.Partitioned("observability_request", "started_at")


def forwards(apps, schema_editor):
    partitioning.partition(LOG, schema_editor)


def backwards(apps, schema_editor):
    partitioning.unpartition(LOG, schema_editor, apps.get_model("observability", "Request"))


class Migration(migrations.Migration):
    dependencies = [("observability", "0001_initial")]

    operations = [migrations.RunPython(forwards, backwards)]
