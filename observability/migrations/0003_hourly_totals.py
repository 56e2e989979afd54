"""Sums of whole customers beside those of each key, filled from these; and indexes that pages read roll-ups by."""

import governance.fields
from django.db import migrations, models


_SUMS = (
    "requests", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_5m_tokens",
    "cache_write_1h_tokens", "web_searches", "cost_nano_usd",
)  # fmt: skip


def fill(apps, schema_editor):
    names, sums = ", ".join(_SUMS), ", ".join(f"SUM({name})" for name in _SUMS)
    schema_editor.execute(
        f"INSERT INTO observability_hourlytotal (hour, customer_id, status, {names}) "
        f"SELECT hour, customer_id, status, {sums} FROM observability_hourlyusage GROUP BY hour, customer_id, status"
    )


class Migration(migrations.Migration):

    dependencies = [
        ('observability', '0002_partitions'),
    ]

    operations = [
        migrations.CreateModel(
            name='HourlyTotal',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('hour', models.DateTimeField(help_text='Start of the hour, UTC.')),
                ('customer_id', models.BigIntegerField(null=True)),
                ('status', models.CharField(choices=[('success', 'Success'), ('refused', 'Refused'), ('error', 'Error'), ('cancelled', 'Cancelled')], max_length=9)),
                ('requests', models.BigIntegerField(default=0)),
                ('input_tokens', models.BigIntegerField(default=0)),
                ('output_tokens', models.BigIntegerField(default=0)),
                ('cache_read_tokens', models.BigIntegerField(default=0)),
                ('cache_write_5m_tokens', models.BigIntegerField(default=0)),
                ('cache_write_1h_tokens', models.BigIntegerField(default=0)),
                ('web_searches', models.BigIntegerField(default=0)),
                ('cost_nano_usd', governance.fields.NanoUsdField(default=0)),
            ],
        ),
        migrations.AddIndex(
            model_name='hourlyusage',
            index=models.Index(fields=['team_id', 'hour'], name='hourly_team'),
        ),
        migrations.AddIndex(
            model_name='hourlyusage',
            index=models.Index(fields=['virtual_key_id', 'hour'], name='hourly_key'),
        ),
        migrations.AddIndex(
            model_name='hourlyusage',
            index=models.Index(fields=['model', 'customer_id', 'team_id'], name='hourly_model'),
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.AddIndex(
            model_name='hourlytotal',
            index=models.Index(fields=['hour', 'customer_id'], name='hourly_total_hour'),
        ),
    ]
