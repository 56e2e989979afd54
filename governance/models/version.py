"""Counters that every change of the configuration raises, so that gateway processes know what to read again."""

from __future__ import annotations

from django.db import models


class ConfigurationVersion(models.Model):
    """One row. Database triggers raise it in the transaction of the change (see `governance.triggers`)."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    version = models.BigIntegerField(default=1)
    wide = models.BigIntegerField(
        default=1, help_text="The version of the last change that concerns more than single keys."
    )

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="configuration_version_one_row")]

    def __str__(self) -> str:
        return str(self.version)


class KeyChange(models.Model):
    """The version that last changed a key, its secrets or its providers; the key itself may be gone."""

    key_id = models.BigIntegerField(primary_key=True)
    version = models.BigIntegerField(db_index=True)

    def __str__(self) -> str:
        return f"key {self.key_id}: {self.version}"
