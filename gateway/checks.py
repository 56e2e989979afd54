"""Warnings about settings that are valid alone but unsafe together; `manage.py check` and `up` print them."""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register

from gateway import descriptors


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@register("comptroller")
def unsafe_together(**_: Any) -> list[CheckMessage]:
    public = urlsplit(settings.PUBLIC_URL)
    if is_loopback(public.hostname or ""):
        return []
    found: list[CheckMessage] = []
    if public.scheme == "http":
        found.append(
            Warning(
                f"COMPTROLLER_PUBLIC_URL is {settings.PUBLIC_URL}: passwords and keys travel in clear.",
                hint="Put a proxy with TLS in front and set COMPTROLLER_PUBLIC_URL to its https:// address.",
                id="comptroller.W001",
            )
        )
    if settings.DEBUG:
        found.append(
            Warning(
                "COMPTROLLER_DEBUG is on while the public address is not this machine.",
                hint="Debug pages show settings and source to everybody who meets an error. Switch it off.",
                id="comptroller.W002",
            )
        )
    return found


@register("comptroller")
def room_for_probes(**_: Any) -> list[CheckMessage]:
    configured = settings.COMPTROLLER
    requests = configured["COMPTROLLER_MAX_REQUESTS"] + configured["COMPTROLLER_QUEUE_REQUESTS"]
    most = configured["COMPTROLLER_MAX_CONNECTIONS"]
    if requests < most:
        return []
    return [
        Warning(
            f"COMPTROLLER_MAX_REQUESTS and COMPTROLLER_QUEUE_REQUESTS make {requests:,} requests, one a connection; "
            f"COMPTROLLER_MAX_CONNECTIONS is {most:,}: under load /healthz and /readyz are refused one, too.",
            hint="Set COMPTROLLER_MAX_CONNECTIONS above their sum, or lower them.",
            id="comptroller.W004",
        )
    ]


@register("comptroller")
def enough_descriptors(**_: Any) -> list[CheckMessage]:
    limit = descriptors.hard_limit()
    sentence = descriptors.shortage(settings.COMPTROLLER["COMPTROLLER_MAX_CONNECTIONS"], limit)
    if not sentence:
        return []
    return [
        Warning(
            sentence,
            hint="Raise the limit (ulimit -Hn, LimitNOFILE= of systemd, ulimits: of a container), or lower it.",
            id="comptroller.W003",
        )
    ]
