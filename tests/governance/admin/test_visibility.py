"""Charlie is refused everywhere: lists, pages, choices, autocomplete, filters, search and actions."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from ulid import ULID

from governance.models import (
    AuditEntry,
    Budget,
    Customer,
    Developer,
    LedgerEntry,
    Membership,
    PriceOverride,
    Team,
    VirtualKey,
)
from tests.governance.admin.conftest import Tenant, sign_in


def page(row: Any, kind: str, *args: Any) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_{kind}", args=args)


def test_lists_show_alice_hers_and_nothing_to_charlie(
    alice: Client, bob: Client, charlie: Client, acme: Tenant, globex: Tenant
) -> None:
    for row in acme.rows:
        for client in (alice, bob):
            assert "Acme" in client.get(page(row, "changelist")).content.decode(), row
        assert "Acme" not in charlie.get(page(row, "changelist")).content.decode(), row
        assert "Globex" in charlie.get(page(row, "changelist")).content.decode(), row


def test_a_team_lead_sees_the_teams_part_of_a_customers_spend(acme: Tenant, alice: Client) -> None:
    other = Team.objects.create(customer=acme.customer, name="Acme apps")
    for team, dollars in ((acme.team, 7), (other, 4000)):
        LedgerEntry.objects.create(
            id=str(ULID()), occurred_at=timezone.now(), customer_id=acme.customer.pk, team_id=team.pk,
            virtual_key_id=acme.key.pk, model="claude-opus-5-5", amount_nano_usd=dollars * 10**9,
        )  # fmt: skip
    Budget.objects.create(scope="customer", customer=acme.customer, limit_nano_usd=5000 * 10**9)
    lead = sign_in("lena", role="Team lead", customer=acme.customer, team=acme.team)
    seen = lead.get(page(acme.customer, "changelist")).content.decode()
    assert "7.00" in seen
    assert "4,007.00" not in seen
    assert "5,000.00" not in seen


def test_a_page_of_another_customer_is_not_there(charlie: Client, alice: Client, acme: Tenant) -> None:
    for row in acme.rows:
        assert alice.get(page(row, "change", row.pk)).status_code == 200
        for kind in ("change", "delete", "history"):
            response = charlie.get(page(row, kind, row.pk))
            assert response.status_code in {302, 403, 404}, (row, kind)
            assert "Acme" not in response.content.decode()


def test_key_actions_are_not_there_for_another_customer(charlie: Client, acme: Tenant) -> None:
    for action in ("rotate", "revoke"):
        url = reverse(f"admin:governance_virtualkey_{action}", args=[acme.key.pk])
        assert charlie.get(url).status_code == 404
        assert charlie.post(url, {"reason": "mine now", "overlap": "0"}).status_code == 404
    acme.key.refresh_from_db()
    assert acme.key.revoked_at is None
    assert acme.key.secrets.count() == 1


def test_list_actions_do_not_reach_beyond_what_is_listed(charlie: Client, acme: Tenant) -> None:
    for row in (acme.customer, acme.team, acme.project, acme.developer):
        data = {"action": "switch_off", "_selected_action": [row.pk]}
        charlie.post(page(row, "changelist"), data)
        row.refresh_from_db()
        assert row.is_active
    charlie.post(
        page(acme.budget, "changelist"),
        {"action": "delete_selected", "_selected_action": [acme.budget.pk], "post": "yes"},
    )
    assert Budget.objects.filter(pk=acme.budget.pk).exists()


def autocomplete(client: Client, model: type, field: str, term: str = "") -> list[str]:
    response = client.get(
        reverse("admin:autocomplete"),
        {"app_label": "governance", "model_name": model.__name__.lower(), "field_name": field, "term": term},
    )
    assert response.status_code == 200
    return [result["text"] for result in response.json()["results"]]


@pytest.mark.parametrize(
    ("model", "field"),
    [
        (VirtualKey, "team"),
        (VirtualKey, "developer"),
        (VirtualKey, "project"),
        (Budget, "customer"),
        (Budget, "virtual_key"),
        (Team, "customer"),
    ],
)
def test_autocomplete_offers_only_ones_own(
    alice: Client, charlie: Client, acme: Tenant, globex: Tenant, model: type, field: str
) -> None:
    assert all("Acme" in text for text in autocomplete(alice, model, field))
    offered = autocomplete(charlie, model, field)
    assert offered
    assert all("Globex" in text for text in offered)
    assert autocomplete(charlie, model, field, "acme") == []


def test_filters_name_only_ones_own(charlie: Client, acme: Tenant, globex: Tenant) -> None:
    for row in (acme.team, acme.project, acme.developer, acme.key, acme.budget):
        html = charlie.get(page(row, "changelist")).content.decode()
        assert "Globex" in html
        assert "Acme" not in html


def test_a_foreign_row_cannot_be_posted_into_a_form(charlie: Client, acme: Tenant, globex: Tenant) -> None:
    """The choices are checked, not only hidden."""
    posted = {"team": acme.team.pk, "name": "stolen", "developer": "", "project": "", "lifetime": ""}
    response = charlie.post(reverse("admin:governance_virtualkey_add"), posted)
    assert response.status_code == 200
    assert "team" in response.context["adminform"].form.errors
    posted = {"team": globex.team.pk, "name": "mixed", "developer": acme.developer.pk, "project": "", "lifetime": ""}
    response = charlie.post(reverse("admin:governance_virtualkey_add"), posted)
    assert "developer" in response.context["adminform"].form.errors
    assert not VirtualKey.objects.filter(name__in=["stolen", "mixed"]).exists()


def test_a_team_lead_writes_nothing_for_the_whole_customer(bob: Client, acme: Tenant) -> None:
    other = Team.objects.create(customer=acme.customer, name="Other")
    assert "Other" not in bob.get(page(acme.team, "changelist")).content.decode()
    form = {"customer": acme.customer.pk, "team": "", "email": "new@acme.test", "name": "", "is_active": "on"}
    url = reverse("admin:governance_developer_add")
    refused = bob.post(url, form, follow=True)
    assert "reaches beyond the customers and teams" in refused.content.decode()
    assert bob.post(url, form | {"team": other.pk}).status_code == 200
    assert not Developer.objects.filter(email="new@acme.test").exists()
    assert bob.post(url, form | {"team": acme.team.pk}).status_code == 302
    assert Developer.objects.get(email="new@acme.test").team == acme.team


def test_who_sees_one_team_does_not_change_the_customer(acme: Tenant) -> None:
    from tests.governance.admin.conftest import sign_in

    client = sign_in("dora", role="Platform admin", customer=acme.customer, team=acme.team)
    client.post(page(acme.customer, "change", acme.customer.pk), {"name": "Mine"})
    assert Customer.objects.get(pk=acme.customer.pk).name == "Acme"


def test_the_audit_trail_shows_only_ones_own(charlie: Client, alice: Client, acme: Tenant) -> None:
    url = reverse("admin:governance_auditentry_changelist")
    assert "Acme-laptop" in alice.get(url).content.decode()
    assert "Acme" not in charlie.get(url).content.decode()
    entry = AuditEntry.objects.filter(customer_id=acme.customer.pk).first()
    assert entry is not None
    assert charlie.get(page(entry, "change", entry.pk)).status_code == 302


def test_the_auditor_reads_everything_and_changes_nothing(acme: Tenant, installation: dict[str, Any]) -> None:
    from tests.governance.admin.conftest import sign_in

    auditor = sign_in("audrey", role="Auditor", customer=acme.customer)
    for row in [*acme.rows, *(installation[name] for name in ("provider", "price", "proposal"))]:
        assert auditor.get(page(row, "changelist")).status_code == 200
        assert auditor.get(page(row, "change", row.pk)).status_code == 200
        assert auditor.post(page(row, "change", row.pk), {}).status_code == 403
        assert auditor.get(page(row, "add")).status_code == 403
        assert auditor.post(page(row, "delete", row.pk), {"post": "yes"}).status_code == 403
    for action in ("rotate", "revoke"):
        assert auditor.get(reverse(f"admin:governance_virtualkey_{action}", args=[acme.key.pk])).status_code == 403


def test_nobody_edits_the_audit_trail(root: Client, acme: Tenant) -> None:
    entry = AuditEntry.objects.first()
    assert entry is not None
    for kind, args in (("add", []), ("delete", [entry.pk])):
        assert root.post(page(entry, kind, *args), {"post": "yes"}).status_code == 403
    assert root.post(page(entry, "change", entry.pk), {"note": "x"}).status_code == 403
    assert "_selected_action" not in root.get(page(entry, "changelist")).content.decode()


class TestPeople:
    """A platform admin of one customer gains nothing over another's people."""

    def test_sees_only_people_of_hers(self, alice: Client, charlie: Client) -> None:
        html = alice.get(reverse("admin:auth_user_changelist")).content.decode()
        assert "charlie" not in html
        user = User.objects.get(username="charlie")
        assert alice.get(reverse("admin:auth_user_change", args=[user.pk])).status_code == 302
        assert alice.get(reverse("admin:auth_user_password_change", args=[user.pk])).status_code == 404

    def test_somebody_who_also_sees_another_customer_is_out_of_reach(
        self, alice: Client, acme: Tenant, globex: Tenant
    ) -> None:
        both = User.objects.create_user("both")
        Membership.objects.create(user=both, customer=acme.customer)
        assert alice.get(reverse("admin:auth_user_change", args=[both.pk])).status_code == 200
        Membership.objects.create(user=both, customer=globex.customer)
        assert alice.get(reverse("admin:auth_user_change", args=[both.pk])).status_code == 302

    def test_makes_nobody_a_superuser(self, alice: Client, acme: Tenant) -> None:
        mate = User.objects.create_user("mate")
        Membership.objects.create(user=mate, customer=acme.customer)
        form = {
            "username": "mate", "is_active": "on", "is_superuser": "on", "first_name": "", "last_name": "",
            "email": "", "memberships-TOTAL_FORMS": "0", "memberships-INITIAL_FORMS": "0",
        }  # fmt: skip
        assert alice.post(reverse("admin:auth_user_change", args=[mate.pk]), form).status_code == 302
        mate.refresh_from_db()
        assert not mate.is_superuser

    def test_superusers_are_out_of_reach(self, alice: Client, root: Client) -> None:
        user = User.objects.get(username="root")
        assert alice.get(reverse("admin:auth_user_change", args=[user.pk])).status_code == 302

    def test_gives_no_sight_of_another_customer(self, alice: Client, acme: Tenant, globex: Tenant) -> None:
        mate = User.objects.create_user("mate")
        Membership.objects.create(user=mate, customer=acme.customer)
        form = {
            "username": "mate", "is_active": "on", "first_name": "", "last_name": "", "email": "",
            "memberships-TOTAL_FORMS": "1", "memberships-INITIAL_FORMS": "0",
            "memberships-0-customer": globex.customer.pk, "memberships-0-user": mate.pk,
        }  # fmt: skip
        assert alice.post(reverse("admin:auth_user_change", args=[mate.pk]), form).status_code == 200
        assert not Membership.objects.filter(user=mate, customer=globex.customer).exists()

    def test_who_is_made_with_a_role_can_sign_in(self, root: Client, client: Client, acme: Tenant) -> None:
        form = {
            "username": "fiona", "usable_password": "true",
            "password1": "a-long-Passw0rd", "password2": "a-long-Passw0rd",
            "groups": [Group.objects.get(name="Finance").pk],
            "memberships-TOTAL_FORMS": "1", "memberships-INITIAL_FORMS": "0",
            "memberships-0-customer": acme.customer.pk,
        }  # fmt: skip
        assert root.post(reverse("admin:auth_user_add"), form).status_code == 302
        answer = client.post(
            reverse("admin:login"), {"username": "fiona", "password": "a-long-Passw0rd", "next": "/admin/"}
        )
        assert answer.status_code == 302
        assert "Acme" in client.get(page(acme.budget, "changelist")).content.decode()
        roles = AuditEntry.objects.get(action="user.roles_changed", target_name="fiona")
        assert roles.changes == {"groups": [[], ["Finance"]]}
        assert "Finance" in root.get(reverse("admin:auth_user_changelist")).content.decode()


def test_who_sees_one_team_makes_and_ends_no_terms_of_the_customer(acme: Tenant) -> None:
    """The API answers 403; the admin says the same, and nothing is written."""
    from tests.governance.admin.conftest import sign_in

    client = sign_in("dora", role="Finance", customer=acme.customer, team=acme.team)
    form = {"customer": acme.customer.pk, "platform": "", "model_patterns": "", "percent": "-90", "note": ""}
    refused = client.post(reverse("admin:governance_priceoverride_add"), form, follow=True).content.decode()
    assert "reaches beyond the customers and teams" in refused
    assert not PriceOverride.objects.exists()
    terms = PriceOverride.objects.create(customer=acme.customer, percent="-10", effective_from=timezone.now())
    chosen = {"action": "end_now", "_selected_action": [terms.pk]}
    told = client.post(page(terms, "changelist"), chosen, follow=True).content.decode()
    assert "reaches beyond the customers and teams" in told
    terms.refresh_from_db()
    assert terms.effective_to is None
    assert not AuditEntry.objects.filter(target_type="price_override").exists()
