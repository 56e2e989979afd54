"""Checks of what people type into the admin, the API and configuration files."""

from __future__ import annotations

import ipaddress
import re
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.core.exceptions import ValidationError
from django.core.validators import validate_email


def validate_timezone(value: str) -> None:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValidationError(f"{value!r} is not a time zone. Use a name such as Europe/Berlin or UTC.") from None


def validate_networks(value: Any) -> None:
    if not isinstance(value, list):
        raise ValidationError("Give a list of IP addresses or networks.")
    for network in value:
        try:
            ipaddress.ip_network(network)
        except (ValueError, TypeError):
            raise ValidationError(f"{network!r} is not an IP address or network such as 10.0.0.0/8.") from None


def validate_model_patterns(value: Any) -> None:
    if not isinstance(value, list):
        raise ValidationError("Give a list of model ids or patterns.")
    for pattern in value:
        if not isinstance(pattern, str) or not re.fullmatch(r"[\w.:@/*?\[\]-]{1,200}", pattern):
            raise ValidationError(f"{pattern!r} is not a model id or a pattern such as claude-opus-*.")
        if re.search(r"[\[\]]", re.sub(r"\[[^\[\]]+\]", "", pattern)):
            raise ValidationError(f"{pattern!r} has a bracket without its other half, so it would match no model.")


def validate_thresholds(value: Any) -> None:
    if not isinstance(value, list) or not all(
        isinstance(n, int) and not isinstance(n, bool) and 0 < n <= 1000 for n in value
    ):
        raise ValidationError("Give a list of whole percentages such as [50, 80, 95, 100].")


def validate_base_url(value: str) -> None:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValidationError("Give an address that starts with https:// (or http:// for a local server).")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValidationError("The address must not carry a user name, password, query or fragment.")


def validate_secret_env(value: str) -> None:
    """The variable is sent to the provider's address: one of the gateway's own secrets must not leave that way."""
    if value and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise ValidationError(f"{value!r} is not the name of an environment variable.")
    if value.startswith(("COMPTROLLER_", "DJANGO_")) or value in {"DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL"}:
        raise ValidationError(f"{value} is a setting of the gateway, not a provider's secret. Name another variable.")


def validate_emails(value: Any) -> None:
    if not isinstance(value, list):
        raise ValidationError("Give a list of e-mail addresses.")
    for address in value:
        try:
            validate_email(address if isinstance(address, str) else "")
        except ValidationError:
            raise ValidationError(f"{address!r} is not an e-mail address.") from None


def validate_downgrade(value: Any) -> None:
    if not isinstance(value, dict):
        raise ValidationError('Give pairs of models such as {"claude-opus-*": "claude-sonnet-5-5"}.')
    validate_model_patterns(list(value))
    for target in value.values():
        if not isinstance(target, str) or not re.fullmatch(r"[\w.:@/-]{1,200}", target):
            raise ValidationError(f"{target!r} is not a model id; a pattern cannot be sent to a provider.")


def validate_model_map(value: Any) -> None:
    """What a provider calls a model, by pattern; a provider's own ids may have any printable character but spaces."""
    if not isinstance(value, dict):
        raise ValidationError('Give pairs of models such as {"claude-opus-*": "my-deployment"}.')
    validate_model_patterns(list(value))
    for target in value.values():
        if not isinstance(target, str) or not re.fullmatch(r"[!-~]{1,200}", target):
            raise ValidationError(f"{target!r} is not a model id: 1 to 200 characters without spaces.")


def validate_region(value: str) -> None:
    """It becomes part of a host's name."""
    if value and not re.fullmatch(r"[a-z0-9][a-z0-9-]*", value):
        raise ValidationError(f"{value!r} is not a region. Use a name such as eu-central-1, europe-west1 or global.")


_RATES = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")


_FACTORS = ("fast", "us", "batch", "regional")


def validate_fixed_rates(value: Any) -> None:
    """Rates by class, in USD per million tokens: `{"input": "2.5"}`."""
    if not isinstance(value, dict):
        raise ValidationError('Give rates by class, for example {"input": "2.5", "output": "12"}.')
    for name, rate in value.items():
        if name not in _RATES:
            raise ValidationError(f"{name!r} is no token class. The classes are {', '.join(_RATES)}.")
        _positive(f"The rate of {name}", rate, most=10_000, unit="USD per million tokens")


def validate_tiers(value: Any) -> None:
    """Rates above a number of prompt tokens: `[{"above_prompt_tokens": 100000, "input": "0.5"}]`."""
    if not isinstance(value, list):
        raise ValidationError('Give a list of tiers, for example [{"above_prompt_tokens": 100000, "input": "0.5"}].')
    thresholds = []
    for number, tier in enumerate(value, 1):
        if not isinstance(tier, dict):
            raise ValidationError(f"Tier {number} is {tier!r}, not an object with above_prompt_tokens and rates.")
        above = tier.get("above_prompt_tokens")
        if isinstance(above, bool) or not isinstance(above, int) or above < 1:
            raise ValidationError(
                f"Tier {number} does not say above how many prompt tokens it begins: give above_prompt_tokens as a "
                "whole number above zero."
            )
        thresholds.append(above)
        if not set(tier) - {"above_prompt_tokens"}:
            raise ValidationError(f"Tier {number} has no rate of its own: give at least one of {', '.join(_RATES)}.")
        for name, rate in tier.items():
            if name == "above_prompt_tokens":
                continue
            if name not in _RATES:
                raise ValidationError(f"Tier {number}: {name!r} is no class. The classes are {', '.join(_RATES)}.")
            _positive(f"Tier {number}: the rate of {name}", rate, most=10_000, unit="USD per million tokens")
    if len(set(thresholds)) < len(thresholds):
        raise ValidationError("Two tiers begin at the same number of prompt tokens. Keep one of them.")


def validate_multipliers(value: Any) -> None:
    """Factors of every token class: `{"fast": "2"}`. A name that nothing looks up would be a factor without effect."""
    if not isinstance(value, dict):
        raise ValidationError('Give factors by name, for example {"fast": "2", "us": "1.1"}.')
    for name, factor in value.items():
        if name not in _FACTORS:
            raise ValidationError(f"{name!r} is no factor that is ever applied. The factors are {', '.join(_FACTORS)}.")
        _positive(f"The factor {name}", factor, most=100, unit="a number")


def _positive(what: str, value: Any, *, most: int, unit: str) -> None:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal(0)
    if isinstance(value, bool) or not number.is_finite() or not 0 < number <= most:
        raise ValidationError(f"{what} is {value!r}: give {unit} above 0 and at most {most}.")
    if number != number.quantize(Decimal("1e-9")):
        raise ValidationError(f"{what} has more than nine decimals: {value}.")


def validate_model_alias(value: str) -> None:
    if not re.fullmatch(r"[\w.:@/+=-]{1,200}", value):
        raise ValidationError(
            f"{value!r} is not a model id or an ARN. Give it exactly as it is served; patterns do not work here."
        )
