"""The address in the audit trail is the client's, and nobody makes one up."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import HttpResponse
from django.test import RequestFactory

from governance.middleware import AuditAddress


@pytest.mark.parametrize(
    ("proxies", "peer", "forwarded", "address"),
    [
        ((), "203.0.113.7", "", "203.0.113.7"),
        ((), "203.0.113.7", "198.51.100.1", "203.0.113.7"),
        (("10.0.0.0/8",), "10.0.0.2", "198.51.100.1", "198.51.100.1"),
        (("10.0.0.0/8",), "10.0.0.2", "6.6.6.6, 198.51.100.1, 10.0.0.9", "198.51.100.1"),
        (("10.0.0.0/8",), "10.0.0.2", "nonsense", "10.0.0.2"),
        ((), "", "198.51.100.1", None),
    ],
)
def test_address(settings: Any, proxies: tuple[str, ...], peer: str, forwarded: str, address: str | None) -> None:
    settings.COMPTROLLER = {**settings.COMPTROLLER, "COMPTROLLER_TRUSTED_PROXIES": proxies}
    from governance.services import audit

    seen: list[str | None] = []

    def view(request: Any) -> HttpResponse:
        seen.append(audit._address.get())
        return HttpResponse()

    AuditAddress(view)(RequestFactory().get("/", REMOTE_ADDR=peer, HTTP_X_FORWARDED_FOR=forwarded))
    assert seen == [address]
    assert audit._address.get() is None
