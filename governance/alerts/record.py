"""Write alerts and a delivery for each destination, each once whatever number of workers finds the same thing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Q

from governance.models import Alert, AlertChannel, AlertDelivery

ROLES = {
    "owner": "budget owner",
    "approver": "approver",
    "requester": "asked for it",
    "giver": "owner of the giving budget",
    "giving approver": "approver of the giving budget",
}


@dataclass(frozen=True, slots=True)
class Found:
    """Something worth telling: the alert to write, and the e-mail addresses it concerns by their role."""

    alert: Alert
    emails: tuple[tuple[str, str], ...] = ()
    """(address, role), the role one of ROLES."""


def record(found: Sequence[Found]) -> list[Alert]:
    """Write those that are new, and the deliveries of those that are told; gives the new ones.

    Of several thresholds of one budget only the highest new one is told. Race: two workers may find the same at once.
    The unique key lets one of them insert; the other waits for it, finds its own row missing and tells nothing. Rows
    go in ascending order of their keys, so that two workers never wait for each other in a circle.
    """
    if not found:
        return []
    ordered = sorted(found, key=lambda one: (one.alert.budget_id or 0, one.alert.threshold or 0, one.alert.key))
    with transaction.atomic():
        Alert.objects.bulk_create([one.alert for one in ordered], ignore_conflicts=True, batch_size=200)
        ids = set(Alert.objects.filter(pk__in=[one.alert.pk for one in ordered]).values_list("pk", flat=True))
        fresh = [one for one in ordered if one.alert.pk in ids]
        highest = {one.alert.budget_id: one.alert.pk for one in fresh if one.alert.kind == Alert.Kind.THRESHOLD}
        told = [
            one
            for one in fresh
            if one.alert.kind != Alert.Kind.THRESHOLD or highest[one.alert.budget_id] == one.alert.pk
        ]
        silent = ids - {one.alert.pk for one in told}
        if silent:
            Alert.objects.filter(pk__in=silent).update(told=False)
        _deliveries(told)
    return [one.alert for one in fresh]


def _deliveries(told: Sequence[Found]) -> None:
    customers = {one.alert.customer_id for one in told}
    channels = list(AlertChannel.objects.filter(Q(customer__in=customers) | Q(customer__isnull=True), is_active=True))
    rows: list[AlertDelivery] = []
    for one in told:
        made: dict[str, AlertDelivery] = {}
        for row in (*_to_people(one), *_to_channels(one.alert, channels)):
            # An address that is owner, approver and on a channel's list is written to once.
            made.setdefault(row.destination, row)
        rows += made.values()
    AlertDelivery.objects.bulk_create(rows, ignore_conflicts=True, batch_size=200)


def _to_people(one: Found) -> Iterable[AlertDelivery]:
    for address, role in one.emails:
        if address:
            yield _delivery(one.alert, one.alert.customer_id, None, address, f"{address} ({ROLES[role]})")


def _to_channels(alert: Alert, channels: Iterable[AlertChannel]) -> Iterable[AlertDelivery]:
    for channel in channels:
        if channel.customer_id not in (None, alert.customer_id) or not wants(channel, alert):
            continue
        if channel.kind == AlertChannel.Kind.EMAIL:
            for address in channel.emails:
                yield _delivery(alert, channel.customer_id, channel, address, f"{address} (channel {channel.name})")
        else:
            name = f"{channel.name} ({channel.host})"
            yield _delivery(alert, channel.customer_id, channel, f"channel:{channel.pk}", name)


def is_to_a_person(delivery: AlertDelivery) -> bool:
    """Whether it goes to somebody for their role, not to a channel: a channel that was deleted leaves no other trace.

    What `_to_channels` writes begins with "channel", so that a channel's name is never taken for a role.
    """
    return delivery.kind == AlertChannel.Kind.EMAIL and delivery.name.partition(" (")[2][:-1] in ROLES.values()


def wants(channel: AlertChannel, alert: Alert) -> bool:
    """Whether a channel asks for this kind of alert."""
    match alert.kind:
        case Alert.Kind.THRESHOLD:
            return channel.thresholds_from is not None and (alert.threshold or 0) >= channel.thresholds_from
        case Alert.Kind.UNPRICED:
            return bool(channel.on_unpriced)
        case Alert.Kind.ZERO_COST:
            return bool(channel.on_zero_cost)
        case Alert.Kind.PROVIDER:
            return bool(channel.on_providers)
        case Alert.Kind.ROUTING:
            return bool(channel.on_routing)
    return bool(channel.on_raises)


def _delivery(
    alert: Alert, customer_id: int | None, channel: AlertChannel | None, destination: str, name: str
) -> AlertDelivery:
    return AlertDelivery(
        alert=alert,
        customer_id=customer_id,
        channel=channel,
        kind=channel.kind if channel else AlertChannel.Kind.EMAIL,
        destination=destination.lower() if "@" in destination else destination,
        name=name[:400],
        next_try_at=alert.created_at,
        created_at=alert.created_at,
    )
