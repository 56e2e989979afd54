from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("governance", "0010_summed")]

    operations = [
        migrations.AddField(
            model_name="configurationversion",
            name="wide",
            field=models.BigIntegerField(
                default=1, help_text="The version of the last change that concerns more than single keys."
            ),
        ),
        migrations.CreateModel(
            name="KeyChange",
            fields=[
                ("key_id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("version", models.BigIntegerField(db_index=True)),
            ],
        ),
    ]
