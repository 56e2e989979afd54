"""From the reports and the request log to a day's state and the queue, on the real database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command

from governance.models import (
    AuditEntry,
    LedgerEntry,
    ReconciliationDay,
    ReconciliationException,
    ReportDay,
    ReportImport,
    Workspace,
)
from observability.models import Request
from observability.reconciliation import queue
from observability.reconciliation.ours import UNASSIGNED, our_day
from observability.reconciliation.parse import read_file
from observability.reconciliation.services import compare_day, import_report
from observability.tasks import reconcile_days
from tests.fakes.admin_api import KEY, AdminApiFake, Answer, running
from tests.observability.reconciliation.books import DAY, HAIKU, LATER, NOON, OPUS, Books, reports_of

pytestmark = pytest.mark.django_db
WORKSPACE = "wrkspc_01JwQvzr7rXLA5AGx3HKfFUJ"


@pytest.fixture
def books() -> Books:
    return Books()


@pytest.fixture
def fake(settings: Any) -> Iterator[AdminApiFake]:
    with running() as fake:
        settings.COMPTROLLER = {
            **settings.COMPTROLLER,
            "ANTHROPIC_ADMIN_KEY": KEY,
            "COMPTROLLER_ANTHROPIC_ADMIN_BASE_URL": fake.url,
        }
        yield fake


def traffic(books: Books) -> None:
    """Every class, two models, two workspaces, a search, a fast and a US request, and what is not Anthropic's."""
    Workspace.objects.create(credential=books.ci, workspace_id=WORKSPACE, name="CI")
    books.request(input=1_001, output=333, cache_read=50_007, cache_write_5m=3, cache_write_1h=7)
    books.request(input=17, output=1, web_searches=3, speed="fast")
    books.request(HAIKU, input=1, output=1, cache_read=1, inference_geo="us", provider_credential="ci")
    books.request(input=5, output=900, provider="simulated")
    books.request(input=999, at=datetime(2026, 11, 19, tzinfo=UTC))
    books.request(input=999, at=datetime(2026, 11, 17, 23, 59, 59, 999999, tzinfo=UTC))
    books.request(status="refused", http_status=429)


def pages(cost: dict[str, Any], usage: dict[str, Any]) -> None:
    for kind, bucket in (("cost", cost), ("usage", usage)):
        report = read_file(json.dumps({"data": [bucket], "has_more": False, "next_page": None}).encode(), kind)
        import_report(report=report, source="file", actor=None, actor_name="test", now=LATER)


def test_our_cells_foot_to_the_log_and_the_ledger(books: Books) -> None:
    traffic(books)
    found = our_day(DAY)
    rows = Request.objects.filter(provider="anthropic", started_at__date=DAY)
    assert found.total == found.charged == found.ledger == sum(row.cost_nano_usd for row in rows)
    assert found.gaps == []
    assert {key[1] for key in found.cells} >= {"uncached_input", "cache_read", "cache_write_5m", "web_search", "output"}
    assert found.cells["", "web_search", ""].nano_usd == 30_000_000
    assert found.cells["claude-haiku-5-5", "cache_read", WORKSPACE].tokens == 1
    assert not any(key[1] == UNASSIGNED for key in found.cells)


def test_what_the_classes_do_not_explain_is_unassigned_and_still_foots(books: Books) -> None:
    books.request(input=100, output=10, cost_nano_usd=10_000_000)
    books.request(input=100, price_id=987_654_321, cost_nano_usd=5_000)
    parts = [{"provider": "anthropic", "cost_nano_usd": 70}, {"provider": "simulated", "cost_nano_usd": 30}]
    books.request(input=100, attempts=parts, cost_nano_usd=100)
    found = our_day(DAY)
    assert found.total == found.charged == found.ledger == 10_000_000 + 5_000 + 70
    assert found.cells[OPUS, UNASSIGNED, ""].nano_usd == (10_000_000 - 400_000 - 200_000) + 5_000 + 70


def test_the_same_figures_match_to_the_nano_dollar(books: Books) -> None:
    traffic(books)
    pages(*reports_of(DAY))
    row = compare_day(DAY, now=LATER)
    assert (row.state, row.is_final) == ("matched", True)
    assert {line.status for line in row.lines.all()} == {"matched"}
    assert sum(line.ours_nano_usd for line in row.lines.all()) == row.ours_nano_usd == row.ledger_nano_usd
    assert not ReconciliationException.objects.exists()


