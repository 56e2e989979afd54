"""The pages: Finance imports, decides and locks, the auditor reads, Charlie and the rest get nothing."""

from __future__ import annotations

import json
import re
from datetime import date, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.db.models import Sum
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from governance.models import (
    AuditEntry,
    Customer,
    LedgerEntry,
    Membership,
    MonthLock,
    ReconciliationDay,
    ReconciliationException,
    ReportImport,
    Team,
    VirtualKey,
    Workspace,
)
from governance.services.workspaces import delete_workspace, save_workspace
from observability.reconciliation.parse import read_file
from observability.reconciliation.services import MAX_DAYS, compare_day, import_report
from observability.tasks import compare_waiting_days
from tests.observability.reconciliation.books import DAY, LATER, Books, reports_of

pytestmark = pytest.mark.django_db
DAYS = "/admin/governance/reconciliationday/"
QUEUE = "/admin/governance/reconciliationexception/"
ONE_DAY = f"{DAYS}2026-11-18/change/"
OCTOBER = "2026-10"


@pytest.fixture
def books() -> Books:
    books = Books()
    books.request(output=100_000, cache_read=5)
    return books


def person(name: str, role: str, customer: Customer) -> Client:
    user = User.objects.create_user(name, is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    Membership.objects.create(user=user, customer=customer)
    client = Client()
    client.force_login(user)
    return client


def a_file(bucket: dict[str, Any], name: str = "cost.json") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, json.dumps({"data": [bucket], "has_more": False, "next_page": None}).encode())


def off(books: Books) -> ReconciliationException:
    report = read_file(a_file(reports_of(DAY, output="50")[0]).read())
    import_report(report=report, source="file", actor=None, now=LATER)
    compare_day(DAY, now=LATER)
    return ReconciliationException.objects.get()


def told(answer: Any) -> str:
    return " ".join(str(message) for message in answer.context["messages"])


def test_finance_imports_a_file_and_sees_the_month_and_the_day(books: Books) -> None:
    fin = person("fin", "Finance", books.acme)
    empty = fin.get(f"{DAYS}?month=2026-11").content.decode()
    assert "No day of this month has a cost report yet" in empty
    assert "Set ANTHROPIC_ADMIN_KEY" in empty
    answer = fin.post(f"{DAYS}import/", {"file": a_file(reports_of(DAY)[0])}, follow=True)
    assert "cost.json: 1 day(s) new or changed, 0 as known before; the changed ones are compared" in told(answer)
    assert "Waits to be compared" in answer.content.decode()
    assert ReconciliationDay.objects.get().compared_at is None
    assert fin.get(ONE_DAY).status_code == 200
    assert compare_waiting_days() == 1
    assert compare_waiting_days() == 0
    answer = fin.get(f"{DAYS}?month=2026-11")
    assert "Our figure equals Anthropic&#x27;s over 1 day" in answer.content.decode()
    row = ReconciliationDay.objects.get()
    assert (row.day, row.drift_nano_usd) == (DAY, 0)
    assert ReportImport.objects.get().imported_by_name == "fin"
    page = fin.get(ONE_DAY).content.decode()
    assert "Cache read" in page
    assert "2.000002" in page
    assert "Equal" in page
    assert fin.post(f"{DAYS}2026-11-18/again/").status_code == 302


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "The submitted file is empty|is empty"),
        (b"<html>", "was not imported. This is not JSON"),
        (b'{"type":"error","error":{"message":"invalid x-api-key"}}', "invalid x-api-key"),
        (json.dumps({"data": [], "has_more": False}).encode(), "holds no day"),
    ],
)
def test_a_wrong_file_is_refused_in_a_sentence(books: Books, content: bytes, words: str) -> None:
    fin = person("fin", "Finance", books.acme)
    answer = fin.post(f"{DAYS}import/", {"file": SimpleUploadedFile("x.json", content)}, follow=True)
    assert any(word in told(answer) for word in words.split("|"))
    assert "Choose the file" in told(fin.post(f"{DAYS}import/", follow=True))
    assert not ReportImport.objects.exists()


