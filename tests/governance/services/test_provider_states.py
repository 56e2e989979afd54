"""What processes tell of their providers: replaced by each, read over all that run, gone with them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from governance.models import GatewayProcess, ProviderState
from governance.selectors_providers import provider_statuses
from governance.services import provider_states
from governance.services.provider_states import Told
from tests.governance.provider_world import ONE, SINCE, TWO, credential, dead, process, provider, tell

pytestmark = pytest.mark.django_db


def test_what_a_process_says_replaces_what_it_said() -> None:
    first, second = provider(), provider("bedrock")
    process()
    provider_states.publish(ONE, [Told(first.pk, "up", "", SINCE), Told(second.pk, "up", "", SINCE)])
    provider_states.publish(ONE, [Told(first.pk, "down", "it fails", SINCE), Told(12345, "up", "", SINCE)])
    assert list(ProviderState.objects.values_list("provider__name", "state", "why")) == [
        ("anthropic", "down", "it fails")
    ]
    provider_states.withdraw(ONE)
    assert not ProviderState.objects.exists()


def test_no_process_no_news() -> None:
    made = provider()
    status = provider_statuses([made])[made.pk]
    assert (status.state, status.rows, status.since) == ("unknown", (), None)


def test_a_silent_process_says_nothing_any_more() -> None:
    made = provider()
    tell(process(silent=timedelta(seconds=60)), made, "down")
    assert provider_statuses([made])[made.pk].state == "unknown"


def test_processes_that_disagree() -> None:
    made = provider()
    tell(process(ONE), made, "up", credential(answered_at=SINCE.isoformat()), requests=90, failures=1, latency_ms=800)
    tell(
        process(TWO), made, "down", dead(last_error="rejected the credential (401)", last_error_at=SINCE.isoformat()),
        why="main: rejected with 401", requests=10, failures=10, latency_ms=100, breaker_open=True,
        last_error="failed (500)", last_error_at=SINCE,
    )  # fmt: skip
    status = provider_statuses([made])[made.pk]
    assert (status.state, status.since) == ("degraded", SINCE)
    assert status.why == "in 1 of 2 gateway processes: main: rejected with 401"
    assert (status.requests, status.failures, status.latency_ms, status.ttft_ms) == (100, 11, 800, None)
    assert (status.last_error, status.last_error_at, status.breaker_since) == ("failed (500)", SINCE, SINCE)
    (one,) = status.credentials
    assert (one.state, one.processes, one.of, one.since, one.answered_at) == ("dead", 1, 2, SINCE, SINCE)
    assert (one.last_error, one.last_error_at) == ("rejected the credential (401)", SINCE)


def test_down_in_all_processes_is_down() -> None:
    made = provider()
    for pk in (ONE, TWO):
        tell(process(pk), made, "down", why="it fails")
    status = provider_statuses([made])[made.pk]
    assert (status.state, status.why) == ("down", "it fails")


def test_what_gone_processes_said_is_forgotten() -> None:
    made = provider()
    for pk in (ONE, TWO):
        tell(process(pk), made)
    ProviderState.objects.update(written_at=timezone.now() - timedelta(hours=1))
    GatewayProcess.objects.filter(pk=TWO).update(ended_at=timezone.now())
    assert provider_states.forget_gone() == 1
    assert list(ProviderState.objects.values_list("process", flat=True)) == [ONE]
