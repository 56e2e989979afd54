"""Tells the audit trail which address a request came from."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from governance.domain.access import parse_networks
from governance.services import audit


class AuditAddress:
    """Whatever is recorded during a request names its address."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.proxies = parse_networks(settings.COMPTROLLER["COMPTROLLER_TRUSTED_PROXIES"])

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with audit.coming_from(self._address(request)):
            return self.get_response(request)

    def _address(self, request: HttpRequest) -> str | None:
        """The nearest address that is no proxy of ours; X-Forwarded-For is believed only from those."""
        hops = [*request.headers.get("x-forwarded-for", "").split(","), request.META.get("REMOTE_ADDR", "")]
        address = None
        for hop in reversed(hops):
            try:
                found = ipaddress.ip_address(hop.strip())
            except ValueError:
                break
            address = str(found)
            if not any(found in proxy for proxy in self.proxies):
                break
        return address
