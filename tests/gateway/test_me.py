"""/me/: a developer sees what is theirs and asks for more; Charlie sees nothing of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from ulid import ULID

from gateway.me.standing import developers_of
from governance.models import Budget, Developer, KeyActivity, Raise
from governance.services import budgets, keys, raises, tenants
from observability.models import Request
from tests.governance.raising import USD, Company, company, person, spend

HOME, ASK = "/me/", "/me/raises/"


@dataclass
class Me:
    acme: Company
    ada: User
    record: Developer
    secret: str
    own: Budget
    client: Client


def login(name: str, acme: Company, *, email: str = "") -> User:
    user = User.objects.create_user(name, email=email, password=f"{name}-password-1")
    user.groups.add(Group.objects.get(name="Developer"))
    tenants.add_membership(user=user, customer=acme.acme, team=acme.core, actor=None)
    return user


@pytest.fixture
def me(db: None) -> Me:
    acme = company()
    ada = login("ada", acme, email="Ada@Acme.test")
    record = tenants.create_developer(customer=acme.acme, team=acme.core, email="ada@acme.test", actor=None)
    acme.key, secret = keys.issue_key(team=acme.core, name="ada-laptop", developer=record, actor=None)
    own = budgets.create_budget(target=record, limit_nano_usd=30 * USD, actor=None)
    client = Client()
    client.force_login(ada)
    return Me(acme, ada, record, str(secret), own, client)


def text_of(answer: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode())).replace("&quot;", '"')


def request_row(me: Me, **values: Any) -> Request:
    now = timezone.now()
    return Request.objects.create(
        **{
            "id": str(ULID()), "started_at": now, "finished_at": now, "status": "success", "http_status": 200,
            "virtual_key_id": me.acme.key.pk, "virtual_key": "ada-laptop", "session_id": "s-1", "cost_nano_usd": USD,
            **values,
        }
    )  # fmt: skip


def test_a_developer_signs_in_without_being_staff(me: Me) -> None:
    client = Client()
    assert client.get(HOME).url == "/me/login/?next=/me/"
    wrong = client.post("/me/login/", {"username": "ada", "password": "no", "next": HOME})
    assert "correct username and password" in text_of(wrong)
    assert client.post("/me/login/", {"username": "ada", "password": "ada-password-1", "next": HOME}).url == HOME
    assert client.get(HOME).status_code == 200
    assert client.get("/admin/").status_code == 302
    assert client.post("/me/login/", {"username": "ada", "password": "ada-password-1",
                                      "next": "https://evil.test/"}).url == HOME  # fmt: skip
    assert client.post("/me/logout/").url == "/me/login/"
    assert client.get(HOME).status_code == 302


def test_the_page_says_what_is_left_and_until_when(me: Me) -> None:
    spend(me.acme.key, 12 * USD)
    KeyActivity.objects.create(virtual_key=me.acme.key, last_used_at=timezone.now())
    request_row(me)
    request_row(me, cost_nano_usd=2 * USD)
    request_row(me, status="refused", http_status=429, cost_nano_usd=0, error_message="Budget “x” is spent.")
    seen = text_of(me.client.get(HOME))
    assert "You can send requests. $18.00 left until" in seen
    assert "by “ada@acme.test per month”" in seen
    assert "ada-laptop sk-cmp-" in seen
    assert "Acme / Core per month" in seen
    assert "$88.00 left" in seen
    assert "Budget “x” is spent." in seen
    assert re.search(r"s-1 \d\d-\d\d \d\d:\d\d 3 3.00", seen)
    assert "ANTHROPIC_BASE_URL=" in seen
    assert "ANTHROPIC_AUTH_TOKEN=YOUR_VIRTUAL_KEY" in seen
    assert "/openai/v1 export OPENAI_API_KEY=YOUR_VIRTUAL_KEY" in seen
    assert "AWS_BEARER_TOKEN_BEDROCK=YOUR_VIRTUAL_KEY" in seen
    assert "/vertex export CLAUDE_CODE_SKIP_VERTEX_AUTH=1" in seen


def test_spend_of_today_and_of_the_month_are_the_persons_own(me: Me) -> None:
    spend(me.acme.key, 3 * USD)
    other, _ = keys.issue_key(team=me.acme.core, name="other", actor=None)
    spend(other, 40 * USD)
    standing = me.client.get(HOME).context["standing"]
    assert (standing.today, standing.month) == (3 * USD, 3 * USD)


def test_a_secret_is_on_no_page(me: Me) -> None:
    page = me.client.get(HOME).content.decode()
    assert me.secret not in page
    assert me.secret.rpartition("-")[2] not in page


def test_who_is_blocked_is_told_why_and_asks(me: Me) -> None:
    spend(me.acme.key, 30 * USD)
    assert "You cannot send requests. Blocked by developer budget" in text_of(me.client.get(HOME))
    form = {"budget": me.own.pk, "amount": "12.50", "ends_at": "", "reason": "release week"}
    done = me.client.post(ASK, form, follow=True)
    assert "Asked for $12.50 more" in text_of(done)
    assert "Waiting" in text_of(done)
    row = Raise.objects.get()
    assert (row.requester, row.budget, row.amount_nano_usd) == (me.ada, me.own, 12_500_000_000)
    assert row.ends_at == raises.offered_end(me.own, timezone.now())
    raises.approve(row=row, actor=me.acme.fay, note="go on")
    seen = text_of(me.client.get(HOME))
    assert "You can send requests. $12.50 left" in seen
    assert "approved by fay: “go on”" in seen


def test_an_own_request_is_withdrawn_and_no_other(me: Me) -> None:
    theirs = raises.request(
        budget=me.acme.core_month, amount_nano_usd=USD, reason="r", requester=me.acme.lee,
        ends_at=timezone.now() + timedelta(days=1),
    )  # fmt: skip
    assert me.client.post(f"/me/raises/{theirs.pk}/withdraw/").status_code == 404
    me.client.post(ASK, {"budget": me.own.pk, "amount": "1", "ends_at": "", "reason": "r"})
    mine = Raise.objects.get(requester=me.ada)
    assert me.client.get(f"/me/raises/{mine.pk}/withdraw/").status_code == 405
    me.client.post(f"/me/raises/{mine.pk}/withdraw/")
    mine.refresh_from_db()
    assert mine.status == "withdrawn"
    assert "already decided" in text_of(me.client.post(f"/me/raises/{mine.pk}/withdraw/", follow=True))


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"amount": "0"}, None),
        ({"amount": "much"}, "amount"),
        ({"reason": ""}, "reason"),
        ({"ends_at": "2020-01-01T00:00"}, "ends_at"),
        ({"budget": "999999"}, "budget"),
    ],
)
def test_a_refused_form_stays(me: Me, values: dict[str, str], field: str | None) -> None:
    form = {"budget": str(me.own.pk), "amount": "5", "ends_at": "", "reason": "release week", **values}
    answer = me.client.post(ASK, form)
    assert answer.status_code == 400
    assert list(answer.context["form"].errors) == [field or "__all__"]
    assert not Raise.objects.exists()


def test_only_budgets_that_are_ones_own_can_be_asked_for(me: Me) -> None:
    """The whole customer's is shown and not offered; another team's is neither."""
    offered = set(me.client.get(HOME).context["form"].statuses)
    assert offered == {me.own.pk, me.acme.core_month.pk}
    for budget in (me.acme.whole, me.acme.web_month):
        answer = me.client.post(ASK, {"budget": budget.pk, "amount": "1", "ends_at": "", "reason": "r"})
        assert "budget" in answer.context["form"].errors
    assert "Web per month" not in text_of(me.client.get(HOME))


def test_a_lifetime_budget_needs_a_day(me: Me) -> None:
    lifetime = budgets.create_budget(target=me.record, limit_nano_usd=USD, period="lifetime", actor=None)
    form = {"budget": lifetime.pk, "amount": "1", "ends_at": "", "reason": "r"}
    assert "ends_at" in me.client.post(ASK, form).context["form"].errors
    day = timezone.now() + timedelta(days=3)
    assert me.client.post(ASK, form | {"ends_at": f"{day:%Y-%m-%dT12:00}"}).status_code == 302
    assert f"{Raise.objects.get().ends_at.astimezone(lifetime_zone(lifetime)):%H:%M}" == "12:00"


def lifetime_zone(budget: Budget) -> Any:
    from zoneinfo import ZoneInfo

    return ZoneInfo(budget.customer.timezone)


def test_no_more_than_ten_wait(me: Me) -> None:
    form = {"budget": me.own.pk, "amount": "1", "ends_at": "", "reason": "r"}
    codes = [me.client.post(ASK, form).status_code for _ in range(11)]
    assert codes == [302] * 10 + [400]


def test_charlie_sees_nothing(me: Me) -> None:
    """Neither with Ada's address at another customer, nor as a teammate without it."""
    me.client.post(ASK, {"budget": me.own.pk, "amount": "1", "ends_at": "", "reason": "secret project"})
    charlie = me.acme.charlie
    User.objects.filter(pk=charlie.pk).update(email="ada@acme.test")
    bob = login("bob", me.acme, email="bob@acme.test")
    nameless = login("nobody", me.acme)
    Developer.objects.create(customer=me.acme.acme, email="x@acme.test")
    for user in (charlie, bob, nameless):
        client = Client()
        client.force_login(user)
        seen = client.get(HOME).content.decode()
        assert "no developer record is yours" in seen
        assert not re.search(r"ada-laptop|Core|secret project|Acme /", seen)
        form = {"budget": me.own.pk, "amount": "1", "ends_at": "", "reason": "r"}
        assert client.post(ASK, form).status_code == 400
        assert client.post(f"/me/raises/{Raise.objects.get().pk}/withdraw/").status_code == 404
    assert Raise.objects.get().status == "requested"


