"""Every page of the admin opens, and no input on it is left without unfold's style."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from governance.models import AuditEntry, Customer, Membership
from governance.services.audit import record
from tests.governance.admin.conftest import Tenant, sign_in

pytestmark = pytest.mark.usefixtures("acme", "installation")

MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)
IDS = [model._meta.label for model in MODELS]


class Inputs(HTMLParser):
    """The inputs of the page's forms that a person sees."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in {"input", "select", "textarea"} and values.get("type") not in {"hidden", "submit"}:
            self.seen.append({"tag": tag, **values})


def page(model: Any, kind: str, *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{kind}", args=args)


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_list_opens(root: Client, model: Any) -> None:
    assert root.get(page(model, "changelist")).status_code == 200


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_search_opens(root: Client, model: Any) -> None:
    if admin.site._registry[model].search_fields:
        assert root.get(page(model, "changelist"), {"q": "acme"}).status_code == 200


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_add_page_opens_with_visible_inputs(root: Client, model: Any) -> None:
    response = root.get(page(model, "add"))
    if response.status_code == 403:
        assert not admin.site._registry[model].has_add_permission(response.wsgi_request)
        return
    assert response.status_code == 200
    assert_styled(response.content.decode())


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_change_page_opens_with_visible_inputs(root: Client, model: Any) -> None:
    row = model._default_manager.first()
    assert row is not None, "the installation fixture has no such row"
    response = root.get(page(model, "change", row.pk))
    assert response.status_code == 200
    assert_styled(response.content.decode())


def assert_styled(html: str) -> None:
    inputs = Inputs()
    inputs.feed(html)
    # The trash can of an inline row is drawn around its checkbox, which has no look of its own.
    named = [
        field
        for field in inputs.seen
        if (field.get("name") or "") not in {"", "s", "action"} and not (field["name"] or "").endswith("-DELETE")
    ]
    # Unfold draws borders with classes alone: an input without any is white on white. (It has a stylesheet for
    # autocompletes.)
    styled = [(field.get("class") or "").split() for field in named]
    unstyled = [
        field["name"]
        for field, has in zip(named, styled, strict=True)
        if len(has) < 2 and has != ["admin-autocomplete"]
    ]
    assert unstyled == []


@pytest.mark.parametrize("role", ["Platform admin", "Finance", "Team lead", "Auditor"])
def test_index_and_navigation_show_a_role_only_what_it_may_open(acme: Tenant, role: str) -> None:
    from tests.governance.admin.conftest import sign_in

    client = sign_in("somebody", role=role, customer=acme.customer)
    html = client.get(reverse("admin:governance_budget_changelist")).content.decode()
    for model in MODELS:
        link = page(model, "changelist")
        if f'href="{link}"' in html:
            assert client.get(link).status_code == 200, f"{role} sees a link to {link}"
    assert (reverse("admin:auth_user_changelist") in html) == (role in {"Platform admin", "Auditor"})


def test_lists_of_tenants_cost_a_fixed_number_of_queries(root: Client, acme: Tenant, globex: Tenant) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from governance.services import keys

    def queries(url: str) -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            assert root.get(url).status_code == 200
        return len(captured)

    urls = [page(model, "changelist") for model in (Customer, type(acme.team), type(acme.key), type(acme.developer))]
    before = [queries(url) for url in urls]
    for number in range(5):
        keys.issue_key(team=acme.team, name=f"more-{number}", developer=acme.developer, actor=None)
    assert [queries(url) for url in urls] == before


def test_a_save_is_one_audit_entry_with_old_and_new(root: Client, acme: Tenant) -> None:
    url = page(Customer, "change", acme.customer.pk)
    form = {
        "name": "Acme Corp", "contact": "", "is_active": "on", "timezone": "UTC", "currency_display": "USD",
        "content_policy": "off", "unpriced_policy": "charge", "emergency_reserve_nano_usd": "0",
        "memberships-TOTAL_FORMS": "0", "memberships-INITIAL_FORMS": "0",
    }  # fmt: skip
    before = AuditEntry.objects.count()
    assert root.post(url, form).status_code == 302
    assert root.post(url, form).status_code == 302
    assert AuditEntry.objects.count() == before + 1
    entry = AuditEntry.objects.first()
    assert entry is not None
    assert (entry.action, entry.actor_name, entry.ip) == ("customer.changed", "root", "127.0.0.1")
    assert entry.changes == {"name": ["Acme", "Acme Corp"]}


def test_the_trail_names_a_command_as_the_actor(root: Client, acme: Tenant) -> None:
    record(actor=None, actor_name="manage.py apply", action="customer.seen", target=acme.customer)
    shown = root.get(reverse("admin:governance_auditentry_changelist")).content.decode()
    assert "manage.py apply" in shown


def test_membership_and_role_of_a_user_are_audited(root: Client, acme: Tenant) -> None:
    user = User.objects.create_user("dana", password="a-long-password-1")
    group = Group.objects.get(name="Finance")
    form = {
        "username": "dana", "is_active": "on", "is_staff": "on", "groups": [group.pk], "first_name": "",
        "last_name": "", "email": "", "memberships-TOTAL_FORMS": "1", "memberships-INITIAL_FORMS": "0",
        "memberships-0-customer": acme.customer.pk, "memberships-0-team": "", "memberships-0-user": user.pk,
    }  # fmt: skip
    response = root.post(page(User, "change", user.pk), form)
    assert response.status_code == 302, response.context["errors"]
    assert Membership.objects.filter(user=user, customer=acme.customer, team=None).exists()
    actions = set(AuditEntry.objects.filter(actor_name="root").values_list("action", flat=True))
    assert {"user.changed", "membership.created", "user.roles_changed"} <= actions
    entry = AuditEntry.objects.get(action="user.roles_changed")
    assert entry.changes == {"groups": [[], ["Finance"]]}


def test_the_bare_address_leads_to_the_admin(root: Client) -> None:
    assert root.get("/", follow=True).redirect_chain == [("/admin/", 302)]


def test_pages_that_are_not_there_or_not_allowed_lead_back(root: Client) -> None:
    missing = root.get("/admin/<nothing>/")
    assert missing.status_code == 404
    assert "&lt;nothing&gt;" in missing.content.decode()
    auditor = sign_in("audrey", role="Auditor")
    refused = auditor.get(reverse("admin:governance_budget_add"))
    assert refused.status_code == 403
    assert "audrey" in refused.content.decode()
    for page_shown in (missing, refused):
        assert f'href="{reverse("admin:index")}"' in page_shown.content.decode()


def test_a_client_without_the_prefix_is_told_the_address() -> None:
    """A 404 would make Claude Code say that the model does not exist."""
    outside = Client(enforce_csrf_checks=True)
    for path in ("/v1/messages?beta=true", "/v1/messages/count_tokens"):
        answer = outside.post(path, b"{}", content_type="application/json")
        assert answer.status_code == 400
        assert "/anthropic" in answer.json()["error"]["message"]
    assert outside.get("/v1/messages-else").status_code == 404
