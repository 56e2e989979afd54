"""The audit trail: append-only, each entry chained to the one before by its hash."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from governance.querysets import AuditQuerySet


class AuditEntry(models.Model):
    """Who did what to which thing, with old and new values. Database triggers refuse any change or deletion."""

    at = models.DateTimeField()
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.DO_NOTHING, null=True, db_constraint=False, related_name="+"
    )
    actor_name = models.CharField(max_length=150, help_text="Login, or the command that acted.")
    action = models.CharField(max_length=64, help_text="For example virtual_key.revoked.")
    target_type = models.CharField(max_length=64)
    target_id = models.CharField(max_length=64)
    target_name = models.CharField(max_length=300)
    customer_id = models.BigIntegerField(null=True)
    team_id = models.BigIntegerField(null=True)
    changes = models.JSONField(default=dict, help_text='{"field": [old, new]}; never a secret.')
    note = models.CharField(max_length=300, blank=True)
    ip = models.GenericIPAddressField("IP address", null=True)
    previous_hash = models.CharField(max_length=64, unique=True)
    hash = models.CharField(max_length=64, unique=True)

    objects = AuditQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "audit entries"
        ordering = ["-pk"]
        indexes = [
            models.Index(fields=["target_type", "target_id"], name="audit_target"),
            models.Index(fields=["at"], name="audit_at"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.target_name}"
