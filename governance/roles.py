"""The five roles, as groups: what each may do. Which rows they may do it to is decided by memberships.

The groups belong to the product: every migration sets their permissions again. For another cut, make a group
of your own. Providers, prices and background schedules belong to the installation, not to one customer; only
Platform admin and (for prices) Finance change them.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.apps import apps
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission
from django.db import DEFAULT_DB_ALIAS

_APPS = ("governance", "observability", "auth", "django_celery_beat")

_EVERYTHING = ("view", "add", "change", "delete")
_TENANTS = ("customer", "team", "project", "developer")
_LIMITS = ("budget", "ratelimit")
_TRAFFIC = ("request", "hourlyusage")


def _can(verbs: Iterable[str], models: Iterable[str], app: str = "governance") -> set[str]:
    return {f"{app}.{verb}_{model}" for verb in verbs for model in models}


_READ_USAGE = _can(["view"], [*_TENANTS, *_LIMITS, "virtualkey"]) | _can(["view"], _TRAFFIC, "observability")
_RAISES = {"governance.view_raise", "governance.add_raise", "governance.emergency_raise"}
_ALERTS = _can(["view"], ["alert", "alertdelivery"]) | _can(_EVERYTHING, ["alertchannel"])
_ALERTS |= {"governance.retry_alertdelivery"}
_REPORTS = ("reportimport", "reconciliationday", "reconciliationexception", "monthlock", "workspace")
_RECONCILE = _can(["view"], _REPORTS) | _can(["add"], ["reportimport", "monthlock"])
_RECONCILE |= {"governance.decide_reconciliationexception", "governance.unlock_monthlock"}
_PRICING = ("price", "priceoverride", "modelalias", "repricing")
_TERMS = _can(["view", "add", "change"], ["priceoverride"]) | _can(_EVERYTHING, ["modelalias"])
_TERMS |= _can(["view", "add"], ["repricing"]) | {"governance.decide_priceproposal", "governance.decide_repricing"}
_KEYS = {"governance.issue_virtualkey", "governance.revoke_virtualkey"}

ROLES: dict[str, set[str]] = {
    "Platform admin": _READ_USAGE
    | _can(_EVERYTHING, [*_TENANTS, *_LIMITS, "provider", "providercredential", "provideraccess", "membership"])
    | _can(_EVERYTHING, ["routingrule"])
    | _can(["view", "change"], ["routingsettings"])
    | _can(["view", "add", "change"], ["virtualkey", "price", "priceproposal"])
    | _can(["view"], ["auditentry", "ledgerentry"])
    | _can(["view", "release"], ["gatewayprocess"])
    | _can(["view", "add"], ["logexport"], "observability")
    | _can(["view", "add", "change"], ["user"], "auth")
    | _can(["view"], ["group"], "auth")
    | _can(_EVERYTHING, ["periodictask", "intervalschedule", "crontabschedule"], "django_celery_beat")
    | _can(["add", "change", "delete"], ["workspace"])
    | _KEYS
    | _ALERTS
    | _RAISES
    | _RECONCILE
    | _TERMS
    | {"governance.decide_raise"},
    "Finance": _READ_USAGE
    | _can(["add", "change", "delete"], ["budget"])
    | _can(["view", "add", "change"], ["price"])
    | _can(["view"], ["priceproposal", "ledgerentry", "auditentry", "provider", "gatewayprocess", "routingrule"])
    | _can(["view", "add"], ["logexport"], "observability")
    | _ALERTS
    | _RAISES
    | _RECONCILE
    | _TERMS
    | {"governance.decide_raise"},
    "Team lead": _READ_USAGE
    | _can(["add", "change"], ["virtualkey", "developer", "project"])
    | _can(["view"], ["alert"])
    | _KEYS
    | _RAISES,
    "Developer": set(),
    "Auditor": _can(["view"], [*_TENANTS, *_LIMITS, "virtualkey", "provider", "provideraccess", "membership"])
    | _can(["view"], ["routingrule", "routingsettings"])
    | _can(["view"], ["gatewayprocess"])
    | _can(["view"], [*_PRICING, "priceproposal", "ledgerentry", "auditentry", "raise"])
    | _can(["view"], ["alert", "alertchannel", "alertdelivery"])
    | _can(["view"], _REPORTS)
    | _can(["view"], [*_TRAFFIC, "logexport"], "observability")
    | _can(["view"], ["user", "group"], "auth"),
}
"""Permissions of each group. Developers have none here: their page is `/me/`, outside the admin."""


def install(using: str = DEFAULT_DB_ALIAS) -> None:
    """Make the groups and give each exactly its permissions; running it again changes nothing."""
    for label in _APPS:
        # Django makes permissions after each app in turn; some of these apps come after ours.
        create_permissions(apps.get_app_config(label), verbosity=0, using=using)
    known = {
        f"{permission.content_type.app_label}.{permission.codename}": permission
        for permission in Permission.objects.using(using)
        .filter(content_type__app_label__in=_APPS)
        .select_related("content_type")
    }
    for name, codenames in ROLES.items():
        group, _ = Group.objects.using(using).get_or_create(name=name)
        group.permissions.set([known[codename] for codename in sorted(codenames)])
