"""The request log's pages: what they list, find, prove and refuse."""

from __future__ import annotations

import random
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from governance.models import LedgerEntry
from observability import rollups
from observability.models import Request
from observability.selectors import log, stretches
from observability.selectors.proof import prove
from tests.fakes import seed

pytestmark = pytest.mark.django_db
LIST = "/admin/observability/request/"


@pytest.fixture
def made() -> seed.Installation:
    return seed.install(timezone.now())


@pytest.fixture
def rows(made: seed.Installation) -> list[Request]:
    return seed.requests(made, timezone.now(), days=1, rows=130)


@pytest.fixture
def root(client: Client) -> User:
    user = User.objects.create_superuser("root", password="root-password-1")
    client.force_login(user)
    return user


def detail(row: Request) -> str:
    return reverse("admin:observability_request_change", args=[row.pk])


def listed(client: Client, address: str = LIST) -> list[str]:
    response = client.get(address)
    assert response.status_code == 200
    return [row.pk for row in response.context["rows"]]


def one(made: seed.Installation, status: str, **values: Any) -> Request:
    """A stored request with that outcome and its ledger entry."""
    dice = random.Random(1)
    while (row := seed.one_request(made.keys[0], timezone.now(), dice, made.prices)).status != status:
        pass
    for name, value in values.items():
        setattr(row, name, value)
    row.save(force_insert=True)
    if row.cost_nano_usd:
        LedgerEntry.objects.create(
            id=row.pk, request_id=row.pk, occurred_at=row.started_at, customer_id=row.customer_id,
            team_id=row.team_id, virtual_key_id=row.virtual_key_id, model=row.model, amount_nano_usd=row.cost_nano_usd,
        )  # fmt: skip
    return row


# --- who sees what ----------------------------------------------------------------------------------------------
def test_charlie_sees_nothing_of_alices(made: seed.Installation, rows: list[Request], client: Client) -> None:
    client.force_login(seed.member("charlie", customer=made.customers["Globex"]))
    text = client.get(LIST).content.decode()
    for foreign in ("Acme", "Initech", "ada@", "ada-laptop"):
        assert foreign not in text, foreign
    alices = next(row for row in rows if row.customer == "Acme")
    assert client.get(detail(alices)).status_code == 404
    team, key = alices.team_id, alices.virtual_key_id
    for search in (alices.pk, alices.session_id, alices.provider_request_id or "ada", f"&team={team}", f"&key={key}"):
        assert listed(client, f"{LIST}?range=7d&q={search}") == []
    assert Request.objects.filter(customer="Globex").exists()
    assert set(listed(client, f"{LIST}?range=7d")) <= {row.pk for row in rows if row.customer == "Globex"}


def test_a_team_lead_sees_the_team_and_not_its_neighbour(
    made: seed.Installation, rows: list[Request], client: Client
) -> None:
    client.force_login(seed.member("bob", team=made.teams["Acme/Core"]))
    teams = {row.pk: f"{row.customer}/{row.team}" for row in rows}
    assert {teams[pk] for pk in listed(client)} == {"Acme/Core"}


def test_without_permission_there_is_no_page(made: seed.Installation, rows: list[Request], client: Client) -> None:
    user = seed.member("alice", customer=made.customers["Acme"])
    user.user_permissions.clear()
    client.force_login(user)
    assert [client.get(page).status_code for page in (LIST, detail(rows[0]), "/admin/live/")] == [403, 403, 403]
    client.logout()
    assert [client.get(page).status_code for page in (LIST, detail(rows[0]), "/admin/live/")] == [302, 302, 302]


def test_nobody_adds_changes_or_deletes_a_row(rows: list[Request], client: Client, root: User) -> None:
    assert client.get(f"{LIST}add/").status_code == 403
    assert client.get(f"{LIST}{rows[0].pk}/delete/").status_code == 403
    assert client.post(f"{LIST}{rows[0].pk}/delete/", {"post": "yes"}).status_code == 403
    client.post(detail(rows[0]), {"cost_nano_usd": "0"})
    client.post(LIST, {"action": "delete_selected", "_selected_action": [rows[0].pk]})
    assert Request.objects.get(pk=rows[0].pk).cost_nano_usd == rows[0].cost_nano_usd


# --- the list ---------------------------------------------------------------------------------------------------
def test_pages_lead_through_every_row_once_and_back(rows: list[Request], client: Client, root: User) -> None:
    expected = [row.pk for row in sorted(rows, key=lambda row: (row.started_at, row.pk), reverse=True)]
    address, seen, pages = f"{LIST}?range=7d", [], []
    while address:
        response = client.get(address)
        page = [row.pk for row in response.context["rows"]]
        seen += page
        pages.append(page)
        older = response.context["links"]["older"]
        address = LIST + older if older else ""
    assert seen == expected
    newer = response.context["links"]["newer"]
    assert listed(client, LIST + newer) == pages[-2]


