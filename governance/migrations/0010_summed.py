from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("governance", "0009_ladder")]

    operations = [
        migrations.AddField(
            model_name="allowancewindow",
            name="summed_at",
            field=models.DateTimeField(
                blank=True,
                null=True,
                help_text="When settled was last summed from the ledger. Empty: to be done at its next use.",
            ),
        ),
    ]
