"""The Admin API over real HTTP: pages, limits, failures, broken answers; what it asks for and what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest

from observability.reconciliation.client import AdminApi, Unreachable
from observability.reconciliation.parse import BadReport
from tests.fakes.admin_api import KEY, AdminApiFake, Answer, running

DAY = date(2026, 11, 18)


@pytest.fixture
def fake() -> Iterator[AdminApiFake]:
    with running() as fake:
        yield fake


def bucket(day: date, *results: dict[str, Any]) -> dict[str, Any]:
    after = day + timedelta(days=1)
    return {"starting_at": f"{day}T00:00:00Z", "ending_at": f"{after}T00:00:00Z", "results": list(results)}


def line(cents: str) -> dict[str, Any]:
    return {
        "currency": "USD", "amount": cents, "cost_type": "tokens", "token_type": "output_tokens",
        "model": "claude-opus-5-5", "workspace_id": None, "description": "d",
    }  # fmt: skip


def api(fake: AdminApiFake, waits: list[float], **values: Any) -> AdminApi:
    return AdminApi(fake.url, values.pop("key", KEY), pause=waits.append, **values)


def test_every_page_is_read_and_asked_for_as_documented(fake: AdminApiFake) -> None:
    fake.page_size = 2
    fake.cost = [bucket(DAY + timedelta(days=n), line(f"{n}.5")) for n in range(5)]
    report = api(fake, []).report("cost", DAY, DAY + timedelta(days=4))
    assert [lines[0].cents for lines in report.days.values()] == ["0.5", "1.5", "2.5", "3.5", "4.5"]
    assert len(report.sha256) == 64
    assert [dict(query).get("page") for _, query, _ in fake.asked] == [None, "page_2", "page_4"]
    path, query, headers = fake.asked[0]
    assert path == "/v1/organizations/cost_report"
    assert query == [
        ("starting_at", "2026-11-18T00:00:00Z"), ("ending_at", "2026-11-23T00:00:00Z"), ("bucket_width", "1d"),
        ("limit", "31"), ("group_by[]", "workspace_id"), ("group_by[]", "description"),
    ]  # fmt: skip
    assert (headers["x-api-key"], headers["anthropic-version"]) == (KEY, "2023-06-01")
    assert all(asked[2]["x-api-key"] == KEY for asked in fake.asked)


def test_limits_failures_and_broken_answers_are_tried_again(fake: AdminApiFake) -> None:
    fake.cost = [bucket(DAY, line("7"))]
    fake.out_of_turn = [
        Answer(429, headers={"retry-after": "3"}), Answer(529), Answer(500), Answer(200, b'{"data": [{"starti'),
    ]  # fmt: skip
    waits: list[float] = []
    report = api(fake, waits).report("cost", DAY, DAY)
    assert report.days[DAY][0].cents == "7"
    assert waits == [3.0, 2.0, 4.0, 8.0]


@pytest.mark.parametrize(
    ("answer", "words"),
    [(Answer(503), "answered 503"), (Answer(200, b"<html>"), "cannot be used: This is not JSON")],
)
def test_it_gives_up_after_five_tries(fake: AdminApiFake, answer: Answer, words: str) -> None:
    fake.out_of_turn = [answer] * 9
    with pytest.raises(Unreachable, match=words):
        api(fake, []).report("cost", DAY, DAY)
    assert len(fake.asked) == 5


def test_a_wrong_key_and_a_wrong_address_are_not_tried_again(fake: AdminApiFake) -> None:
    waits: list[float] = []
    with pytest.raises(Unreachable, match="does not know the admin key") as caught:
        api(fake, waits, key="sk-ant-api03-no-admin").report("usage", DAY, DAY)
    assert "sk-ant-api03" not in str(caught.value)
    fake.out_of_turn = [Answer(403)]
    with pytest.raises(Unreachable, match="may not read"):
        api(fake, waits).report("usage", DAY, DAY)
    assert (waits, len(fake.asked)) == ([], 2)


def test_a_report_of_another_shape_is_refused_at_once(fake: AdminApiFake) -> None:
    fake.cost = [bucket(DAY, {**line("7"), "currency": "EUR"})]
    waits: list[float] = []
    with pytest.raises(BadReport, match="Only US dollars"):
        api(fake, waits).report("cost", DAY, DAY)
    assert waits == []


def test_pages_without_end_and_days_not_asked_for(fake: AdminApiFake) -> None:
    fake.out_of_turn = [Answer(200, b'{"data": [], "has_more": true, "next_page": "page_0"}')] * 3
    with pytest.raises(BadReport, match="does not end"):
        api(fake, []).report("cost", DAY, DAY)
    other = {"data": [bucket(date(2026, 1, 1))], "has_more": False}
    fake.out_of_turn = [Answer(200, json.dumps(other).encode())]
    with pytest.raises(BadReport, match="was not asked for"):
        api(fake, []).report("cost", DAY, DAY)


def test_nobody_listens() -> None:
    with pytest.raises(Unreachable, match="cannot be reached"):
        AdminApi("http://127.0.0.1:9", KEY, tries=2, pause=lambda _: None).report("cost", DAY, DAY)


def test_the_key_is_in_no_repr() -> None:
    assert KEY not in repr(AdminApi("http://127.0.0.1:9", KEY))