def test_a_record_that_has_a_login_is_nobody_elses(me: Me) -> None:
    Developer.objects.filter(pk=me.record.pk).update(user=me.acme.lee)
    assert developers_of(me.ada) == []
    assert developers_of(me.acme.lee) == [me.record]


def test_finance_without_keys_gets_a_page_too(me: Me) -> None:
    client = Client()
    client.force_login(person("dora", "Finance", me.acme.acme))
    assert "no developer record is yours" in client.get(HOME).content.decode()
    assert "/admin/" in client.get(HOME).content.decode()
    assert reverse("me:home") == HOME


def test_the_page_costs_few_queries_whatever_one_has(me: Me, django_assert_max_num_queries: Any) -> None:
    for number in range(8):
        keys.issue_key(team=me.acme.core, name=f"k{number}", developer=me.record, actor=None)
        budgets.create_budget(target=me.record, limit_nano_usd=USD, actor=None)
        request_row(me, session_id=f"s{number}")
    with django_assert_max_num_queries(40):
        me.client.get(HOME)


def test_a_blocked_model_blocks_no_other(me: Me) -> None:
    budgets.create_budget(target=me.record, limit_nano_usd=0, model_patterns=["claude-opus-*"], actor=None)
    seen = text_of(me.client.get(HOME))
    assert "You cannot send" not in seen
    assert "You can send requests, not all. Blocked for claude-opus-* by developer budget" in seen
    assert "Everything else works. $30.00 left until" in seen
    assert "▲ Works partly" in seen


