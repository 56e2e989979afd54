import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import governance.fields


class Migration(migrations.Migration):
    dependencies = [("governance", "0005_prices"), migrations.swappable_dependency(settings.AUTH_USER_MODEL)]

    operations = [
        migrations.CreateModel(
            name="ReconciliationDay",
            fields=[
                ("day", models.DateField(help_text="UTC", primary_key=True, serialize=False)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("open", "Not final"),
                            ("matched", "Matched"),
                            ("off", "Off"),
                            ("accepted", "Accepted"),
                        ],
                        default="open",
                        max_length=8,
                    ),
                ),
                (
                    "ours_nano_usd",
                    governance.fields.NanoUsdField(
                        default=0,
                        help_text="From the request log, priced class by class, with what was adjusted before.",
                        verbose_name="ours",
                    ),
                ),
                (
                    "theirs_nano_usd",
                    governance.fields.NanoUsdField(
                        help_text="Empty while there is no cost report of the day.", null=True, verbose_name="theirs"
                    ),
                ),
                (
                    "drift_nano_usd",
                    governance.fields.NanoUsdField(help_text="Ours less theirs.", null=True, verbose_name="drift"),
                ),
                (
                    "ledger_nano_usd",
                    governance.fields.NanoUsdField(
                        default=0,
                        help_text="What the same requests cost in the ledger, with the day's adjustments.",
                        verbose_name="ledger",
                    ),
                ),
                (
                    "is_final",
                    models.BooleanField(default=False, help_text="The day was over, with time for late figures."),
                ),
                ("compared_at", models.DateTimeField(help_text="Empty: not compared yet.", null=True)),
                (
                    "waiting_since",
                    models.DateTimeField(
                        help_text="Newer figures came, which a worker compares; empty: nothing newer came.", null=True
                    ),
                ),
            ],
            options={
                "verbose_name": "reconciled day",
                "ordering": ["-day"],
            },
        ),
        migrations.CreateModel(
            name="MonthLock",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "month",
                    models.DateField(help_text="Its first day; the month runs in each customer's own time zone."),
                ),
                ("locked_by_name", models.CharField(max_length=150)),
                ("locked_at", models.DateTimeField()),
                (
                    "total_nano_usd",
                    governance.fields.NanoUsdField(
                        default=0, help_text="Of the ledger when the month was locked.", verbose_name="total"
                    ),
                ),
                ("entries", models.BigIntegerField(default=0, help_text="Ledger rows when the month was locked.")),
                (
                    "totals",
                    models.JSONField(
                        default=dict,
                        help_text='{"customer id": {"UTC day": [rows, nano-dollars]}} when the month was locked.',
                    ),
                ),
                ("unlocked_at", models.DateTimeField(blank=True, null=True)),
                ("unlock_reason", models.CharField(blank=True, max_length=300)),
                (
                    "customer",
                    models.ForeignKey(
                        blank=True,
                        help_text="Empty closes the month of every customer.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="month_locks",
                        to="governance.customer",
                    ),
                ),
                (
                    "locked_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "unlocked_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["-month", "customer__name"],
                "permissions": [("unlock_monthlock", "Can unlock a month that another person locked")],
            },
        ),
        migrations.CreateModel(
            name="ReconciliationException",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("difference", "Differs from the report"),
                            ("ledger", "Request log and ledger differ"),
                            ("late", "Charged after the lock"),
                        ],
                        default="difference",
                        max_length=10,
                    ),
                ),
                ("day", models.DateField(help_text="UTC")),
                ("model", models.CharField(blank=True, max_length=200)),
                ("token_class", models.CharField(blank=True, max_length=40)),
                ("workspace_id", models.CharField(blank=True, max_length=64)),
                ("ours_nano_usd", governance.fields.NanoUsdField(default=0, verbose_name="ours")),
                ("theirs_nano_usd", governance.fields.NanoUsdField(default=0, verbose_name="theirs")),
                (
                    "difference_nano_usd",
                    governance.fields.NanoUsdField(default=0, help_text="Ours less theirs.", verbose_name="difference"),
                ),
                (
                    "adjusted_nano_usd",
                    governance.fields.NanoUsdField(
                        default=0,
                        help_text="What its adjustment wrote to the ledger; later comparisons count it as ours.",
                        verbose_name="adjusted",
                    ),
                ),
                ("ours_tokens", models.BigIntegerField(null=True)),
                ("theirs_tokens", models.BigIntegerField(null=True)),
                ("remark", models.CharField(blank=True, help_text="What is known about the cause.", max_length=300)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("open", "Open"),
                            ("explained", "Explained"),
                            ("adjusted", "Adjusted"),
                            ("ignored", "Ignored"),
                            ("gone", "Gone with newer figures"),
                        ],
                        default="open",
                        max_length=9,
                    ),
                ),
                ("opened_at", models.DateTimeField()),
                ("note", models.CharField(blank=True, max_length=300)),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                (
                    "assigned_to",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="governance.customer",
                    ),
                ),
                (
                    "decided_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "lock",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="late",
                        to="governance.monthlock",
                    ),
                ),
            ],
            options={
                "ordering": ["-day", "model", "token_class"],
                "permissions": [
                    ("decide_reconciliationexception", "Can explain, ignore and adjust reconciliation exceptions")
                ],
            },
        ),
        migrations.CreateModel(
            name="ReconciliationLine",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("model", models.CharField(blank=True, max_length=200)),
                ("token_class", models.CharField(max_length=40)),
                ("workspace_id", models.CharField(blank=True, max_length=64)),
                ("ours_nano_usd", governance.fields.NanoUsdField(default=0)),
                ("theirs_nano_usd", governance.fields.NanoUsdField(null=True)),
                ("ours_tokens", models.BigIntegerField(default=0)),
                (
                    "theirs_tokens",
                    models.BigIntegerField(help_text="Empty while there is no usage report of the day.", null=True),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("matched", "Equal"),
                            ("within", "Within tolerance"),
                            ("off", "Off"),
                            ("only_ours", "Only ours"),
                            ("only_theirs", "Only theirs"),
                            ("waiting", "No cost report"),
                        ],
                        max_length=11,
                    ),
                ),
                ("remark", models.CharField(blank=True, max_length=300)),
                (
                    "day",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="lines",
                        to="governance.reconciliationday",
                    ),
                ),
            ],
            options={
                "ordering": ["model", "token_class", "workspace_id"],
            },
        ),
        migrations.CreateModel(
            name="ReportImport",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("source", models.CharField(choices=[("api", "Admin API"), ("file", "File")], max_length=4)),
                ("kind", models.CharField(choices=[("cost", "Cost report"), ("usage", "Usage report")], max_length=5)),
                ("first_day", models.DateField(help_text="UTC")),
                ("last_day", models.DateField(help_text="UTC, included")),
                ("imported_at", models.DateTimeField()),
                (
                    "imported_by_name",
                    models.CharField(blank=True, help_text="Login, or the command that imported.", max_length=150),
                ),
                ("file_name", models.CharField(blank=True, max_length=200)),
                (
                    "sha256",
                    models.CharField(
                        help_text="Of the report as it was received.", max_length=64, verbose_name="SHA-256"
                    ),
                ),
                ("days", models.PositiveIntegerField(default=0, help_text="Days that were new or different.")),
                ("lines", models.PositiveIntegerField(default=0)),
                (
                    "unknown",
                    models.JSONField(
                        blank=True,
                        default=list,
                        help_text="Fields and values that this version does not know; kept with their lines.",
                    ),
                ),
                (
                    "imported_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["-imported_at", "-pk"],
            },
        ),
        migrations.CreateModel(
            name="ReportDay",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(choices=[("cost", "Cost report"), ("usage", "Usage report")], max_length=5)),
                ("day", models.DateField()),
                (
                    "digest",
                    models.CharField(
                        help_text="SHA-256 of the day's lines: the same day is not stored twice.", max_length=64
                    ),
                ),
                ("is_current", models.BooleanField(default=True)),
                (
                    "report",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="report_days",
                        to="governance.reportimport",
                    ),
                ),
            ],
            options={
                "ordering": ["day", "kind"],
            },
        ),
        migrations.CreateModel(
            name="ReportLine",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "workspace_id",
                    models.CharField(blank=True, help_text="Empty: the default workspace.", max_length=64),
                ),
                (
                    "model",
                    models.CharField(blank=True, help_text="Empty where the provider names none.", max_length=200),
                ),
                ("token_class", models.CharField(max_length=40)),
                (
                    "tokens",
                    models.BigIntegerField(help_text="Tokens or searches; only a usage report has them.", null=True),
                ),
                (
                    "cents",
                    models.CharField(
                        blank=True, help_text="The amount in cents, digit by digit as reported.", max_length=60
                    ),
                ),
                ("service_tier", models.CharField(blank=True, max_length=32)),
                ("context_window", models.CharField(blank=True, max_length=32)),
                ("inference_geo", models.CharField(blank=True, max_length=32)),
                ("description", models.CharField(blank=True, max_length=300)),
                ("extra", models.JSONField(default=dict, help_text="Fields that this version does not know.")),
                (
                    "report_day",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="lines", to="governance.reportday"
                    ),
                ),
            ],
            options={
                "ordering": ["pk"],
            },
        ),
        migrations.CreateModel(
            name="Workspace",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "workspace_id",
                    models.CharField(
                        help_text="As the provider's reports name it, for example wrkspc_01Jw….",
                        max_length=64,
                        verbose_name="workspace id",
                    ),
                ),
                ("name", models.CharField(blank=True, help_text="Shown instead of the id.", max_length=120)),
                (
                    "credential",
                    models.OneToOneField(
                        help_text="The API key that was made in this workspace.",
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="workspace",
                        to="governance.providercredential",
                    ),
                ),
            ],
            options={
                "ordering": ["name", "workspace_id"],
            },
        ),
        migrations.AddConstraint(
            model_name="monthlock",
            constraint=models.UniqueConstraint(
                condition=models.Q(("unlocked_at__isnull", True)),
                fields=("customer", "month"),
                name="month_lock_once",
                violation_error_message="This month is locked already.",
            ),
        ),
        migrations.AddConstraint(
            model_name="monthlock",
            constraint=models.UniqueConstraint(
                condition=models.Q(("customer__isnull", True), ("unlocked_at__isnull", True)),
                fields=("month",),
                name="month_lock_whole_once",
                violation_error_message="This month is locked already.",
            ),
        ),
        migrations.AddIndex(
            model_name="reconciliationexception",
            index=models.Index(fields=["status", "-day"], name="exception_queue"),
        ),
        migrations.AddConstraint(
            model_name="reconciliationexception",
            constraint=models.UniqueConstraint(
                condition=models.Q(("kind", "difference"), ("status", "open")),
                fields=("kind", "day", "model", "token_class", "workspace_id"),
                name="exception_difference_open_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="reconciliationexception",
            constraint=models.UniqueConstraint(
                condition=models.Q(("kind", "ledger"), ("status", "open")),
                fields=("day",),
                name="exception_ledger_open_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="reconciliationexception",
            constraint=models.UniqueConstraint(
                condition=models.Q(("kind", "late"), ("status", "open")),
                fields=("lock", "customer", "day"),
                name="exception_late_open_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="reconciliationline",
            constraint=models.UniqueConstraint(
                fields=("day", "model", "token_class", "workspace_id"), name="reconciliation_line_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="reportday",
            constraint=models.UniqueConstraint(
                condition=models.Q(("is_current", True)), fields=("kind", "day"), name="report_day_current_once"
            ),
        ),
    ]