def test_no_query_counts_or_reads_the_whole_table(rows: list[Request], client: Client, root: User) -> None:
    with CaptureQueriesContext(connection) as queries:
        client.get(LIST)
    of_log = [query["sql"] for query in queries if 'FROM "observability_request"' in query["sql"]]
    assert of_log
    for sql in of_log:
        assert '"started_at" >=' in sql, sql
    assert len(queries) <= 20


def test_the_number_of_queries_does_not_grow_with_the_rows(
    made: seed.Installation, rows: list[Request], client: Client, root: User
) -> None:
    rollups.roll_up(limit=50)  # it grows with the models that are offered: here all of them from the beginning
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as queries:
            client.get(f"{LIST}?range=30d")
        counts.append(len(queries))
        seed.requests(made, timezone.now(), days=20, rows=200, seed=5)
        rollups.roll_up(limit=50)
    assert counts[0] == counts[1]
    with CaptureQueriesContext(connection) as queries:
        client.get(detail(rows[0]))
    assert len(queries) <= 14


def test_totals_are_those_of_the_rows(rows: list[Request], client: Client, root: User) -> None:
    for rolled in (False, True):
        if rolled:
            rollups.roll_up()
        for query in ("", "&status=error", "&model=opus", "&q=ada", f"&team={rows[0].team_id}"):
            response = client.get(f"{LIST}?range=7d{query}")
            wanted = log.LogQuery.parse(response.wsgi_request.GET, timezone.now())
            matching = list(log.matching(Request.objects.all(), wanted))
            totals = response.context["volume"].totals
            assert totals.requests == len(matching), query
            assert totals.cost_nano_usd == sum(row.cost_nano_usd for row in matching), query
            assert totals.errors == sum(row.status == "error" for row in matching), query


def test_a_search_finds_by_id_session_provider_id_and_name(
    made: seed.Installation, rows: list[Request], client: Client, root: User
) -> None:
    old = seed.one_request(made.keys[0], timezone.now() - timedelta(days=200), random.Random(2), made.prices)
    old.session_id = "11111111-2222-4333-8444-555555555555"
    old.save(force_insert=True)
    # An id is found whatever its age; everything else inside the range.
    assert listed(client, f"{LIST}?q={old.pk.lower()}") == [old.pk]
    assert listed(client, f"{LIST}?q={old.session_id}") == [old.pk]
    recent = next(row for row in rows if row.provider_request_id)
    assert listed(client, f"{LIST}?range=7d&q={recent.provider_request_id}") == [recent.pk]
    names = {row.developer for row in Request.objects.filter(pk__in=listed(client, f"{LIST}?range=7d&q=GRACE"))}
    assert names <= {"grace@acme.test"}


def test_active_filters_are_shown_and_each_can_be_removed(rows: list[Request], client: Client, root: User) -> None:
    chips = client.get(f"{LIST}?status=error&model=opus&range=7d").context["chips"]
    assert [(label, value) for label, value, _ in chips] == [
        ("Outcome", "Error"),
        ("Model contains", "opus"),
        ("Range", "Last 7 days"),
    ]
    assert chips[0][2] == "?model=opus&range=7d"


@pytest.mark.parametrize(
    "query",
    ["status=blue", "team=x", "team=99999999999999999999", "range=1y", "before=yesterday", "after=2026-13-01_x"],
)
def test_a_damaged_address_says_so_and_shows_the_newest(
    rows: list[Request], client: Client, root: User, query: str
) -> None:
    response = client.get(f"{LIST}?{query}")
    assert response.status_code == 200
    assert 'role="alert"' in response.content.decode()


def test_text_of_clients_is_escaped(made: seed.Installation, client: Client, root: User) -> None:
    row = one(made, "success", model="<script>alert(1)</script>", working_directory="<img src=x>", developer="<b>x")
    for page in (LIST, detail(row), "/admin/"):
        text = client.get(page).content.decode()
        assert "<script>alert(1)" not in text
        assert "<img src=x>" not in text
        assert "<b>x" not in text


# --- the detail -------------------------------------------------------------------------------------------------
def test_the_cost_proof_ties_to_the_ledger(rows: list[Request], client: Client, root: User) -> None:
    for row in rows:
        proof = prove(row)
        assert proof.ties, (row.pk, proof)
        assert proof.computed == row.cost_nano_usd
        assert bool(proof.lines) == bool(row.cost_nano_usd)
    paid = next(row for row in rows if row.cost_nano_usd)
    text = client.get(detail(paid)).content.decode()
    assert "Ties to the ledger: difference 0.00" in text
    assert reverse("admin:governance_price_change", args=[paid.price_id]) in text
    assert "Content: not stored." in text


