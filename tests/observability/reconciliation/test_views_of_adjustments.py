"""What is around an adjustment: overview, trail, month lock and the exception's own page say the same as the ledger."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db.models import Sum
from django.test import Client

from governance.models import (
    AuditEntry,
    Customer,
    LedgerEntry,
    Membership,
    MonthLock,
    ReconciliationException,
    RepricingLine,
    Team,
    VirtualKey,
)
from governance.services import audit
from governance.services.months import lock_month
from observability import rollups
from observability.admin import dashboard
from observability.models import Request
from observability.reconciliation.adjustments import adjust
from observability.reconciliation.parse import read_file
from observability.reconciliation.services import compare_day, import_report
from observability.selectors.adjustments import adjusted_between
from observability.selectors.dashboard import build
from observability.selectors.reconciliation import month_page
from tests.observability.reconciliation.books import DAY, LATER, NOON, Books, reports_of
from tests.observability.reconciliation.test_adjustments import reprice

pytestmark = pytest.mark.django_db
DAYS = "/admin/governance/reconciliationday/"
QUEUE = "/admin/governance/reconciliationexception/"
OCTOBER = date(2026, 10, 1)
DOCUMENT = Path(__file__).parents[3] / "docs" / "reconciliation.md"


@pytest.fixture
def books() -> Books:
    books = Books()
    books.request(output=100_000)
    rollups.mark([NOON])
    return books


@pytest.fixture
def overview(monkeypatch: pytest.MonkeyPatch, root: User) -> Callable[[], str]:
    """The overview of 30 days, as it is drawn at LATER: the days of the books are fixed ones."""
    monkeypatch.setattr(dashboard, "build", lambda user, *, days, now: build(user, days=days, now=LATER))
    return lambda: browser(root).get("/admin/?days=30").content.decode()


@pytest.fixture
def root() -> User:
    return User.objects.create_superuser("root", password="root-password-1")


def person(name: str, role: str, *customers: Customer, team: Team | None = None) -> User:
    user = User.objects.create_user(name, is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    for customer in customers:
        Membership.objects.create(user=user, customer=customer, team=team)
    return user


def browser(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def off(cents: str = "300") -> ReconciliationException:
    cost, _ = reports_of(DAY, output=cents)
    report = read_file(json.dumps({"data": [cost], "has_more": False}).encode(), "cost")
    import_report(report=report, source="file", actor=None, now=LATER)
    compare_day(DAY, now=LATER)
    return ReconciliationException.objects.get(status="open")


def ledger() -> int:
    return int(LedgerEntry.objects.aggregate(total=Sum("amount_nano_usd"))["total"])


def test_the_month_foots_to_the_ledger_after_an_adjustment(
    books: Books, root: User, overview: Callable[[], str]
) -> None:
    adjust(exception=off(), note="As billed", actor=None)
    for days in (7, 30):
        board = build(root, days=days, now=LATER)
        assert (board.month.cost_nano_usd, board.month_adjusted) == (2 * 10**9, 3 * 10**9)
        assert board.month_nano_usd == board.range_nano_usd == ledger() == 5 * 10**9
        assert board.verdict.text.startswith("$5.00 this month")
    assert build(root, days=7, now=LATER + timedelta(days=30)).month_adjusted == 0
    page = overview()
    assert "1 request only; with adjustments $5.00" in page
    assert "Adjustments: +$3.00 this month, +$3.00 in 30 days (reconciliation)" in page
    assert "<dt>Spend this month</dt><dd>$5.00</dd><p>with adjustments;" in page


def test_without_an_adjustment_the_overview_says_nothing_of_it(books: Books, overview: Callable[[], str]) -> None:
    page = overview()
    assert "djustment" not in page
    assert re.search(r"<p>1 request</p>", page)


def test_a_credit_is_shown_as_one(books: Books, overview: Callable[[], str]) -> None:
    adjust(exception=off("-50"), note="As billed", actor=None)
    assert "Adjustments: −$0.50 this month" in overview()


def test_what_a_re_pricing_posts_is_no_adjustment_beside_the_log(books: Books, root: User) -> None:
    adjust(exception=off(), note="As billed", actor=None)
    row = Request.objects.get()
    reprice(books, row, 3 * 10**9)
    assert RepricingLine.objects.count() == 1
    board = build(root, days=30, now=LATER)
    assert (board.month.cost_nano_usd, board.month_adjusted) == (3 * 10**9, 3 * 10**9)
    assert board.month_nano_usd == ledger()


def test_each_sees_the_adjustments_of_their_own_teams(books: Books) -> None:
    edge = Team.objects.create(customer=books.acme, name="Edge")
    key = VirtualKey.objects.create(team=edge, name="bob-laptop")
    books.request(output=200_000, virtual_key_id=key.pk, virtual_key=key.name, team="Edge", team_id=edge.pk)
    adjust(exception=off(), note="As billed", actor=None)
    globex = Customer.objects.create(name="Globex")
    span = (datetime(2026, 11, 1, tzinfo=UTC), LATER)
    assert adjusted_between(person("all", "Finance", books.acme), *span) == 3 * 10**9
    assert adjusted_between(person("bob", "Team lead", books.acme, team=edge), *span) == 2 * 10**9
    assert adjusted_between(person("charlie", "Finance", globex), *span) == 0


def test_who_covers_every_customer_reads_the_whole_trail(books: Books) -> None:
    auditor = person("audrey", "Auditor", books.acme)
    lead = person("lead", "Auditor", books.acme, team=books.core)
    audit.record(actor=None, action="user.created", target=auditor)
    lock_month(month=OCTOBER, customer=None, actor=None, note="Nothing was used", now=LATER)
    seen = set(AuditEntry.objects.visible_to(auditor).values_list("action", flat=True))
    assert {"user.created", "month.locked"} <= seen
    assert not AuditEntry.objects.visible_to(lead).exists()
    Customer.objects.create(name="Globex")
    assert not AuditEntry.objects.visible_to(auditor).filter(customer_id=None).exists()
    auditor.is_active = False
    assert not AuditEntry.objects.visible_to(auditor).exists()


def test_what_concerns_one_customer_names_it_in_the_trail(books: Books) -> None:
    globex = Customer.objects.create(name="Globex")
    auditor = person("audrey", "Auditor", books.acme)
    adjust(exception=off(), note="As billed", actor=None)
    lock_month(month=OCTOBER, customer=books.acme, actor=None, now=LATER)
    lock_month(month=OCTOBER, customer=globex, actor=None, now=LATER)
    seen = list(AuditEntry.objects.visible_to(auditor).order_by("pk").values_list("action", "customer_id"))
    assert seen == [("exception.adjusted", books.acme.pk), ("month.locked", books.acme.pk)]
    assert audit.verify_chain() is None


def test_an_adjustment_of_two_customers_names_neither(books: Books) -> None:
    globex = Customer.objects.create(name="Globex")
    team = Team.objects.create(customer=globex, name="Ops")
    key = VirtualKey.objects.create(team=team, name="eve-laptop")
    books.request(
        output=100_000, customer="Globex", customer_id=globex.pk, team="Ops", team_id=team.pk,
        virtual_key_id=key.pk, virtual_key=key.name,
    )  # fmt: skip
    adjust(exception=off(), note="As billed", actor=None)
    assert AuditEntry.objects.get(action="exception.adjusted").customer_id is None


def test_a_month_is_locked_only_after_what_is_open_was_shown(books: Books) -> None:
    found = off()
    ReconciliationException.objects.filter(pk=found.pk).update(day=date(2026, 10, 7))
    fin = browser(person("fin", "Finance", books.acme))
    overview = fin.get(f"{DAYS}?month=2026-10").content.decode()
    assert re.search(r'<form method="get" action="[^"]+/lock/"', overview)
    page = fin.get(f"{DAYS}lock/", {"month": "2026-10", "customer": "all"})
    text = re.sub(r"<[^>]+>", "", page.content.decode())
    assert "1 exception of 2026-10 waits for a decision" in text
    assert "31 days are not compared: 2026-10-01, 2026-10-02" in text
    assert not MonthLock.objects.exists()
    body = {"month": "2026-10", "customer": "all", "note": "x" * 301}
    assert fin.post(f"{DAYS}lock/", body).status_code == 200
    assert not MonthLock.objects.exists()
    body["note"] = "One is with Anthropic's support"
    assert fin.post(f"{DAYS}lock/", body).status_code == 302
    assert MonthLock.objects.get().month == OCTOBER
    assert AuditEntry.objects.get(action="month.locked").note == "One is with Anthropic's support"


def test_days_that_are_compared_are_not_called_open(books: Books, root: User) -> None:
    off()
    page = month_page(root, date(2026, 11, 1), today=LATER.date())
    assert DAY not in page.not_compared
    assert len(page.not_compared) == LATER.day - 1
    assert page.without_report == []
    compare_day(DAY - timedelta(days=1), now=LATER)
    page = month_page(root, date(2026, 11, 1), today=LATER.date())
    assert page.without_report == [DAY - timedelta(days=1)]


def test_an_exceptions_own_page_leads_to_its_decisions(books: Books) -> None:
    found = off()
    fin, auditor = browser(person("fin", "Finance", books.acme)), browser(person("audrey", "Auditor", books.acme))
    own = f"{QUEUE}{found.pk}/change/"
    links = [f"{QUEUE}decide/{how}/?ids={found.pk}" for how in ("explained", "ignored", "adjusted")]
    page = fin.get(own).content.decode()
    for link in links:
        assert link in page
        assert fin.get(link).status_code == 200
        assert link not in auditor.get(own).content.decode()
    assert "2026-11-18" in page
    assert f"{LATER:%Y-%m-%d %H:%M}" in page
    assert "Nov" not in page
    adjust(exception=found, note="As billed", actor=None)
    assert links[0] not in fin.get(own).content.decode()


def test_queue_and_day_say_the_same_digits(books: Books) -> None:
    found = off("1234.5")
    assert found.difference_nano_usd == -12_345_000_000
    fin = browser(person("fin", "Finance", books.acme))
    for path in (QUEUE, f"{DAYS}{DAY}/change/", f"{QUEUE}{found.pk}/change/"):
        assert "(12.345000)" in fin.get(path).content.decode(), path


def test_the_file_is_chosen_where_unfolds_script_looks_for_it(books: Books) -> None:
    page = browser(person("fin", "Finance", books.acme)).get(DAYS).content.decode()
    form = page[page.index('enctype="multipart/form-data"') :]
    form = form[: form.index("</form>")]
    chooser = re.search(r'<input type="file"[^>]*>', form)
    assert chooser is not None
    assert 'name="file"' in chooser[0]
    assert "required" in chooser[0]
    assert 'accept=".json,.jsonl,application/json"' in chooser[0]
    # app.js goes three elements up from the chooser and writes the name into the text field there.
    assert re.search(r'<label for="id_file"[^>]*>\s*<input type="text".*?<span[^>]*>\s*<input type="file"', form, re.S)


@pytest.mark.parametrize(("number", "kind", "figure"), [(0, "cost", "200"), (1, "usage", 100_000)])
def test_the_documents_samples_are_reports(number: int, kind: Any, figure: Any) -> None:
    samples = re.findall(r"```json\n(.*?)```", DOCUMENT.read_text(), re.S)
    report = read_file(samples[number].encode())
    assert (report.kind, report.unknown) == (kind, ())
    lines = [line for line in report.days[DAY] if line.cents or line.tokens]
    assert [line.cents or line.tokens for line in lines] == [figure]
    assert [line.token_class for line in lines] == ["output"]
