"""Turn an environment variable's text into a value, or raise a ValueError that completes "<NAME> ..."."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from email.utils import formataddr, parseaddr
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


def text(value: str) -> str:
    return value


def token(value: str) -> str:
    """A secret that travels in a header."""
    if not re.fullmatch(r"[!-~]+", value):
        raise ValueError("must be one line of visible ASCII characters without spaces")
    return value


def boolean(value: str) -> bool:
    match value.strip().lower():
        case "1" | "true" | "yes" | "on":
            return True
        case "0" | "false" | "no" | "off" | "":
            return False
    raise ValueError(f"must be true or false, not {value!r}")


def integer(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            raise ValueError(f"must be a whole number, not {value!r}") from None
        if not low <= number <= high:
            raise ValueError(f"must lie between {low} and {high}, not {number}")
        return number

    return parse


def choice(*allowed: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in allowed:
            raise ValueError(f"must be {' or '.join(allowed)}, not {value!r}")
        return value

    return parse


def decimal(low: str, high: str) -> Callable[[str], Decimal]:
    def parse(value: str) -> Decimal:
        try:
            number = Decimal(value)
        except InvalidOperation:
            raise ValueError(f"must be a number such as 0.5, not {value!r}") from None
        if not number.is_finite() or not Decimal(low) <= number <= Decimal(high):
            raise ValueError(f"must lie between {low} and {high}, not {value}")
        return number

    return parse


def http_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        port_is_a_number = parts.port is None or parts.port > 0
    except ValueError:
        port_is_a_number = False
    if not port_is_a_number:
        raise ValueError(f"must be an http:// or https:// address with a valid port, not {value!r}")
    if parts.username or parts.password:
        raise ValueError("must not carry a user name or password")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"must be an http:// or https:// address, not {value!r}")
    if parts.query or parts.fragment:
        raise ValueError("must not carry a query or a fragment")
    return value.rstrip("/")


def database_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        port_is_a_number = parts.port is None or parts.port > 0
    except ValueError:
        port_is_a_number = False
    if not port_is_a_number:
        raise ValueError("has a host or port that cannot be read; write postgresql://user:password@host:5432/name")
    if parts.scheme not in {"postgres", "postgresql", "sqlite"}:
        raise ValueError("must start with postgresql:// or sqlite:///")
    if not parts.path.strip("/"):
        raise ValueError("names no database; write postgresql://user:password@host:5432/name")
    return value


def smtp_url(value: str) -> dict[str, Any]:
    """`smtp://user:password@host:port?tls=starttls|implicit|none` as Django's EMAIL_… settings.

    Without a port it is 587, 465 and 25 in that order; without `tls` it is starttls.
    """
    form = "must look like smtp://user:password@host:587?tls=starttls"
    try:
        parts = urlsplit(value)
        port, query = parts.port, parse_qs(parts.query, strict_parsing=bool(parts.query), keep_blank_values=True)
    except ValueError:
        raise ValueError(form) from None
    if parts.scheme != "smtp" or not parts.hostname or parts.path.strip("/") or set(query) - {"tls"}:
        raise ValueError(form)
    tls = query.get("tls", ["starttls"])[-1]
    if tls not in {"starttls", "implicit", "none"}:
        raise ValueError(f"must say tls=starttls, tls=implicit or tls=none, not {tls!r}")
    if parts.password and tls == "none" and parts.hostname not in {"127.0.0.1", "::1", "localhost"}:
        raise ValueError("would send the password unencrypted: use tls=starttls or tls=implicit")
    return {
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": port or {"starttls": 587, "implicit": 465, "none": 25}[tls],
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_TLS": tls == "starttls",
        "EMAIL_USE_SSL": tls == "implicit",
    }


def sender(value: str) -> str:
    """A sender's address, with or without a name: `Comptroller <alerts@example.com>`."""
    name, address = parseaddr(value)
    if not re.fullmatch(r"[^@\s<>,]+@[^@\s<>,]+", address) or "\n" in value or "\r" in value:
        raise ValueError(f"must be an e-mail address such as alerts@example.com, not {value!r}")
    return formataddr((name, address)) if name else address


def redis_url(value: str) -> str:
    if urlsplit(value).scheme not in {"redis", "rediss", "unix"}:
        raise ValueError("must start with redis://, rediss:// or unix://")
    return value


def broker_url(value: str) -> str:
    if urlsplit(value).scheme not in {"redis", "rediss", "amqp", "amqps", "filesystem"}:
        raise ValueError("must start with redis://, rediss://, amqp://, amqps:// or be filesystem://")
    return value


def comma_list(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def hosts(value: str) -> tuple[str, ...]:
    """Host names as Django's ALLOWED_HOSTS takes them: no scheme, no port, no path."""
    for host in comma_list(value):
        if not re.fullmatch(r"\*|\.?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\]", host):
            raise ValueError(f"must be a comma list of host names without scheme or port; {host!r} is none")
    return comma_list(value)


def networks(value: str) -> tuple[str, ...]:
    for network in comma_list(value):
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise ValueError(f"must be a comma list of addresses such as 10.0.0.0/8; {network!r} is none") from None
    return comma_list(value)


def long_secret(value: str) -> str:
    if len(value) < 32:
        raise ValueError("must be at least 32 characters long; `openssl rand -base64 48` makes one")
    return value


def encryption_keys(value: str) -> tuple[tuple[str, bytes], ...]:
    """`id:base64,id:base64`: 32-byte AES keys, the first encrypts, all decrypt."""
    keys: list[tuple[str, bytes]] = []
    for part in comma_list(value):
        key_id, separator, encoded = part.partition(":")
        if not separator or not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", key_id):
            raise ValueError("must be a comma list of id:base64 pairs")
        try:
            key = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            raise ValueError(f"has a key {key_id!r} that is not base64") from None
        if len(key) != 32:
            raise ValueError(f"has a key {key_id!r} of {len(key)} bytes; AES-256 needs 32")
        keys.append((key_id, key))
    if len({key_id for key_id, _ in keys}) != len(keys) or not keys:
        raise ValueError("must name at least one key, and each id once")
    return tuple(keys)


def log_level(value: str) -> str:
    if value.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise ValueError(f"must be DEBUG, INFO, WARNING or ERROR, not {value!r}")
    return value.upper()
