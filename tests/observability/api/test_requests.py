"""The request log over the API: names, order, filters, pages and who sees what."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ulid import ULID

from governance.models import KeySecret, VirtualKey
from observability.models import Request
from tests.governance.api.world import World, results, user_with

URL = "/api/v1/requests/"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)

SPEC_FIELDS = {
    "id", "started_at", "status", "http_status", "error_type", "error_message", "customer", "team",
    "project", "developer", "virtual_key", "session_id", "agent_id", "parent_agent_id", "prompt_id",
    "request_class", "client", "tags", "provider", "provider_credential", "region", "model_requested",
    "model", "route_rule", "attempts", "stream", "input_tokens", "output_tokens", "thinking_tokens",
    "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "web_searches",
    "cost_nano_usd", "cost_quality", "price_id", "latency_ms", "ttft_ms", "gateway_overhead_us", "cache",
    "stop_reason", "tool_calls", "lines_added", "lines_removed", "provider_request_id",
}  # fmt: skip


def add(world: World, at: datetime = NOON, **values: Any) -> Request:
    row = {
        "customer": "Acme", "customer_id": world.acme.pk, "team": "Core", "team_id": world.core.pk,
        "model": "claude-opus-5", "status": "success", "cost_nano_usd": 1_500, "http_status": 200,
    }  # fmt: skip
    return Request.objects.create(
        id=str(ULID.from_datetime(at)),
        started_at=at,
        finished_at=at + timedelta(seconds=2),
        **{**row, **values},
    )


def found(world: World, **query: Any) -> set[str]:
    return {row["id"] for row in results(world.alice.get(f"{URL}?{urlencode(query)}"))}


def test_a_row_has_the_fields_of_the_contract(world: World) -> None:
    row = add(world, NOON + timedelta(microseconds=5), tags={"env": "prod"}, attempts=[{"provider": "anthropic"}])
    (listed,) = results(world.alice.get(URL))
    assert set(listed).issuperset(SPEC_FIELDS)
    assert set(listed) == {field.attname for field in Request._meta.concrete_fields}
    assert listed["started_at"] == "2026-11-20T12:00:00.000005Z"
    assert listed["cost_nano_usd"] == 1_500
    assert isinstance(listed["cost_nano_usd"], int)
    assert listed["tags"] == {"env": "prod"}
    assert world.alice.get(f"{URL}{row.pk}/").json() == listed


def test_newest_first_and_ties_by_id(world: World) -> None:
    rows = [add(world, NOON + timedelta(seconds=second)) for second in (1, 3, 2, 3)]
    expected = [row.pk for row in sorted(rows, key=lambda row: (row.started_at, row.pk), reverse=True)]
    assert [row["id"] for row in results(world.alice.get(URL))] == expected


class TestWhoSees:
    def test_each_sees_only_their_own(self, world: World) -> None:
        core = add(world)
        web = add(world, team="Web", team_id=world.web.pk)
        ops = add(world, customer="Globex", customer_id=world.globex.pk, team="Ops", team_id=world.ops.pk)
        nobody = add(world, customer="", customer_id=None, team="", team_id=None)
        seen = {
            name: {row["id"] for row in results(getattr(world, name).get(URL))}
            for name in ("alice", "bob", "charlie", "root")
        }
        assert seen == {
            "alice": {core.pk, web.pk},
            "bob": {core.pk},
            "charlie": {ops.pk},
            "root": {core.pk, web.pk, ops.pk, nobody.pk},
        }

    def test_a_row_of_another_customer_is_not_found(self, world: World) -> None:
        row = add(world)
        assert world.charlie.get(f"{URL}{row.pk}/").status_code == 404
        assert results(world.charlie.get(f"{URL}?customer=Acme")) == []
        assert results(world.charlie.get(f"{URL}?id={row.pk}")) == []

    def test_without_a_token(self, world: World, client: Any) -> None:
        answer = client.get(URL)
        assert answer.status_code == 401
        assert "detail" in answer.json()

    def test_without_the_permission(self, world: World, client: Any) -> None:
        client.force_login(user_with("dave", customer=world.acme))
        answer = client.get(URL)
        assert answer.status_code == 403
        assert "observability.view_request" in answer.json()["detail"]

    def test_a_session_reads_too(self, world: World, client: Any) -> None:
        add(world)
        client.force_login(user_with("erin", "observability.view_request", customer=world.acme))
        assert len(results(client.get(URL))) == 1

    def test_nothing_writes(self, world: World) -> None:
        row = add(world)
        for method in ("post", "put", "patch", "delete"):
            for url in (URL, f"{URL}{row.pk}/"):
                assert getattr(world.root, method)(url, {}, format="json").status_code == 405


class TestFilters:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("status", "error"), ("error_type", "overloaded_error"), ("session_id", "s-1"),
            ("agent_id", "a-1"), ("prompt_id", "p-1"), ("request_class", "subagent"),
            ("client", "claude-cli/2.1.330"), ("provider", "simulated"), ("model", "claude-haiku-5-5"),
            ("model_requested", "haiku"),
            ("cost_quality", "unpriced"), ("http_status", 529), ("input_tokens", 7), ("price_id", 12),
            ("project", "billing"), ("developer", "ada@acme.test"), ("client_ip", "10.1.2.3"),
            ("cache", "hit_exact"), ("stop_reason", "refusal"), ("provider_request_id", "req_1"),
        ],
    )  # fmt: skip
    def test_by_field_name(self, world: World, field: str, value: Any) -> None:
        add(world)
        row = add(world, **{field: value})
        assert found(world, **{field: value}) == {row.pk}

    def test_true_and_false(self, world: World) -> None:
        streamed, whole = add(world, stream=True), add(world)
        assert found(world, stream="true") == {streamed.pk}
        assert found(world, stream="false") == {whole.pk}
        assert world.alice.get(f"{URL}?stream=perhaps").status_code == 400

    def test_by_time_and_amount(self, world: World) -> None:
        early, late = (
            add(world, NOON, cost_nano_usd=10),
            add(world, NOON + timedelta(hours=1), cost_nano_usd=20),
        )
        one = "2026-11-20T13:00:00Z"
        assert found(world, started_at__gte=one) == {late.pk}
        assert found(world, started_at__gt=one) == set()
        assert found(world, started_at__lte=one) == {early.pk, late.pk}
        assert found(world, started_at__lt=one) == {early.pk}
        assert found(world, started_at__gte="2026-11-20T14:00:00+01:00") == {late.pk}
        assert found(world, finished_at__gt=one) == {late.pk}
        assert found(world, cost_nano_usd__gte=11) == {late.pk}
        assert found(world, cost_nano_usd__lt=20, started_at__gte="2026-11-20T11:59:59Z") == {early.pk}

    def test_several_values(self, world: World) -> None:
        one, two = add(world, model="claude-opus-5"), add(world, model="claude-haiku-5-5")
        add(world, model="claude-sonnet-5-5")
        assert found(world, model__in="claude-opus-5,claude-haiku-5-5") == {one.pk, two.pk}

    def test_owners_by_name_or_id(self, world: World) -> None:
        core = add(world)
        web = add(world, team="Web", team_id=world.web.pk)
        assert found(world, team="Web") == {web.pk}
        assert found(world, team=world.core.pk) == {core.pk}
        assert found(world, team_id=world.core.pk) == {core.pk}
        assert found(world, customer="Acme") == {core.pk, web.pk}

    def test_key_by_name_public_id_or_id(self, world: World) -> None:
        key = VirtualKey.objects.create(team=world.core, name="ada-laptop")
        KeySecret.objects.create(virtual_key=key, public_id="Ab3dEf7h", digest="0" * 64)
        row = add(world, virtual_key="ada-laptop", virtual_key_id=key.pk)
        add(world, virtual_key="other", virtual_key_id=key.pk + 1)
        for name in ("ada-laptop", "sk-cmp-Ab3dEf7h", key.pk):
            assert found(world, virtual_key=name) == {row.pk}
        assert found(world, virtual_key="sk-cmp-00000000") == set()

    def test_a_whole_secret_in_the_address_is_refused(self, world: World) -> None:
        answer = world.alice.get(f"{URL}?virtual_key=sk-cmp-Ab3dEf7h-{'x' * 43}")
        assert answer.status_code == 400
        assert "rotate" in answer.json()["virtual_key"][0]
        assert "xxx" not in answer.content.decode()

    def test_tags(self, world: World) -> None:
        row = add(world, tags={"env": "prod", "a__gte": "x"})
        add(world, tags={"env": "dev"})
        add(world, tags={})
        assert found(world, tags="env=prod") == {row.pk}
        assert found(world, tags="env=prod,a__gte=x") == {row.pk}
        assert found(world, tags="env=prod,a__gte=y") == set()
        for wrong in ("env", "=prod", "1=x"):
            assert world.alice.get(f"{URL}?{urlencode({'tags': wrong})}").status_code == 400

    def test_an_unknown_filter_is_an_error_that_lists_the_known(self, world: World) -> None:
        answer = world.alice.get(f"{URL}?modle=claude-opus-5")
        assert answer.status_code == 400
        (sentence,) = answer.json()["modle"]
        assert all(name in sentence for name in ("model", "started_at__gte", "virtual_key", "page_size"))

    @pytest.mark.parametrize(
        "query",
        [
            "model=", "model=a&model=b", "status=fine", "started_at__gte=yesterday", "client_ip=here",
            "cost_nano_usd__gte=much", "page_size=0", "page_size=1001", "page_size=ten", "cursor=nonsense",
            "cursor=WyJuIl0", "cursor=WyJuIiwgMSwgMl0", "model=%00", "cost_nano_usd=NaN",
            "cost_nano_usd__gt=-1e999999999", "latency_ms=1e999999999",
        ],
    )  # fmt: skip
    def test_wrong_values_are_sentences(self, world: World, query: str) -> None:
        answer = world.alice.get(f"{URL}?{query}")
        assert answer.status_code == 400
        assert list(answer.json()) == [query.partition("=")[0]]

    def test_numbers_beyond_the_column_find_nothing(self, world: World) -> None:
        add(world)
        assert found(world, cost_nano_usd__gte=10**20) == set()
        assert found(world, team="9" * 18) == set()


class TestPages:
    def test_size_and_links(self, world: World) -> None:
        rows = [add(world, NOON - timedelta(seconds=n)).pk for n in range(5)]
        first = world.alice.get(f"{URL}?page_size=2&model=claude-opus-5").json()
        assert [row["id"] for row in first["results"]] == rows[:2]
        assert first["previous"] is None
        assert "model=claude-opus-5" in first["next"]
        second = world.alice.get(first["next"]).json()
        third = world.alice.get(second["next"]).json()
        assert [row["id"] for row in third["results"]] == rows[4:]
        assert third["next"] is None
        back = world.alice.get(third["previous"]).json()
        assert [row["id"] for row in back["results"]] == rows[2:4]
        start = world.alice.get(back["previous"]).json()
        assert [row["id"] for row in start["results"]] == rows[:2]
        assert start["previous"] is None

    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        seconds=st.lists(st.integers(0, 3), min_size=1, max_size=8),
        later=st.lists(st.integers(0, 6), max_size=8),
        size=st.integers(1, 3),
    )
    def test_stable_while_rows_arrive(self, world: World, seconds: list[int], later: list[int], size: int) -> None:
        """Whatever is inserted between two pages, each old row comes exactly once, in order."""
        Request.objects.all().delete()
        old = [add(world, NOON + timedelta(seconds=second)).pk for second in seconds]
        inserted, seen = list(later), []
        link = f"{URL}?page_size={size}"
        while link:
            page = world.alice.get(link).json()
            seen += [(row["started_at"], row["id"]) for row in page["results"]]
            link = page["next"]
            if inserted:
                add(world, NOON + timedelta(seconds=inserted.pop()))
        assert seen == sorted(set(seen), reverse=True)
        ids = [pk for _, pk in seen]
        assert sorted(pk for pk in ids if pk in old) == sorted(old)

    def test_a_cursor_opens_nothing_to_another_user(self, world: World) -> None:
        for n in range(3):
            add(world, NOON - timedelta(seconds=n))
        link = world.alice.get(f"{URL}?page_size=1").json()["next"]
        assert results(world.charlie.get(link)) == []

    def test_the_same_queries_whatever_the_size(self, world: World, django_assert_max_num_queries: Any) -> None:
        for n in range(30):
            add(world, NOON - timedelta(seconds=n))
        with django_assert_max_num_queries(5):
            assert len(results(world.alice.get(f"{URL}?page_size=30"))) == 30