def test_finance_decides_with_a_note(books: Books) -> None:
    found = off(books)
    fin = person("fin", "Finance", books.acme)
    assert "What does not add up" in fin.get(QUEUE).content.decode()
    answer = fin.post(QUEUE, {"action": "explain", "_selected_action": [found.pk]})
    decide = answer.url
    assert decide == f"{QUEUE}decide/explained/?ids={found.pk}"
    assert fin.post(decide, {"note": ""}).status_code == 200
    found.refresh_from_db()
    assert found.status == "open"
    answer = fin.post(decide, {"note": "Console tests"}, follow=True)
    assert "1 explained." in told(answer)
    found.refresh_from_db()
    assert (found.status, found.note, str(found.decided_by)) == ("explained", "Console tests", "fin")
    assert "still open" in told(fin.get(decide, follow=True))
    assert ReconciliationDay.objects.get().state == "accepted"
    assert "Console tests" in fin.get(ONE_DAY).content.decode()


def test_finance_adjusts_and_sees_what_is_written_before(books: Books) -> None:
    found = off(books)
    fin = person("fin", "Finance", books.acme)
    decide = f"{QUEUE}decide/adjusted/?ids={found.pk}"
    page = fin.get(decide).content.decode()
    assert "1 ledger row" in page
    assert "0.500000" in page
    assert not LedgerEntry.objects.filter(kind="adjustment").exists()
    assert "1 adjusted." in told(fin.post(decide, {"note": "As billed"}, follow=True))
    assert LedgerEntry.objects.get(kind="adjustment").amount_nano_usd == 500_000_000


def test_finance_takes_one(books: Books) -> None:
    found = off(books)
    fin = person("fin", "Finance", books.acme)
    fin.post(QUEUE, {"action": "take", "_selected_action": [found.pk]})
    found.refresh_from_db()
    assert (str(found.assigned_to), found.status) == ("fin", "open")


def test_a_month_is_locked_by_one_and_unlocked_by_another(books: Books) -> None:
    fin, other = person("fin", "Finance", books.acme), person("other", "Platform admin", books.acme)
    this_month = f"{timezone.now():%Y-%m}"
    answer = fin.post(f"{DAYS}lock/", {"month": this_month, "customer": "all"}, follow=True)
    assert "is not over yet" in told(answer)
    answer = fin.post(f"{DAYS}lock/", {"month": OCTOBER, "customer": "all"}, follow=True)
    assert "2026-10 of every customer is locked" in told(answer)
    lock = MonthLock.objects.get()
    assert lock.month == date(2026, 10, 1)
    unlock = f"{DAYS}unlock/{lock.pk}/"
    assert "You locked this month" in fin.post(unlock, {"reason": "typo"}).content.decode()
    assert other.post(unlock, {"reason": ""}).status_code == 200
    assert "is open again" in told(other.post(unlock, {"reason": "Credit note missing"}, follow=True))
    lock.refresh_from_db()
    assert (str(lock.unlocked_by), lock.unlock_reason) == ("other", "Credit note missing")
    assert "Credit note missing" in fin.get(f"{DAYS}?month={OCTOBER}").content.decode()


def test_the_auditor_reads_and_changes_nothing(books: Books) -> None:
    found = off(books)
    auditor = person("audrey", "Auditor", books.acme)
    for path in (DAYS, ONE_DAY, QUEUE, f"{QUEUE}{found.pk}/change/", "/admin/governance/reportimport/"):
        assert auditor.get(path).status_code == 200, path
    page = auditor.get(DAYS).content.decode()
    assert "Import a report" not in page
    assert "<select name=" not in page
    lock = MonthLock.objects.create(month=date(2026, 10, 1), locked_by_name="fin", locked_at=LATER)
    before = _everything()
    for path, body in _writes(found, lock, books):
        answer = auditor.post(path, body)
        assert answer.status_code == 403 or path == QUEUE, path
    assert _everything() == before


@pytest.mark.parametrize("role", ["Team lead", "Developer"])
def test_other_roles_get_nothing(books: Books, role: str) -> None:
    found = off(books)
    client = person("someone", role, books.acme)
    for path in (DAYS, ONE_DAY, QUEUE, f"{QUEUE}{found.pk}/change/"):
        assert client.get(path).status_code == 403, path
    lock = MonthLock.objects.create(month=date(2026, 10, 1), locked_by_name="fin", locked_at=LATER)
    assert {client.post(path, body).status_code for path, body in _writes(found, lock, books)} == {403}


