"""Metrics: the names of the contract, the figures of the batch, bounded labels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.values import MultiProcessValue

from governance import ledger
from governance.models import Budget, Customer, Developer, Price, Team
from observability import exposition, metrics
from observability.exposition import BUDGETS
from tests.observability.records import a_posting, a_record

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_cached() -> Iterator[None]:
    BUDGETS.forget()
    yield
    BUDGETS.forget()


@pytest.fixture
def catalog() -> None:
    Price.objects.create(
        model_id="claude-opus-5", effective_from="2026-01-01T00:00:00Z",
        input=5, output=25, cache_read="0.5", cache_write_5m="6.25", cache_write_1h=10,
    )  # fmt: skip


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_a_batch_is_counted(catalog: None) -> None:
    labels = {"provider": "anthropic", "model": "claude-opus-5", "team": "Metrics/Core"}
    observe = metrics.Observer()
    duration = value("comptroller_request_duration_seconds_sum")
    overhead = value("comptroller_overhead_seconds_count")
    failovers = {"from": "anthropic", "to": "spare", "reason": "529"}
    hops = [{"provider": "anthropic", "status": 529}, {"provider": "spare", "status": 200}]
    observe([a_record(customer="Metrics"), a_record(customer="Metrics", attempts=hops)])
    assert value("comptroller_requests_total", **labels, status="success") == 2
    assert value("comptroller_tokens_total", **labels, **{"class": "cache_read"}) == 100_000
    assert value("comptroller_tokens_total", **labels, **{"class": "output"}) == 690
    assert value("comptroller_cost_usd_total", **labels) == pytest.approx(0.246913578)
    assert value("comptroller_request_duration_seconds_sum") - duration == pytest.approx(2.469)
    assert value("comptroller_overhead_seconds_count") - overhead == 2
    assert value("comptroller_failovers_total", **failovers) == 1
    assert value("comptroller_cache_tokens_ratio") == pytest.approx(50_000 / 50_012)


def test_label_values_are_bounded(catalog: None) -> None:
    observe = metrics.Observer()
    refusals = value("comptroller_refusals_total", reason="billing_error")
    unpriced = value("comptroller_unpriced_requests_total")
    errors = value("comptroller_errors_total", provider="bounded", type="other")
    observe(
        [
            a_record(
                customer="B",
                provider="",
                model="",
                model_requested="x" * 200,
                status="refused",
                error_type="billing_error",
            ),
            a_record(customer="B", provider="bounded", model="claude-new-9", cost_quality="unpriced"),
            a_record(customer="B", provider="bounded", status="error", error_type="<script>"),
        ]
    )
    assert value("comptroller_requests_total", provider="", model="other", team="B/Core", status="refused") == 1
    assert value("comptroller_requests_total", provider="bounded", model="other", team="B/Core", status="success") == 1
    assert value("comptroller_refusals_total", reason="billing_error") == refusals + 1
    assert value("comptroller_unpriced_requests_total") == unpriced + 1
    assert value("comptroller_errors_total", provider="bounded", type="other") == errors + 1


@pytest.mark.parametrize("model", ["claude-opus-5", "claude-opus-5[1m]", "claude-opus-5@20260101"])
def test_spellings_of_a_model_share_one_label(catalog: None, model: str) -> None:
    labels = {"provider": "anthropic", "model": "claude-opus-5", "team": f"{model}/Core", "status": "success"}
    metrics.Observer()([a_record(customer=model, model=model)])
    assert value("comptroller_requests_total", **labels) == 1


def test_the_cache_ratio_forgets_after_a_quarter_of_an_hour() -> None:
    observe = metrics.Observer()
    observe._note_cache(0, 90, 100)
    observe._note_cache(0, 0, 100)
    assert value("comptroller_cache_tokens_ratio") == 0.45
    observe._note_cache(14, 0, 0)
    assert value("comptroller_cache_tokens_ratio") == 0.45
    observe._note_cache(15, 1, 2)
    assert value("comptroller_cache_tokens_ratio") == 0.5
    observe._note_cache(40, 0, 0)
    assert value("comptroller_cache_tokens_ratio") == 0


def test_streams_and_providers() -> None:
    before = value("comptroller_active_streams")
    metrics.stream_started()
    assert value("comptroller_active_streams") == before + 1
    metrics.stream_ended()
    assert value("comptroller_active_streams") == before
    metrics.set_providers({"a": True, "b": False})
    assert (value("comptroller_provider_up", provider="a"), value("comptroller_provider_up", provider="b")) == (1, 0)
    metrics.set_providers({"b": True})
    assert REGISTRY.get_sample_value("comptroller_provider_up", {"provider": "a"}) is None
    metrics.set_providers({})
    metrics.set_provider_pools({"a": (True, 0), "b": (False, 2)})
    assert (
        value("comptroller_provider_breaker_open", provider="a"),
        value("comptroller_credentials_usable", provider="b"),
    ) == (1, 2)
    metrics.set_provider_pools({})


def test_a_provider_that_went_is_no_number_where_processes_share_their_files(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics.set_providers({"gone": False, "here": True})
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "somewhere")
    metrics.set_providers({"here": True})
    assert math.isnan(value("comptroller_provider_up", provider="gone"))
    assert value("comptroller_provider_up", provider="here") == 1
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR")
    metrics.set_providers({})


def test_no_scrape_shows_a_provider_that_went(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    counted = MultiProcessValue(lambda: 1)  # type: ignore[no-untyped-call]
    name = "comptroller_provider_up"
    for provider, number in {"gone": math.nan, "here": 1.0}.items():
        counted("gauge", name, name, ("provider",), (provider,), "Up.", multiprocess_mode="livemin").set(number)
    text = exposition.render().decode()
    assert 'comptroller_provider_up{provider="here"} 1.0' in text
    assert "gone" not in text


def test_budgets_are_read_at_the_scrape() -> None:
    customer = Customer.objects.create(name="Acme")
    team = Team.objects.create(customer=customer, name="Core")
    ada = Developer.objects.create(customer=customer, email="ada@acme.test")
    limit = 1_500_000_000
    budget = Budget.objects.create(scope="team", customer=customer, team=team, limit_nano_usd=limit, period="lifetime")
    Budget.objects.create(scope="team", customer=customer, team=team, limit_nano_usd=2 * limit, period="lifetime")
    Budget.objects.create(scope="developer", customer=customer, developer=ada, limit_nano_usd=5)
    ledger.post([a_posting(a_record(customer_id=customer.pk, team_id=team.pk))])
    first, second = "Acme / Core lifetime", f"Acme / Core lifetime #{budget.pk + 1}"
    text = exposition.render().decode()
    samples = {
        (sample.name, sample.labels["budget"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("comptroller_budget")
    }
    assert samples == {
        ("comptroller_budget_limit_usd", first): 1.5,
        ("comptroller_budget_limit_usd", second): 3,
        ("comptroller_budget_spent_usd", first): pytest.approx(0.123456789),
        ("comptroller_budget_spent_usd", second): pytest.approx(0.123456789),
        ("comptroller_budget_held_usd", first): 0,
        ("comptroller_budget_held_usd", second): 0,
    }


def test_the_page(client: Client) -> None:
    response = client.get("/metrics")
    assert (response.status_code, response["content-type"].partition(";")[0]) == (200, "text/plain")
    names = {family.name for family in text_string_to_metric_families(response.content.decode())}
    assert {
        "comptroller_requests", "comptroller_tokens", "comptroller_cost_usd", "comptroller_request_duration_seconds",
        "comptroller_time_to_first_token_seconds", "comptroller_overhead_seconds", "comptroller_errors",
        "comptroller_refusals", "comptroller_cache_tokens_ratio", "comptroller_budget_limit_usd",
        "comptroller_budget_spent_usd", "comptroller_budget_held_usd", "comptroller_failovers",
        "comptroller_provider_up", "comptroller_spool_records", "comptroller_log_flush_seconds",
        "comptroller_unpriced_requests", "comptroller_active_streams",
        "django_http_requests_total_by_method",
    } <= names | {name.removesuffix("_total") for name in names}  # fmt: skip


def test_the_token(client: Client, settings: Any) -> None:
    settings.COMPTROLLER = {**settings.COMPTROLLER, "COMPTROLLER_METRICS_TOKEN": "pass-wörd"}
    for given in (None, "Bearer wrong", "Basic pass", "pass", "Bearer "):
        response = client.get("/metrics", headers={"authorization": given} if given else {})
        assert (response.status_code, response["www-authenticate"]) == (401, "Bearer")
        assert b"comptroller_" not in response.content
    token = "Bearer pass-wörd".encode().decode("latin-1")
    assert client.get("/metrics", headers={"authorization": token}).status_code in {200, 401}
