from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("governance", "0007_partitions")]

    operations = [
        # Its sums were made from the ledger and are made anew, in allowance windows.
        migrations.DeleteModel(name="BudgetWindow"),
        migrations.AddField(
            model_name="allowancewindow",
            name="wanted_by",
            field=models.CharField(blank=True, default="", help_text="That process.", max_length=26),
            preserve_default=False,
        ),
    ]
