"""Request rows: every value arrives as it was, and no text can keep a row out."""

from __future__ import annotations

import msgspec
import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from observability import rows
from observability.models import Request
from observability.records import RequestRecord
from tests.observability.records import MORNING, a_record

pytestmark = pytest.mark.django_db


def test_the_record_has_exactly_the_columns_of_the_table() -> None:
    assert list(RequestRecord.__struct_fields__) == [field.attname for field in Request._meta.concrete_fields]


def test_every_value_arrives_as_it_was() -> None:
    record = a_record(
        project="Müller & Søn — 請求",
        working_directory="/home/ada/src/\\u0000 literal",
        tags={"k": "\\u0000 literal", "ü": "\U0001f600"},
        iterations=[{"type": "compaction", "usage": {"input_tokens": 3}}],
        cost_nano_usd=9_007_199_254_740_993,
        client_ip="2001:db8::1",
        stream=False,
        latency_ms=None,
        budget_decision=[{"budget": 1, "outcome": "ok"}],
    )
    rows.insert([record])
    stored = Request.objects.get(pk=record.id)
    assert {name: getattr(stored, name) for name in msgspec.structs.asdict(record)} == msgspec.structs.asdict(record)


def test_rows_that_are_there_stay_as_they_are() -> None:
    first = a_record(model="first")
    rows.insert([first])
    rows.insert([msgspec.structs.replace(first, model="second"), a_record()])
    assert Request.objects.count() == 2
    assert Request.objects.get(pk=first.id).model == "first"


@pytest.mark.parametrize("size", [1, 2, 127, 128, 129, 200])
def test_batches_of_every_size(size: int) -> None:
    rows.insert([a_record() for _ in range(size)])
    assert Request.objects.count() == size


def test_texts_are_made_to_fit() -> None:
    record = a_record(
        error_message="x\0y" * 10_000,
        session_id="s" * 500,
        team="T\udce4am",
        developer=None,
        tags={"a\0": ["b\0", {"c": "\udcff"}]},
        finished_at=None,
    )
    rows.insert([record])
    stored = Request.objects.get(pk=record.id)
    assert stored.error_message == ("xy" * 10_000)[: rows.MAX_TEXT]
    assert (stored.session_id, stored.team, stored.developer) == ("s" * 64, "T?am", "")
    assert stored.tags == {"a": ["b", {"c": "?"}]}
    assert stored.finished_at >= MORNING


def test_repair_names_what_it_changed_and_makes_the_row_acceptable() -> None:
    record = a_record(client_ip="not an address", http_status=70_000, web_searches=-3, input_tokens=1 << 70)
    assert sorted(rows.repair(record)) == ["client_ip", "http_status", "input_tokens", "web_searches"]
    rows.insert([record])
    stored = Request.objects.get(pk=record.id)
    assert (stored.client_ip, stored.web_searches, stored.input_tokens) == (None, 0, (1 << 63) - 1)


def test_repair_keeps_an_address_without_its_zone() -> None:
    record = a_record(client_ip="fe80::1%eth0")
    assert rows.repair(record) == ["client_ip"]
    assert record.client_ip == "fe80::1"


def test_repair_leaves_a_good_record_alone() -> None:
    record = a_record()
    before = msgspec.structs.asdict(record)
    assert rows.repair(record) == []
    assert msgspec.structs.asdict(record) == before


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(st.characters(exclude_categories=()), max_size=300),
    tags=st.dictionaries(
        st.text(st.characters(exclude_categories=()), max_size=20),
        st.text(st.characters(exclude_categories=()), max_size=20),
        max_size=3,
    ),
)
def test_no_text_keeps_a_row_out(text: str, tags: dict[str, str]) -> None:
    record = a_record(client=text, error_message=text, model=text, tags=tags)
    rows.insert([record])
    stored = Request.objects.get(pk=record.id)
    clean = text.replace("\0", "").encode("utf-8", "replace").decode()
    assert (stored.client, stored.error_message, stored.model) == (clean[:120], clean, clean[:200])


def test_one_statement_a_batch() -> None:
    statements: list[str] = []

    def watch(execute, sql, params, many, context):  # type: ignore[no-untyped-def]
        statements.append(sql)
        return execute(sql, params, many, context)

    if connection.vendor != "postgresql":
        pytest.skip("SQLite's driver is called directly.")
    with connection.execute_wrapper(watch):
        rows.insert([a_record() for _ in range(200)])
    assert len(statements) == 1