@pytest.mark.parametrize("how", ["no membership", "switched off"])
def test_who_has_left_sees_nothing(me: Me, how: str) -> None:
    Developer.objects.filter(pk=me.record.pk).update(user=me.ada)
    me.client.post(ASK, {"budget": me.own.pk, "amount": "1", "ends_at": "", "reason": "secret project"})
    if how == "no membership":
        me.ada.memberships.all().delete()
    else:
        Developer.objects.filter(pk=me.record.pk).update(is_active=False)
    seen = me.client.get(HOME).content.decode()
    assert "no developer record is yours" in seen
    assert not re.search(r"ada-laptop|Core|secret project|Acme /", seen)
    form = {"budget": me.own.pk, "amount": "1", "ends_at": "", "reason": "r"}
    assert me.client.post(ASK, form).status_code == 400


def test_a_hard_budget_near_its_limit_says_that_a_dear_request_may_be_refused(me: Me) -> None:
    spend(me.acme.key, 27_310_000_000)
    told = "A request may be refused when it could cost more than the $2.69 left."
    assert told not in text_of(me.client.get(HOME))
    Budget.objects.filter(pk=me.own.pk).update(enforcement="hard")
    answer = me.client.get(HOME)
    assert told in text_of(answer)
    assert answer.context["state"] == "at_risk"
    Budget.objects.filter(pk=me.own.pk).update(limit_nano_usd=100 * USD)
    assert "may be refused" not in text_of(me.client.get(HOME))


def test_a_developer_is_told_to_ask_not_to_raise(me: Me) -> None:
    spend(me.acme.key, 30 * USD)
    seen = text_of(me.client.get(HOME))
    assert "; or ask for more below." in seen
    assert "raise its limit" not in seen
    Budget.objects.exclude(scope="customer").delete()
    Budget.objects.update(limit_nano_usd=0)
    seen = text_of(me.client.get(HOME))
    assert "Blocked by customer budget" in seen
    assert "ask for more below" not in seen