@pytest.mark.parametrize("wrong", ["row", "no entry"])
def test_a_cost_that_does_not_tie_is_told(made: seed.Installation, client: Client, root: User, wrong: str) -> None:
    row = one(made, "success")
    if wrong == "row":
        Request.objects.filter(pk=row.pk).update(cost_nano_usd=row.cost_nano_usd + 1)
    else:
        row.pk = "01" + row.pk[2:][::-1]
        row.save(force_insert=True)
    text = client.get(detail(row)).content.decode()
    assert "Does not tie" in text
    assert "difference 0.00" not in text
    assert ("has no entry" in text) == (wrong == "no entry")


def test_a_later_price_does_not_change_an_old_proof(made: seed.Installation) -> None:
    row = one(made, "success")
    price = made.prices[row.model]
    price.pk, price._state.adding = None, True
    price.effective_from = row.started_at - timedelta(seconds=1)
    price.output *= 2
    price.save(force_insert=True)
    assert prove(row).ties


def test_a_refusal_says_which_budget_and_why(made: seed.Installation, client: Client, root: User) -> None:
    row = one(made, "refused")
    text = client.get(detail(row)).content.decode()
    assert "Why it was refused" in text
    assert "500.00 of 500.00 USD" in text
    assert "None: the request never left the gateway." in text
    assert "billing_error" in text


def test_an_unknown_id_is_not_found(client: Client, root: User) -> None:
    assert client.get(f"{LIST}01ARZ3NDEKTSV4RRFFQ69G5FAV/change/").status_code == 404


def test_a_keys_page_shows_its_last_requests(
    made: seed.Installation, rows: list[Request], client: Client, root: User
) -> None:
    key = next(key for key in made.keys if key.pk == rows[0].virtual_key_id)
    text = client.get(reverse("admin:governance_virtualkey_change", args=[key.pk])).content.decode()
    newest = max((row for row in rows if row.virtual_key_id == key.pk), key=lambda row: row.started_at)
    assert "Last 20 requests" in text
    assert detail(newest) in text


def test_the_live_page_carries_no_row_and_no_outside_address(rows: list[Request], client: Client, root: User) -> None:
    text = client.get("/admin/live/?status=error").content.decode()
    assert "https://" not in text
    assert rows[0].pk not in text
    assert '<option value="error" selected>' in text


def test_a_search_whose_time_is_up_says_how_far_it_came_and_goes_on_from_there(
    rows: list[Request], client: Client, root: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page looks through one stretch here; together they find every row that the whole search finds, once."""
    wanted = [row.pk for row in Request.objects.filter(status="success").order_by("-started_at", "-pk")]
    monkeypatch.setattr(log, "stretches", partial(stretches.stretches, seconds=0))
    address, found, told = f"{LIST}?status=success&range=7d", [], 0
    while address:
        response = client.get(address)
        found += [row.pk for row in response.context["rows"]]
        links = response.context["links"]
        told += "Searched from" in response.content.decode()
        assert bool(response.context["searched"]) == bool(links["further"])
        address = links["older"] and LIST + links["older"]
    assert found == wanted
    assert told > 10


def test_who_names_one_thing_finds_it_whatever_the_time(
    rows: list[Request], client: Client, root: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "stretches", partial(stretches.stretches, seconds=0))
    assert listed(client, f"{LIST}?q={rows[-1].pk}") == [rows[-1].pk]


def test_a_filtered_page_reads_the_log_by_an_index(
    made: seed.Installation, rows: list[Request], client: Client, root: User
) -> None:
    seed.requests(made, timezone.now(), days=20, rows=400, seed=9)
    row = rows[0]
    for asked in ("", f"team={row.team_id}", f"key={row.virtual_key_id}", "status=error", f"q={row.session_id}"):
        with CaptureQueriesContext(connection) as queries:
            client.get(f"{LIST}?range=90d&{asked}")
        pages = [q["sql"] for q in queries if 'FROM "observability_request"' in q["sql"] and "GROUP BY" not in q["sql"]]
        assert pages
        for sql in pages:
            assert "LIMIT" in sql
            assert "COUNT(" not in sql
            assert not any(step.startswith("SCAN observability_request") and "INDEX" not in step for step in plan(sql))


def plan(sql: str) -> list[str]:
    """The steps of SQLite's plan; none elsewhere, where a table this small is rightly read from end to end."""
    if connection.vendor != "sqlite":
        return []
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
        return [step for *_, step in cursor.fetchall()]


def test_a_target_that_was_passed_over_is_told(made: seed.Installation, root: User, client: Client) -> None:
    why = "was refused: rate limited (429); left alone until 12:00:05 UTC"
    row = one(made, "success", routing={"passed_over": [{"provider": "slow", "credential": "main", "why": why}]})
    assert f"slow (main) passed over: {why}" in client.get(detail(row)).content.decode()