def test_one_token_more_of_theirs_is_found(books: Books, settings: Any) -> None:
    traffic(books)
    settings.COMPTROLLER = {
        **settings.COMPTROLLER,
        "COMPTROLLER_RECONCILE_TOLERANCE_PERCENT": 0,
        "COMPTROLLER_RECONCILE_TOLERANCE_USD": 0,
    }
    cost, usage = reports_of(DAY)
    (line,) = [line for line in usage["results"] if line["model"] == HAIKU]
    line["cache_read_input_tokens"] += 1
    (charge,) = [line for line in cost["results"] if line["model"] == HAIKU and line["description"] == "cache_read"]
    charge["amount"] = "0.000002"  # two tokens of 0.01 USD a million, in cents
    pages(cost, usage)
    row = compare_day(DAY, now=LATER)
    assert row.state == "off"
    (found,) = ReconciliationException.objects.all()
    assert (found.model, found.token_class, found.workspace_id) == (HAIKU, "cache_read", WORKSPACE)
    assert (found.theirs_tokens or 0) - (found.ours_tokens or 0) == 1
    assert found.remark == "1 token more on theirs."
    assert found.difference_nano_usd == found.ours_nano_usd - 20


def test_importing_again_changes_nothing_and_newer_figures_win(books: Books) -> None:
    traffic(books)
    cost, usage = reports_of(DAY)
    pages(cost, usage)
    before = list(ReportImport.objects.values())
    pages(cost, usage)
    cost["results"].reverse()
    pages(cost, usage)
    assert list(ReportImport.objects.values()) == before
    pages(*reports_of(DAY, output="1000"))
    assert ReportImport.objects.filter(kind="cost").count() == 2
    assert ReportDay.objects.filter(kind="cost").count() == 2
    assert (
        ReportDay.objects.get(kind="cost", is_current=True).report == ReportImport.objects.filter(kind="cost").first()
    )
    row = compare_day(DAY, now=LATER)
    assert (row.state, row.drift_nano_usd) == ("off", -10_000_000_000)
    pages(cost, usage)  # the old figures again: the newest import still is what counts
    row = compare_day(DAY, now=LATER)
    assert (row.state, row.drift_nano_usd) == ("matched", 0)
    assert ReconciliationException.objects.get().status == "gone"
    assert AuditEntry.objects.filter(action="report.imported").count() == 4


def test_decisions_need_a_note_hold_for_their_figures_and_no_others(books: Books) -> None:
    traffic(books)
    pages(*reports_of(DAY, output="100"))
    assert compare_day(DAY, now=LATER).state == "off"
    found = ReconciliationException.objects.get()
    with pytest.raises(ValidationError, match="Say why"):
        queue.decide(exception=found, status="explained", note=" ", actor=None)
    queue.decide(exception=found, status="explained", note="Console tests of 18 Nov", actor=None, actor_name="Fin")
    with pytest.raises(ValidationError, match="decided already"):
        queue.decide(exception=found, status="ignored", note="again", actor=None)
    assert ReconciliationDay.objects.get().state == "accepted"
    assert compare_day(DAY, now=LATER).state == "accepted"
    assert ReconciliationException.objects.count() == 1
    pages(*reports_of(DAY, output="200"))
    assert compare_day(DAY, now=LATER).state == "off"
    assert sorted(ReconciliationException.objects.values_list("status", flat=True)) == ["explained", "open"]
    entry = AuditEntry.objects.get(action="exception.explained")
    assert (entry.note, entry.actor_name) == ("Console tests of 18 Nov", "Fin")


def test_a_day_that_may_still_change_opens_nothing(books: Books) -> None:
    traffic(books)
    pages(*reports_of(DAY, output="100"))
    row = compare_day(DAY, now=datetime(2026, 11, 19, 4, tzinfo=UTC))
    assert (row.state, row.is_final) == ("open", False)
    assert not ReconciliationException.objects.exists()
    row = compare_day(DAY, now=datetime(2026, 11, 20, tzinfo=UTC))
    assert (row.state, row.is_final) == ("off", True)


def test_without_a_report_a_day_waits_and_a_report_of_nothing_does_not(books: Books) -> None:
    books.request(input=10_000_000)
    row = compare_day(DAY, now=LATER)
    assert (row.state, row.theirs_nano_usd, row.lines.get().status) == ("open", None, "waiting")
    cost, usage = reports_of(DAY)
    cost["results"], usage["results"] = [], []
    pages(cost, usage)
    row = compare_day(DAY, now=LATER)
    assert (row.state, row.theirs_nano_usd, row.lines.get().status) == ("off", 0, "only_ours")


