"""Alert channels: make, change, renew the signing secret, send a test; and try a failed message again."""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from governance.alerts.channels import NotDelivered
from governance.alerts.deliver import send_test
from governance.encryption import CannotDecrypt, EncryptedTextField
from governance.models import AlertChannel, AlertDelivery, Customer
from governance.services import audit
from governance.services.audit import Actor
from governance.services.records import save_with_audit

SECRET_PREFIX = "whsec_"  # noqa: S105  (what a secret starts with)


def create_channel(
    *, customer: Customer | None, name: str, kind: str, url: str = "", actor: Actor, actor_name: str = "", **values: Any
) -> tuple[AlertChannel, str]:
    """A new channel, and the signing secret of a signed webhook (else empty), which nobody can read later.

    `values` are emails, thresholds_from, the on_… switches and is_active. Raises ValidationError.
    """
    channel = AlertChannel(customer=customer, name=name, kind=kind, **values)
    secret = prepare(channel, url)
    save_with_audit(instance=channel, actor=actor, actor_name=actor_name)
    return channel, secret


def change_channel(
    *, channel: AlertChannel, url: str = "", actor: Actor, actor_name: str = "", **values: Any
) -> AlertChannel:
    """Set the given columns, and the address where one is given. Raises ValidationError."""
    for name, value in values.items():
        setattr(channel, name, value)
    fields = set(values)
    if url:
        put_url(channel, url)
        fields |= {"url", "host"}
    return save_with_audit(instance=channel, actor=actor, actor_name=actor_name, fields=fields)


def renew_secret(*, channel: AlertChannel, actor: Actor, actor_name: str = "") -> str:
    """A new signing secret; the old one signs nothing any more. Raises ValidationError."""
    if channel.kind != AlertChannel.Kind.WEBHOOK:
        raise ValidationError("Only a signed webhook has a signing secret.")
    secret = _new_secret(channel)
    save_with_audit(
        instance=channel,
        actor=actor,
        actor_name=actor_name,
        action="alert_channel.secret_renewed",
        fields=["signing_secret"],
    )
    return secret


def try_channel(*, channel: AlertChannel, actor: Actor, actor_name: str = "") -> tuple[bool, str]:
    """Send a test message now; whether it arrived, and a sentence that says so. Nothing is tried again."""
    try:
        arrived, said = True, send_test(channel, timezone.now())
    except NotDelivered as error:
        arrived, said = False, f"Not delivered: {error}."
    audit.record(actor=actor, actor_name=actor_name, action="alert_channel.tested", target=channel, note=said)
    return arrived, said


def try_again(*, delivery: AlertDelivery, actor: Actor, actor_name: str = "") -> bool:
    """Let a failed message wait for its next attempt, with all retries before it; False where it has not failed."""
    with transaction.atomic():
        put_back = AlertDelivery.objects.filter(pk=delivery.pk, status=AlertDelivery.Status.FAILED).update(
            status=AlertDelivery.Status.WAITING, attempts=0, next_try_at=timezone.now()
        )
        if put_back:
            audit.record(
                actor=actor,
                actor_name=actor_name,
                action="alert_delivery.tried_again",
                target=delivery,
                changes={"status": [AlertDelivery.Status.FAILED, AlertDelivery.Status.WAITING]},
            )
    return bool(put_back)


def prepare(channel: AlertChannel, url: str) -> str:
    """Put address and signing secret onto a new channel; gives the secret, empty where the kind has none."""
    if channel.kind == AlertChannel.Kind.EMAIL:
        if url:
            raise ValidationError({"url": "An e-mail channel has no address on the web: give e-mail addresses."})
        return ""
    put_url(channel, url)
    return _new_secret(channel) if channel.kind == AlertChannel.Kind.WEBHOOK else ""


def put_url(channel: AlertChannel, url: str) -> None:
    """Seal an address onto the channel; the caller saves. Raises ValidationError."""
    check_url(url)
    if channel.kind == AlertChannel.Kind.EMAIL:
        raise ValidationError({"url": "An e-mail channel has no address on the web: give e-mail addresses."})
    field = _field("url")
    try:
        same = bool(channel.url) and field.reveal(channel) == url
    except CannotDecrypt:
        same = False
    if not same:  # sealed again it would read as a change
        field.put(channel, url)
    channel.host = urlsplit(url).hostname or ""


def check_url(url: str) -> None:
    """Raise ValidationError where nothing may be posted to an address."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or not url.isascii() or any(character.isspace() for character in url) or len(url) > 2000:
        raise ValidationError(
            {"url": "Give the whole address, for example https://hooks.example.com/services/T0/B0/x."}
        )
    if parts.username or parts.password or parts.fragment:
        raise ValidationError({"url": "The address must not carry a user name, a password or a fragment."})
    if parts.scheme == "http" and not settings.COMPTROLLER["COMPTROLLER_ALLOW_PRIVATE_UPSTREAMS"]:
        raise ValidationError({"url": "Give an https:// address; http:// needs COMPTROLLER_ALLOW_PRIVATE_UPSTREAMS=1."})


def _new_secret(channel: AlertChannel) -> str:
    secret = SECRET_PREFIX + secrets.token_urlsafe(32)
    _field("signing_secret").put(channel, secret)
    return secret


def _field(name: str) -> EncryptedTextField:
    field = AlertChannel._meta.get_field(name)
    assert isinstance(field, EncryptedTextField)  # noqa: S101  (a fact of the model)
    return field