def test_charlie_of_another_customer_sees_and_reaches_nothing(books: Books) -> None:
    found = off(books)
    globex = Customer.objects.create(name="Globex")
    charlie = person("charlie", "Finance", globex)
    lock = MonthLock.objects.create(
        month=date(2026, 10, 1), customer=books.acme, locked_by_name="fin", locked_at=LATER, total_nano_usd=987 * 10**9
    )
    page = charlie.get(f"{DAYS}?month={OCTOBER}").content.decode()
    assert "you do not see every customer" in page
    assert "987" not in page
    assert "Acme" not in page
    assert charlie.get(ONE_DAY).status_code == 404
    assert str(DAY) not in charlie.get(QUEUE).content.decode()
    before = _everything()
    for path, body in _writes(found, lock, books):
        assert charlie.post(path, body).status_code in {302, 403, 404}, path
    assert _everything() == before
    charlie.post(f"{DAYS}lock/", {"month": OCTOBER, "customer": globex.pk})
    assert MonthLock.objects.filter(customer=globex).count() == 1


def test_a_late_charge_is_shown_to_its_own_customer(books: Books) -> None:
    Customer.objects.create(name="Globex")
    fin = person("fin", "Finance", books.acme)
    ReconciliationException.objects.create(
        kind="late", day=DAY, customer=books.acme, ours_nano_usd=77_770_000_000, opened_at=LATER, remark="2 ledger rows"
    )
    assert "77.77" in fin.get(QUEUE).content.decode()


def test_a_file_of_too_many_days_is_refused_in_a_sentence(books: Books) -> None:
    fin = person("fin", "Finance", books.acme)
    first = date(2025, 1, 1)
    days = [first + timedelta(days=number) for number in range(MAX_DAYS + 1)]
    buckets = [
        {"starting_at": f"{day}T00:00:00Z", "ending_at": f"{day + timedelta(days=1)}T00:00:00Z", "results": []}
        for day in days
    ]
    buckets[0] = {**reports_of(DAY)[0], "starting_at": buckets[0]["starting_at"], "ending_at": buckets[0]["ending_at"]}
    for number, words in ((MAX_DAYS + 1, "at most 400 days"), (MAX_DAYS, "400 day(s) new or changed")):
        content = json.dumps({"data": buckets[:number], "has_more": False}).encode()
        answer = fin.post(f"{DAYS}import/", {"file": SimpleUploadedFile("long.json", content)}, follow=True)
        assert words in told(answer)
    assert set(ReconciliationDay.objects.values_list("compared_at", flat=True)) == {None}


def test_a_count_that_no_column_holds_is_refused_in_a_sentence(books: Books) -> None:
    fin = person("fin", "Finance", books.acme)
    _, usage = reports_of(DAY)
    for count in (10**20, 2**63):
        usage["results"][0]["output_tokens"] = count
        answer = fin.post(f"{DAYS}import/", {"file": a_file(usage, "usage.json")}, follow=True)
        assert answer.status_code == 200
        assert "not a count of tokens" in told(answer)
    assert not ReportImport.objects.exists()


def test_the_key_is_searched_for_and_named_with_its_team(books: Books) -> None:
    found = off(books)
    edge = Team.objects.create(customer=books.acme, name="Edge")
    keys = [VirtualKey(team=edge, name=f"laptop-{number}") for number in range(300)]
    VirtualKey.objects.bulk_create(keys)
    fin = person("fin", "Finance", books.acme)
    page = fin.get(f"{QUEUE}decide/adjusted/?ids={found.pk}").content.decode()
    assert "laptop-7" not in page
    where = re.search(r'data-ajax--url="([^"]+)"', page)
    assert where is not None
    assert "autocomplete.js" in page
    query = {"app_label": "governance", "model_name": "budget", "field_name": "virtual_key", "term": "laptop-29"}
    for name in ("app-label", "model-name", "field-name"):
        assert f'data-{name}="{query[name.replace("-", "_")]}"' in page
    shown = [row["text"] for row in fin.get(where[1], query).json()["results"]]
    assert "laptop-299 (Acme / Edge)" in shown
    chosen = {"note": "", "virtual_key": VirtualKey.objects.get(name="laptop-299").pk}
    again = fin.post(f"{QUEUE}decide/adjusted/?ids={found.pk}", chosen).content.decode()
    assert "laptop-299 (Acme / Edge)" in again


