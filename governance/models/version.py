"""A counter that every change of the configuration raises, so that gateway processes know when to read again."""

from __future__ import annotations

from django.db import models


class ConfigurationVersion(models.Model):
    """One row. Database triggers raise `version` in the transaction of the change (see `governance.triggers`)."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    version = models.BigIntegerField(default=1)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="configuration_version_one_row")]

    def __str__(self) -> str:
        return str(self.version)
