"""Send what waits: claim a delivery, send it, note how it went. Any number of workers may do so at once.

A claim is a compare-and-set on the number of attempts that also puts the next try some minutes off: two workers never
send the same message at the same moment, and what a dying worker had claimed is sent by the next. A message may thus
arrive twice where a worker dies between sending and noting it; `x-comptroller-delivery` is the same then.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from governance.alerts.channels import NotDelivered, email, slack, webhook
from governance.alerts.messages import Message, compose, trial_message
from governance.alerts.record import is_to_a_person
from governance.domain.alerts import wait_after
from governance.domain.ids import new_ulid
from governance.encryption import CannotDecrypt
from governance.models import AlertChannel, AlertDelivery

logger = logging.getLogger(__name__)

CLAIM = timedelta(minutes=5)
"""Longer than any attempt takes: 20 s for a mail server's answer, 30 s for a webhook."""
RUN_SECONDS = 45.0
"""A run ends after this and leaves the rest to the next, a minute later."""
BATCH = 500
_MAIL = "email"
"""The one mail server, which stands in the way of every e-mail."""

Clock = Callable[[], datetime]


@dataclass(slots=True)
class Tally:
    """What a run did."""

    sent: int = 0
    failed: int = 0
    to_retry: int = 0


def deliver(clock: Clock = timezone.now) -> Tally:
    """Send the deliveries that are due, the longest waiting first."""
    tally = Tally()
    stops_at = time.monotonic() + RUN_SECONDS
    out_of_reach: set[str] = set()
    now = clock()  # what becomes due meanwhile is the next run's, so that this one ends
    while batch := _due(now, out_of_reach):
        for delivery in batch:
            if time.monotonic() > stops_at:
                return tally
            if _way(delivery) in out_of_reach:
                # One receiver that is down must not hold up the messages to all others with its time-outs.
                continue
            if claim(delivery, clock()):
                status = attempt(delivery, clock)
                if status == AlertDelivery.Status.SENT:
                    tally.sent += 1
                elif status == AlertDelivery.Status.FAILED:
                    tally.failed += 1
                else:
                    tally.to_retry += 1
                    if delivery.response_status is None or delivery.kind != AlertChannel.Kind.EMAIL:
                        out_of_reach.add(_way(delivery))
    return tally


def _due(now: datetime, out_of_reach: set[str]) -> list[AlertDelivery]:
    """The next deliveries: the longest waiting of each destination, then the second of each, and so on.

    By age alone, a receiver with thousands of waiting messages would keep those of all others out of the batch.
    """
    due = AlertDelivery.objects.filter(status=AlertDelivery.Status.WAITING, next_try_at__lte=now)
    if _MAIL in out_of_reach:
        due = due.exclude(kind=AlertChannel.Kind.EMAIL)
    turn = Window(RowNumber(), partition_by="destination", order_by=["next_try_at", "pk"])
    ordered = due.exclude(destination__in=out_of_reach).annotate(turn=turn).order_by("turn", "next_try_at", "pk")
    return list(ordered.select_related("alert", "channel")[:BATCH])


def claim(delivery: AlertDelivery, now: datetime) -> bool:
    """Take a due delivery for one attempt. Race: of several workers that read it, one changes `attempts`."""
    claimed = AlertDelivery.objects.filter(
        pk=delivery.pk,
        status=AlertDelivery.Status.WAITING,
        attempts=delivery.attempts,
        next_try_at=delivery.next_try_at,
    ).update(attempts=delivery.attempts + 1, next_try_at=now + CLAIM, tried_at=now)
    delivery.attempts += claimed
    return claimed == 1


def attempt(delivery: AlertDelivery, clock: Clock) -> str:
    """Send a claimed delivery and note the outcome; gives its new status."""
    Status = AlertDelivery.Status
    changed: dict[str, Any]
    try:
        answered = _send(delivery, compose(delivery.alert))
    except NotDelivered as error:
        wait = None if error.permanent else wait_after(delivery.attempts)
        tried = "" if error.permanent else f" (tried {delivery.attempts} times)"
        changed = {
            "last_error": f"Not delivered: {error}{'' if wait else tried}."[:500].replace("..", "."),
            "response_status": error.status,
            "status": Status.WAITING if wait else Status.FAILED,
            "next_try_at": clock() + wait if wait else None,
        }
        logger.warning("Alert %s to %s: %s", delivery.alert_id, delivery.name, changed["last_error"])
    else:
        changed = {"status": Status.SENT, "sent_at": clock(), "response_status": answered, "last_error": ""}
        changed["next_try_at"] = None
    # Only while the claim is ours: a worker that slept over it must not undo what another noted since.
    AlertDelivery.objects.filter(pk=delivery.pk, status=Status.WAITING, attempts=delivery.attempts).update(**changed)
    delivery.response_status = changed["response_status"]
    return str(changed["status"])


def send_test(channel: AlertChannel, now: datetime) -> str:
    """Send a test message at once; gives a sentence about what happened. Raises NotDelivered."""
    delivery = f"test-{new_ulid()}"
    message = trial_message(channel, delivery, now)
    if channel.kind == AlertChannel.Kind.EMAIL:
        for address in channel.emails:
            email.send(address, message)
        return f"The mail server took a message to {', '.join(channel.emails)}."
    answered = _post(channel, message, delivery)
    return f"{channel.host} answered {answered}."


def _send(delivery: AlertDelivery, message: Message) -> int:
    channel = delivery.channel
    if channel is None and not is_to_a_person(delivery):
        raise NotDelivered("its channel was deleted", permanent=True)
    if channel is not None and not channel.is_active:
        raise NotDelivered("its channel is switched off; switch it on, then choose “Try again”", permanent=True)
    if channel is None or delivery.kind == AlertChannel.Kind.EMAIL:
        return email.send(delivery.destination, message)
    return _post(channel, message, str(delivery.pk))


def _post(channel: AlertChannel, message: Message, delivery: str) -> int:
    fields = AlertChannel._meta
    try:
        url: str = fields.get_field("url").reveal(channel)
        secret: str = fields.get_field("signing_secret").reveal(channel)
    except CannotDecrypt as error:
        raise NotDelivered(str(error).rstrip("."), permanent=True) from None
    if channel.kind == AlertChannel.Kind.SLACK:
        return slack.send(url, message)
    return webhook.send(url, message, secret=secret, delivery=delivery)


def _way(delivery: AlertDelivery) -> str:
    """What stands in the way of a delivery where it is out of reach: its channel, or the one mail server."""
    return _MAIL if delivery.kind == AlertChannel.Kind.EMAIL else delivery.destination