def test_the_log_and_the_ledger_that_differ_are_an_exception(books: Books) -> None:
    row = books.request(input=1_000_000, posted=False)
    books.request(input=1_000_000)
    books.post("01JDXYZ0000000000000000000", NOON, 77)
    found = our_day(DAY)
    assert (found.charged, found.ledger, found.gap_nano_usd) == (8_000_000_000, 4_000_000_000, 4_000_000_000 - 77)
    pages(*reports_of(DAY))
    assert compare_day(DAY, now=LATER).state == "off"
    exception = ReconciliationException.objects.get(kind="ledger")
    assert row.pk in exception.remark
    assert exception.difference_nano_usd == 4_000_000_000 - 77
    books.post(row.pk, NOON, row.cost_nano_usd)
    compare_day(DAY, now=LATER)
    assert ReconciliationException.objects.get().difference_nano_usd == -77


def test_rows_deleted_by_retention_leave_the_comparison_as_it_was(books: Books, settings: Any) -> None:
    traffic(books)
    pages(*reports_of(DAY))
    compared = compare_day(DAY, now=LATER).compared_at
    settings.COMPTROLLER = {**settings.COMPTROLLER, "COMPTROLLER_LOG_RETENTION_DAYS": 3}
    Request.objects.all().delete()
    row = compare_day(DAY, now=LATER + timedelta(days=1))
    assert (row.state, row.compared_at) == ("matched", compared)


def test_the_daily_task_reads_both_reports_over_http(books: Books, fake: AdminApiFake, monkeypatch: Any) -> None:
    traffic(books)
    cost, usage = reports_of(DAY)
    fake.cost, fake.usage, fake.page_size = [cost], [usage], 1
    monkeypatch.setattr("observability.tasks.timezone.now", lambda: LATER)
    done = reconcile_days()
    assert (done["read"], done["error"], done["from"], done["to"]) == (True, "", "2026-11-15", "2026-11-21")
    assert ReconciliationDay.objects.get(pk=DAY).state == "matched"
    assert ReconciliationDay.objects.count() == 7
    fake.out_of_turn = [Answer(401)]
    done = reconcile_days()
    assert "does not know the admin key" in done["error"]
    assert KEY not in json.dumps(done)
    assert ReconciliationDay.objects.get(pk=DAY).state == "matched"


def test_a_count_out_of_range_is_said_and_the_days_are_compared(
    books: Books, fake: AdminApiFake, monkeypatch: Any
) -> None:
    traffic(books)
    cost, usage = reports_of(DAY)
    monkeypatch.setattr("observability.tasks.timezone.now", lambda: LATER)
    for counts, words in (((10**20,), "not a count of tokens"), ((2**62, 2**62), "more than any account")):
        for line, count in zip(usage["results"], counts, strict=False):
            line["output_tokens"] = count
        fake.cost, fake.usage = [cost], [usage]
        done = reconcile_days()
        assert words in done["error"]
        assert ReconciliationDay.objects.count() == 7


def test_the_command_reads_files(books: Books, tmp_path: Path, capsys: Any) -> None:
    traffic(books)
    paths = []
    for name, bucket in zip(("cost", "usage"), reports_of(DAY), strict=True):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({"data": [bucket], "has_more": False, "next_page": None}))
        paths.append(str(path))
    call_command("reconcile", "--file", paths[0], "--usage", paths[1])
    told = capsys.readouterr().out
    assert "cost.json: 1 day(s) new or changed" in told
    assert "2026-11-18 matched: ours" in told
    with pytest.raises(CommandError, match="not a cost report"):
        call_command("reconcile", "--file", paths[1])
    with pytest.raises(CommandError, match="Set ANTHROPIC_ADMIN_KEY"):
        call_command("reconcile", "--day", "2026-11-18")
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("reconcile", "--file", str(tmp_path / "gone.json"))


def test_a_report_of_tomorrow_is_refused(books: Books) -> None:
    cost, _ = reports_of(datetime(2030, 1, 1, tzinfo=UTC).date())
    report = read_file(json.dumps({"data": [cost], "has_more": False}).encode(), "cost")
    with pytest.raises(ValidationError, match="has not begun"):
        import_report(report=report, source="file", actor=None, now=LATER)
    assert not ReportImport.objects.exists()


def test_the_ledger_is_only_read(books: Books) -> None:
    traffic(books)
    before = list(LedgerEntry.objects.order_by("pk").values())
    pages(*reports_of(DAY, output="100"))
    compare_day(DAY, now=LATER)
    assert list(LedgerEntry.objects.order_by("pk").values()) == before
