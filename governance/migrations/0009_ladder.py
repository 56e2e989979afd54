from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("governance", "0008_leases")]

    operations = [
        migrations.AlterModelOptions(
            name="gatewayprocess",
            options={
                "ordering": ["-started_at"],
                "permissions": [("release_gatewayprocess", "Can release what a silent gateway process holds")],
                "verbose_name_plural": "gateway processes",
            },
        ),
    ]
