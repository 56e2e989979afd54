"""What a new installation needs before its first request: tables, prices, a login, a provider, a team and a key.

Every step looks first and does nothing where a person or an earlier start has already been: state is never undone.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone

from governance.catalog import seed_prices
from governance.domain.keys import Secret
from governance.domain.money import NANO, show_usd
from governance.models import Budget, Customer, Provider
from governance.services import audit, budgets, keys, providers, tenants
from observability.months import ensure_months
from observability.schedules import ensure_schedules

ACTOR_NAME = "manage.py up"

CUSTOMER, TEAM, KEY = "Main", "Everyone", "first-key"
SIMULATED = "simulated (no real model)"
DEMO_BUDGET = "Demo budget of simulated money"
DEMO_LIMIT_NANO_USD = 100 * NANO

_ADVISORY_LOCK = 0x636D705F626F6F74
"""Number of the PostgreSQL advisory lock that starting replicas take: "cmp_boot"."""


@dataclass(slots=True)
class Prepared:
    """What was made just now and is shown this once; empty at every later start."""

    login: str = ""
    password: str = field(default="", repr=False)
    key_secret: Secret | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def is_first_start(self) -> bool:
        return bool(self.login or self.key_secret)


def prepare() -> Prepared:
    """Bring tables and first rows to where requests can be answered."""
    data_dir = settings.DATA_DIR
    for folder in (data_dir, data_dir / "static", data_dir / "queue" / "messages", data_dir / "queue" / "control"):
        folder.mkdir(parents=True, exist_ok=True)
    prepared = Prepared()
    with _one_at_a_time():
        call_command("migrate", interactive=False, verbosity=0)
        ensure_months(now=timezone.now())
        with transaction.atomic():
            seed_prices()
            _first_login(prepared)
            _first_provider(prepared)
            _first_key(prepared)
            ensure_schedules()
    return prepared


def uses_simulator() -> bool:
    """Whether an active provider is the simulated one."""
    return Provider.objects.filter(kind=Provider.Kind.SIMULATED, is_active=True).exists()


def only_simulated() -> bool:
    """Whether no request can reach a real model."""
    return uses_simulator() and not Provider.objects.exclude(kind=Provider.Kind.SIMULATED).filter(is_active=True)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Let one of several replicas that start at once migrate and bootstrap; the others wait, then find it done.

    On SQLite a lock in the data folder does the same: roles that share it may start at once.
    """
    if connection.vendor != "postgresql":
        with (settings.DATA_DIR / "bootstrap.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [_ADVISORY_LOCK])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_ADVISORY_LOCK])


def _first_login(prepared: Prepared) -> None:
    users = get_user_model()._default_manager
    if users.exists():
        return
    configured: Mapping[str, str] = settings.COMPTROLLER
    given = configured["COMPTROLLER_ADMIN_PASSWORD"]
    password = given or secrets.token_urlsafe(15)
    login = configured["COMPTROLLER_ADMIN_USER"]
    user = get_user_model()(username=login, is_staff=True, is_superuser=True)
    user.set_password(password)
    user.save()
    audit.record(actor=None, actor_name=ACTOR_NAME, action="user.created", target=user)
    prepared.login = login
    prepared.password = "" if given else password


def _first_provider(prepared: Prepared) -> None:
    """Anthropic where its key is at hand, else the simulated provider until it is."""
    key = settings.COMPTROLLER["ANTHROPIC_API_KEY"]
    has_anthropic = Provider.objects.filter(kind=Provider.Kind.ANTHROPIC).exists()
    if key and not has_anthropic:
        provider = providers.create_provider(
            name="anthropic", kind=Provider.Kind.ANTHROPIC, actor=None, actor_name=ACTOR_NAME
        )
        # Stored too, encrypted: a later start without the variable goes on working.
        in_environment = "ANTHROPIC_API_KEY" in os.environ
        providers.create_credential(
            provider=provider,
            secret=key,
            secret_env="ANTHROPIC_API_KEY" if in_environment else "",
            actor=None,
            actor_name=ACTOR_NAME,
        )
        for simulated in Provider.objects.filter(kind=Provider.Kind.SIMULATED, is_active=True):
            providers.change(row=simulated, actor=None, actor_name=ACTOR_NAME, is_active=False)
            prepared.notes.append(
                f"ANTHROPIC_API_KEY is set: requests now go to Anthropic, and {simulated.name!r} is switched off."
            )
    elif not Provider.objects.exists():
        providers.create_provider(name=SIMULATED, kind=Provider.Kind.SIMULATED, actor=None, actor_name=ACTOR_NAME)


def _first_key(prepared: Prepared) -> None:
    if Customer.objects.exists():
        return
    customer = tenants.create_customer(name=CUSTOMER, actor=None, actor_name=ACTOR_NAME)
    team = tenants.create_team(customer=customer, name=TEAM, actor=None, actor_name=ACTOR_NAME)
    _, prepared.key_secret = keys.issue_key(team=team, name=KEY, actor=None, actor_name=ACTOR_NAME)
    if only_simulated():
        budgets.create_budget(
            target=customer,
            name=DEMO_BUDGET,
            limit_nano_usd=DEMO_LIMIT_NANO_USD,
            period=Budget.Period.MONTH,
            enforcement=Budget.Enforcement.STOP,
            alerts=[50, 80, 95, 100],
            actor=None,
            actor_name=ACTOR_NAME,
        )
        prepared.notes.append(f"A budget of {show_usd(DEMO_LIMIT_NANO_USD)} of simulated money a month is set.")
    else:
        prepared.notes.append("No budget is set yet: spend is unlimited until you add one in the admin.")
