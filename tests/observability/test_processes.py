"""What /metrics says of gateway processes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from prometheus_client import REGISTRY
from ulid import ULID

from governance.models import AllowanceWindow, Budget, Customer, GatewayProcess, Lease
from observability.processes import PROCESSES

pytestmark = pytest.mark.django_db


def test_alive_and_stranded_are_read_at_the_scrape() -> None:
    now = timezone.now()
    silent_for = {"alive": 1, "also": 14, "silent": 16, "dead": 121}
    rows = {
        name: GatewayProcess.objects.create(
            id=str(ULID()), host=name, pid=1, started_at=now, seen_at=now - timedelta(seconds=seconds)
        )
        for name, seconds in silent_for.items()
    }
    GatewayProcess.objects.create(id=str(ULID()), host="ended", pid=1, started_at=now, seen_at=now, ended_at=now)
    customer = Customer.objects.create(name="Acme")
    budget = Budget.objects.create(scope="customer", customer=customer, limit_nano_usd=10**10)
    window = AllowanceWindow.objects.create(
        allowance=f"budget:{budget.pk}", budget=budget, definition="x", starts_at=now, limit=10**10, held=3 * 10**9
    )
    Lease.objects.create(window=window, owner=rows["alive"].pk, amount=10**9)
    Lease.objects.create(window=window, owner=rows["dead"].pk, amount=2 * 10**9)
    PROCESSES.forget()
    try:
        assert REGISTRY.get_sample_value("comptroller_gateway_processes") == 2
        assert REGISTRY.get_sample_value("comptroller_stranded_usd") == 2
    finally:
        PROCESSES.forget()