def test_a_day_is_priced_once_for_all_that_is_ticked(books: Books) -> None:
    first = off(books)
    report = read_file(a_file(reports_of(DAY, output="50", cache_read="70")[0]).read())
    import_report(report=report, source="file", actor=None, now=LATER)
    compare_day(DAY, now=LATER)
    second = ReconciliationException.objects.get(status="open", token_class="cache_read")
    fin = person("fin", "Finance", books.acme)
    decide = f"{QUEUE}decide/adjusted/?ids={first.pk},{second.pk}"

    def passes(method: Any, *body: Any) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert method(decide, *body).status_code in {200, 302}
        return sum('"observability_request"."cache" = ' in query["sql"] for query in queries)

    assert passes(fin.get) == 1
    assert passes(fin.post, {"note": ""}) == 0
    assert passes(fin.post, {"note": "As billed"}) == 1
    assert LedgerEntry.objects.filter(kind="adjustment").aggregate(total=Sum("amount_nano_usd"))["total"] == 12 * 10**8


def test_workspaces_are_written_by_who_sees_every_customer(books: Books) -> None:
    globex = Customer.objects.create(name="Globex")
    workspace = Workspace.objects.create(credential=books.main, workspace_id="wrkspc_1")
    pages = "/admin/governance/workspace/"
    body = {"credential": books.ci.pk, "workspace_id": "wrkspc_2", "name": ""}
    one = person("one", "Platform admin", books.acme)
    before = list(Workspace.objects.values())
    for path in (f"{pages}add/", f"{pages}{workspace.pk}/change/", f"{pages}{workspace.pk}/delete/"):
        assert one.post(path, {**body, "post": "yes"}).status_code == 403, path
    one.post(pages, {"action": "delete_selected", "_selected_action": [workspace.pk], "post": "yes"})
    for refused in (
        lambda actor: save_workspace(workspace=Workspace(credential=books.ci, workspace_id="x"), actor=actor),
        lambda actor: delete_workspace(workspace=workspace, actor=actor),
    ):
        for actor in (User.objects.get(username="one"), None):
            with pytest.raises(PermissionDenied):
                refused(actor)
    assert list(Workspace.objects.values()) == before
    whole = person("whole", "Platform admin", books.acme)
    Membership.objects.create(user=User.objects.get(username="whole"), customer=globex)
    assert whole.post(f"{pages}add/", body).status_code == 302
    assert Workspace.objects.get(credential=books.ci).workspace_id == "wrkspc_2"
    assert whole.post(f"{pages}{workspace.pk}/delete/", {"post": "yes"}).status_code == 302
    assert set(AuditEntry.objects.filter(action__startswith="workspace.").values_list("action", flat=True)) == {
        "workspace.created", "workspace.deleted",
    }  # fmt: skip


def _writes(found: ReconciliationException, lock: MonthLock, books: Books) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{DAYS}import/", {"file": a_file(reports_of(DAY + timedelta(days=1))[0])}),
        (f"{DAYS}2026-11-18/again/", {}),
        (f"{DAYS}lock/", {"month": OCTOBER, "customer": "all"}),
        (f"{DAYS}lock/", {"month": OCTOBER, "customer": books.acme.pk}),
        (f"{DAYS}unlock/{lock.pk}/", {"reason": "because"}),
        (f"{QUEUE}decide/explained/?ids={found.pk}", {"note": "because"}),
        (f"{QUEUE}decide/adjusted/?ids={found.pk}", {"note": "because"}),
        (QUEUE, {"action": "take", "_selected_action": [found.pk]}),
    ]


def _everything() -> list[Any]:
    models = (ReportImport, ReconciliationDay, ReconciliationException, MonthLock, LedgerEntry)
    return [list(model.objects.order_by("pk").values()) for model in models]
