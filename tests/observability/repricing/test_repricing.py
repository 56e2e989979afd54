"""Re-pricing of a period: preview, four eyes, adjustments once, all of it footing to the ledger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone
from msgspec.structs import asdict, replace

from governance import ledger
from governance.domain.ids import new_ulid
from governance.domain.usage import Usage
from governance.models import (
    AuditEntry,
    Budget,
    Customer,
    LedgerEntry,
    ModelAlias,
    Price,
    PriceOverride,
    Repricing,
    Team,
)
from governance.selectors_prices import unpriced_models
from governance.services.price_rules import create_override, map_model
from governance.services.prices import create_price
from observability import rollups, rows
from observability.models import HourlyUsage, Request
from observability.records import RequestRecord
from observability.repricing import closed, posting, preview
from observability.repricing.services import approve_repricing, reject_repricing, request_repricing
from observability.selectors.proof import prove
from observability.selectors.usage import Usage as Sums
from observability.tasks import run_repricings
from tests.observability.records import a_posting, a_record

pytestmark = pytest.mark.django_db(transaction=True)

START = datetime(2026, 11, 1, tzinfo=UTC)
END = START + timedelta(days=15)
RATES: dict[str, Any] = {
    "input": 4, "output": 20, "cache_read": "0.2", "cache_write_5m": 5, "cache_write_1h": 8, "web_search": "0.01",
}  # fmt: skip
USED: dict[str, Any] = {"input_tokens": 1_000_000, "output_tokens": 0, "cache_read_tokens": 0}


@pytest.fixture
def ann() -> User:
    return User.objects.create_superuser("ann")


@pytest.fixture
def ben() -> User:
    return User.objects.create_superuser("ben")


@pytest.fixture
def acme() -> Customer:
    return Customer.objects.create(name="Acme")


@pytest.fixture
def team(acme: Customer) -> Team:
    return Team.objects.create(customer=acme, name="Core")


@pytest.fixture
def price() -> Price:
    return Price.objects.create(model_id="claude-opus-5", effective_from=datetime(2026, 1, 1, tzinfo=UTC), **RATES)


def log(team: Team, day: float = 1, **values: Any) -> RequestRecord:
    """A request in the log and in the ledger, as the recorder writes them."""
    defaults = {
        **USED, "customer_id": team.customer_id, "team_id": team.pk, "model": "claude-opus-5", "price_id": None,
        "started_at": START + timedelta(days=day), "finished_at": START + timedelta(days=day),
        "cost_nano_usd": 4 * 10**9,
        "attempts": [{"provider": "anthropic", "status": 200, "tokens": 1_000_000, "cost_nano_usd": 4 * 10**9}],
    }  # fmt: skip
    record = a_record(**{**defaults, **values})
    with transaction.atomic():
        rows.insert([record])
        ledger.post([a_posting(record)])
        rollups.mark([record.started_at])
    return record


def run(ann: User, **values: Any) -> Repricing:
    asked = {"customer": None, "starts_at": START, "ends_at": END, "reason": "new contract", **values}
    made = request_repricing(actor=ann, **asked)
    run_repricings()
    made.refresh_from_db()
    return made


def post(made: Repricing, ben: User) -> Repricing:
    approve_repricing(repricing=made, actor=ben)
    run_repricings()
    made.refresh_from_db()
    return made


def discount(acme: Customer, percent: str = "-10", **values: Any) -> PriceOverride:
    return create_override(
        customer=acme, percent=Decimal(percent), effective_from=START, backdated=True, actor=None, **values
    )


def feet(ben: User) -> int:
    """The one total that log, roll-ups and ledger must agree on."""
    rollups.roll_up()
    total = LedgerEntry.objects.aggregate(total=Sum("amount_nano_usd"))["total"]
    assert Request.objects.aggregate(total=Sum("cost_nano_usd"))["total"] == total
    assert HourlyUsage.objects.aggregate(total=Sum("cost_nano_usd"))["total"] == total
    assert Sums.between(ben, START - timedelta(days=40), END + timedelta(days=1), UTC).totals().cost_nano_usd == total
    return int(total)


def test_a_backdated_discount_becomes_adjustments_in_the_period(
    ann: User, ben: User, acme: Customer, team: Team, price: Price
) -> None:
    budget = Budget.objects.create(scope="customer", customer=acme, limit_nano_usd=10**12, period="month")
    first, second = log(team, 1, price_id=price.pk), log(team, 14.999, price_id=price.pk)
    log(team, 15, price_id=price.pk)
    log(team, -1, price_id=price.pk)
    override = discount(acme)
    made = run(ann)
    assert (made.status, made.requests, made.changed, made.difference_nano_usd) == ("ready", 2, 2, -8 * 10**8)
    assert LedgerEntry.objects.count() == 4
    made = post(made, ben)
    assert (made.status, made.posted, made.posted_nano_usd) == ("posted", 2, -8 * 10**8)
    adjustments = LedgerEntry.objects.filter(kind="adjustment").order_by("occurred_at")
    assert [(a.request_id, a.occurred_at, a.amount_nano_usd, a.tokens, a.price_id) for a in adjustments] == [
        (record.id, record.started_at, -4 * 10**8, 0, price.pk) for record in (first, second)
    ]
    assert ledger.figures(END - timedelta(seconds=1), [budget])[budget.pk].settled == (4 + 4 + 4) * 10**9 - 8 * 10**8
    assert feet(ben) == 16 * 10**9 - 8 * 10**8
    row = Request.objects.get(pk=first.id)
    assert (row.cost_nano_usd, row.cost_quality) == (3_600_000_000, "reconciled")
    proof = prove(row)
    assert (proof.ties, proof.computed, proof.lines[0].override_id) == (True, 3_600_000_000, override.pk)
    assert "Re-priced" in proof.note
    assert list(AuditEntry.objects.filter(target_type__contains="epricing").values_list("action", flat=True))[::-1] == [
        "repricing.requested", "repricing.approved", "repricing.posted",
    ]  # fmt: skip


def test_a_second_run_finds_nothing(ann: User, ben: User, acme: Customer, team: Team, price: Price) -> None:
    log(team, price_id=price.pk)
    discount(acme)
    post(run(ann), ben)
    again = run(ann)
    assert (again.status, again.requests, again.changed) == ("ready", 1, 0)
    with pytest.raises(ValidationError, match="nothing to post"):
        approve_repricing(repricing=again, actor=ben)
    assert LedgerEntry.objects.filter(kind="adjustment").count() == 1


def test_taking_the_terms_back_takes_the_adjustment_back(
    ann: User, ben: User, acme: Customer, team: Team, price: Price
) -> None:
    log(team, price_id=price.pk)
    discount(acme)
    post(run(ann), ben)
    create_override(
        customer=acme, percent=Decimal(0), model_patterns=["claude-opus-5"], effective_from=START, backdated=True,
        actor=None,
    )  # fmt: skip
    made = post(run(ann), ben)
    assert made.posted_nano_usd == 4 * 10**8
    assert feet(ben) == 4 * 10**9


def test_four_eyes(ann: User, ben: User, acme: Customer, team: Team, price: Price) -> None:
    log(team, price_id=price.pk)
    discount(acme)
    made = run(ann)
    with pytest.raises(ValidationError, match="cannot approve it"):
        approve_repricing(repricing=made, actor=ann)
    reject_repricing(repricing=made, actor=ann, note="wrong period")
    with pytest.raises(ValidationError, match="not waiting"):
        approve_repricing(repricing=made, actor=ben)
    with pytest.raises(ValidationError, match="by a person"):
        request_repricing(customer=None, starts_at=START, ends_at=END, reason="x", actor=None)
    run_repricings()
    assert not LedgerEntry.objects.filter(kind="adjustment").exists()


def test_a_preview_of_other_prices_is_not_approved(
    ann: User, ben: User, acme: Customer, team: Team, price: Price
) -> None:
    log(team, price_id=price.pk)
    discount(acme)
    made = run(ann)
    discount(acme, "-20", model_patterns=["claude-opus-*"])
    with pytest.raises(ValidationError, match="Prices have changed"):
        approve_repricing(repricing=made, actor=ben)


def test_the_period_must_have_ended_and_be_one(ann: User) -> None:
    with pytest.raises(ValidationError, match="must have ended"):
        request_repricing(
            customer=None, starts_at=START, ends_at=timezone.now() + timedelta(hours=1), reason="x", actor=ann
        )
    with pytest.raises(ValidationError, match="after the start"):
        request_repricing(customer=None, starts_at=END, ends_at=START, reason="x", actor=ann)


def test_models_that_were_unpriced_are_settled_once_they_have_a_price(
    ann: User, ben: User, acme: Customer, team: Team, price: Price
) -> None:
    log(team, 2, model="claude-new", cost_quality="unpriced", cost_nano_usd=15 * 10**9)
    log(team, 3, model="claude-newer", cost_quality="unpriced", cost_nano_usd=15 * 10**9)
    create_price(platform="anthropic", model_id="claude-new", effective_from=START, actor=None, **RATES)
    made = run(ann)
    assert (made.changed, made.left_out) == (1, {"the model still has no price": 1})
    post(made, ben)
    assert [gap.model for gap in unpriced_models(START)] == ["claude-newer"]
    row = Request.objects.get(model="claude-new")
    assert (row.cost_nano_usd, row.cost_quality) == (4 * 10**9, "reconciled")
    assert prove(row).ties
    feet(ben)


def test_an_arn_is_settled_once_it_is_mapped(ann: User, ben: User, acme: Customer, team: Team) -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
    Price.objects.create(
        platform="bedrock", model_id="anthropic.claude-opus-5-5", effective_from=START - timedelta(days=9), **RATES
    )
    attempt = {"platform": "bedrock", "tokens": 1_000_000, "cost_nano_usd": 15 * 10**9}
    log(team, model=arn, cost_quality="unpriced", cost_nano_usd=15 * 10**9, attempts=[attempt])
    map_model(
        alias=ModelAlias(platform="bedrock", alias=arn, model_id="anthropic.claude-opus-5-5", region="us"), actor=None
    )
    post(run(ann), ben)
    row = Request.objects.get()
    assert row.cost_nano_usd == 4_400_000_000  # the regional rate
    assert prove(row).ties


def test_an_arn_that_only_the_attempt_names_is_settled_too(ann: User, ben: User, acme: Customer, team: Team) -> None:
    """The log has the model that answered, the attempt what it was called by."""
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
    Price.objects.create(
        platform="bedrock", model_id="anthropic.claude-opus-5-5", effective_from=START - timedelta(days=9), **RATES
    )
    attempt = {"platform": "bedrock", "tokens": 1_000_000, "cost_nano_usd": 15 * 10**9, "priced_as": arn}
    log(team, model="claude-opus-5-5", cost_quality="unpriced", cost_nano_usd=15 * 10**9, attempts=[attempt])
    map_model(
        alias=ModelAlias(platform="bedrock", alias=arn, model_id="anthropic.claude-opus-5-5", region="us"), actor=None
    )
    post(run(ann), ben)
    row = Request.objects.get()
    assert row.cost_nano_usd == 4_400_000_000  # the regional rate
    assert prove(row).ties


def test_estimated_counts_stay_estimated(ann: User, ben: User, acme: Customer, team: Team, price: Price) -> None:
    log(team, 1, cost_quality="estimated", price_id=price.pk)
    log(team, 2, cost_quality="unpriced", status="cancelled", cost_nano_usd=7, price_id=None)
    discount(acme)
    post(run(ann), ben)
    assert set(Request.objects.values_list("cost_quality", flat=True)) == {"estimated"}


def test_an_unpriced_request_of_the_same_cost_is_settled_with_an_adjustment_of_zero(
    ann: User, ben: User, acme: Customer, team: Team, price: Price
) -> None:
    log(team, cost_quality="unpriced")
    made = post(run(ann), ben)
    assert (made.posted, made.posted_nano_usd) == (1, 0)
    assert unpriced_models(START) == []
    assert run(ann).changed == 0


def test_each_attempt_is_priced_by_itself_where_the_log_holds_its_tokens(
    ann: User, ben: User, acme: Customer, team: Team, price: Price
) -> None:
    """Two attempts of 60,000 tokens: neither passes the tier that their sum does."""
    price.tiers = [{"above_prompt_tokens": 100_000, "input": "40"}]
    price.save()
    usage = asdict(Usage(input_tokens=60_000))
    attempts = [
        {"platform": "anthropic", "model": "claude-opus-5", "tokens": 60_000, "cost_nano_usd": 1, "usage": usage}
    ] * 2
    log(team, 1, input_tokens=120_000, attempts=attempts, cost_nano_usd=2, price_id=price.pk)
    bare = [{"tokens": 60_000, "cost_nano_usd": 1}] * 2
    log(team, 2, input_tokens=120_000, attempts=bare, cost_nano_usd=2, price_id=price.pk)
    made = post(run(ann), ben)
    assert (made.changed, list(made.left_out.values())) == (1, [1])
    assert "attempts" in next(iter(made.left_out))
    assert Request.objects.order_by("started_at").first().cost_nano_usd == 480_000_000  # type: ignore[union-attr]


def test_refusals_without_content_stay_free(ann: User, team: Team, price: Price) -> None:
    log(team, stop_reason="refusal", cost_nano_usd=0, attempts=[{"tokens": 9, "cost_nano_usd": 0}], price_id=price.pk)
    assert run(ann).changed == 0


def test_speed_geography_and_steps_count(ann: User, ben: User, acme: Customer, team: Team, price: Price) -> None:
    price.multipliers = {"fast": "2", "us": "1.1"}
    price.save()
    step = {"kind": "advisor_message", "model": "claude-opus-5", "input_tokens": 1_000}
    log(team, speed="fast", inference_geo="us", iterations=[step], price_id=price.pk)
    made = run(ann)
    # 1,001,000 × 4 USD/M × 2 × 1.1
    assert made.new_nano_usd == 8_808_800_000
    post(made, ben)
    assert prove(Request.objects.get()).ties


def test_only_what_was_asked_for_is_repriced(ann: User, acme: Customer, team: Team, price: Price) -> None:
    globex = Customer.objects.create(name="Globex")
    other = Team.objects.create(customer=globex, name="Ops")
    log(team, 1, price_id=price.pk, cost_nano_usd=1)
    log(team, 2, model="claude-haiku-5", cost_quality="unpriced", cost_nano_usd=1)
    log(other, 3, price_id=price.pk, cost_nano_usd=1)
    assert run(ann, customer=acme).requests == 2
    assert run(ann, customer=acme, models=["claude-opus-*"]).requests == 1
    assert run(ann).requests == 3


def test_a_closed_month_does_not_move(
    monkeypatch: pytest.MonkeyPatch, ann: User, ben: User, acme: Customer, team: Team, price: Price
) -> None:
    log(team, 1, price_id=price.pk, cost_nano_usd=1)
    log(team, 9, price_id=price.pk, cost_nano_usd=1)
    shut = {1}
    monkeypatch.setattr(closed, "is_locked", lambda customer, moment: moment.day - 1 in shut)
    monkeypatch.setattr(closed, "_stretch", lambda moment: moment)
    made = run(ann)
    assert (made.changed, made.left_out) == (1, {closed.CLOSED: 1})
    shut.add(9)
    made = post(made, ben)
    assert (made.status, made.posted) == ("posted", 0)
    assert [line.skipped for line in made.lines.all()] == [closed.CLOSED]
    feet(ben)


def test_large_periods_go_in_chunks_and_go_on_after_an_interruption(
    monkeypatch: pytest.MonkeyPatch, ann: User, ben: User, acme: Customer, team: Team, price: Price
) -> None:
    for number in range(11):
        log(team, number, price_id=price.pk)
    same = START + timedelta(days=3)
    for _ in range(3):
        log(team, 3, started_at=same, price_id=price.pk)
    discount(acme)
    monkeypatch.setattr(preview, "CHUNK_ROWS", 4)
    monkeypatch.setattr(posting, "CHUNK_LINES", 4)
    made = run(ann)
    assert (made.status, made.requests, made.changed) == ("ready", 14, 14)
    approve_repricing(repricing=made, actor=ben)
    real, calls = ledger.adjust, []

    def fail_once(adjustments: Any) -> Any:
        calls.append(len(adjustments))
        if len(calls) == 3:
            raise RuntimeError("the worker dies here")
        return real(adjustments)

    monkeypatch.setattr(ledger, "adjust", fail_once)
    run_repricings()
    made.refresh_from_db()
    assert (made.status, made.posted) == ("approved", 8)
    assert "the worker dies here" in made.error
    feet(ben)
    run_repricings()
    made.refresh_from_db()
    assert (made.status, made.posted, made.error) == ("posted", 14, "")
    assert LedgerEntry.objects.filter(kind="adjustment").count() == 14
    assert feet(ben) == 14 * 3_600_000_000


def test_what_changed_since_the_preview_is_left_out_and_said(
    ann: User, ben: User, acme: Customer, team: Team, price: Price
) -> None:
    one, two, three = (log(team, day, price_id=price.pk) for day in (1, 2, 3))
    discount(acme)
    slow, quick = run(ann), run(ann, ends_at=START + timedelta(days=1.5))
    post(quick, ben)
    Request.objects.filter(pk=two.id).delete()
    slow = post(slow, ben)
    said = {line.request_id: line.skipped for line in slow.lines.all()}
    assert said == {one.id: posting.CHANGED, two.id: posting.GONE, three.id: ""}
    assert LedgerEntry.objects.filter(kind="adjustment", request_id=one.id).count() == 1


def test_a_share_of_reconciliation_that_names_the_request_is_no_part_of_its_cost(
    ann: User, ben: User, acme: Customer, team: Team, price: Price
) -> None:
    record = log(team, price_id=price.pk)
    with transaction.atomic():
        ledger.adjust([replace(a_posting(record), id=new_ulid(), request_id=record.id, amount_nano_usd=77, tokens=0)])
    discount(acme)
    assert post(run(ann), ben).posted == 1
    assert prove(Request.objects.get()).ties
    assert LedgerEntry.objects.aggregate(total=Sum("amount_nano_usd"))["total"] == 3_600_000_077


def test_an_adjustment_names_another_row(team: Team) -> None:
    record = a_record(customer_id=team.customer_id)
    with pytest.raises(ValueError, match="names no other request"), transaction.atomic():
        ledger.adjust([a_posting(record)])


def test_what_our_own_cache_answered_is_not_charged_afterwards(
    ann: User, acme: Customer, team: Team, price: Price
) -> None:
    log(team, 1, price_id=price.pk)
    for hit in ("hit_exact", "hit_semantic"):
        log(team, 2, cache=hit, cost_nano_usd=0, attempts=[])
    discount(acme)
    made = run(ann)
    assert (made.changed, made.old_nano_usd, made.new_nano_usd) == (1, 4 * 10**9, 3_600_000_000)
