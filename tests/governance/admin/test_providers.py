"""Credentials go in and never come out; prices are added, not edited; proposals are decided once."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from ulid import ULID

from governance import ledger
from governance.models import AuditEntry, Price, PriceProposal, Provider, ProviderCredential
from governance.services.prices import approve_proposal
from governance.services.routing import create_rule
from tests.governance.admin.conftest import Tenant, sign_in

SECRET = "sk-ant-api03-not-to-be-seen"


def stored(credential: ProviderCredential) -> str:
    field = ProviderCredential._meta.get_field("secret")
    return field.reveal(ProviderCredential.objects.get(pk=credential.pk))


def form(credential: ProviderCredential, **values: str) -> dict[str, str]:
    return {
        "name": "anthropic", "kind": "anthropic", "base_url": "https://api.anthropic.com", "rank": "0",
        "is_active": "on",
        "credentials-TOTAL_FORMS": "1", "credentials-INITIAL_FORMS": "1", "credentials-0-id": str(credential.pk),
        "credentials-0-provider": str(credential.provider_id), "credentials-0-name": "main",
        "credentials-0-new_secret": "", "credentials-0-secret_env": "", "credentials-0-weight": "1",
        "credentials-0-method": "api_key", "credentials-0-is_active": "on", **values,
    }  # fmt: skip


def url(provider: Provider) -> str:
    return reverse("admin:governance_provider_change", args=[provider.pk])


def test_a_stored_secret_is_on_no_page(root: Client, installation: dict[str, Any]) -> None:
    credential = installation["credential"]
    for address in (url(installation["provider"]), reverse("admin:governance_provider_changelist")):
        html = root.get(address).content.decode()
        assert SECRET not in html
        assert credential.secret not in html


def test_an_empty_input_keeps_the_secret_and_a_filled_one_replaces_it(
    root: Client, installation: dict[str, Any]
) -> None:
    provider, credential = installation["provider"], installation["credential"]
    assert root.post(url(provider), form(credential, **{"credentials-0-weight": "2"})).status_code == 302
    assert stored(credential) == SECRET
    assert ProviderCredential.objects.get().weight == 2
    assert (
        root.post(
            url(provider),
            form(credential, **{"credentials-0-weight": "2", "credentials-0-new_secret": "another-secret"}),
        ).status_code
        == 302
    )
    assert stored(credential) == "another-secret"
    entry = AuditEntry.objects.filter(action="provider_credential.changed").first()
    assert entry is not None
    assert entry.changes == {"secret": ["(set)", "(new value)"]}
    assert "another-secret" not in str(list(AuditEntry.objects.values()))


def test_a_new_credential_needs_a_secret_or_a_variable(root: Client, installation: dict[str, Any]) -> None:
    provider, credential = installation["provider"], installation["credential"]
    more = {
        "credentials-TOTAL_FORMS": "2", "credentials-1-id": "", "credentials-1-provider": str(provider.pk),
        "credentials-1-name": "second", "credentials-1-weight": "1", "credentials-1-is_active": "on",
        "credentials-1-new_secret": "", "credentials-1-secret_env": "", "credentials-1-method": "api_key",
    }  # fmt: skip
    refused = root.post(url(provider), form(credential, **more))
    assert "Give the secret, or name the environment variable" in refused.content.decode()
    assert root.post(url(provider), form(credential, **more | {"credentials-1-secret_env": "KEY_2"})).status_code == 302
    more |= {"credentials-1-name": "third", "credentials-1-new_secret": "third-secret"}
    assert root.post(url(provider), form(credential, **more)).status_code == 302
    assert stored(provider.credentials.get(name="third")) == "third-secret"


def test_a_price_is_added_and_never_edited(root: Client, installation: dict[str, Any]) -> None:
    price = installation["price"]
    page = reverse("admin:governance_price_change", args=[price.pk])
    assert root.post(page, {"input": "1"}).status_code == 403
    assert root.post(reverse("admin:governance_price_delete", args=[price.pk]), {"post": "yes"}).status_code == 403
    values = {
        "platform": "anthropic", "model_id": "claude-test", "effective_from_0": "2026-12-01",
        "effective_from_1": "00:00",
        "input": "4", "output": "20", "cache_read": "0.4", "cache_write_5m": "5", "cache_write_1h": "8", "tiers": "[]",
        "multipliers": "{}", "web_search": "0.01", "context_tokens": "", "max_output_tokens": "", "source": "contract",
        "version": "",
    }  # fmt: skip
    assert root.post(reverse("admin:governance_price_add"), values).status_code == 302
    assert Price.objects.filter(model_id="claude-test").count() == 2
    assert AuditEntry.objects.filter(action="price.created").count() == 1


def test_a_proposal_is_decided_by_who_may(acme: Tenant, installation: dict[str, Any]) -> None:
    proposal = installation["proposal"]
    page = reverse("admin:governance_priceproposal_changelist")
    data = {"action": "reject", "_selected_action": [proposal.pk]}
    auditor = sign_in("audrey", role="Auditor", customer=acme.customer)
    auditor.post(page, data)
    proposal.refresh_from_db()
    assert proposal.status == "pending"
    finance = sign_in("fiona", role="Finance", customer=acme.customer)
    assert "Rejected: claude-test" in finance.post(page, data, follow=True).content.decode()
    proposal.refresh_from_db()
    assert (proposal.status, proposal.decided_by.username) == ("rejected", "fiona")
    again = finance.post(page, data, follow=True).content.decode()
    assert "Rejected: claude-test" not in again


def test_a_proposal_shows_the_spend_of_who_looks(
    root: Client, alice: Client, charlie: Client, acme: Tenant, installation: dict[str, Any]
) -> None:
    """Proposals are everybody's, what a model was used for is each customer's own."""
    with transaction.atomic():
        ledger.post(
            [
                ledger.Posting(
                    id=str(ULID()), occurred_at=timezone.now(), customer_id=acme.customer.pk, team_id=acme.team.pk,
                    project_id=None, developer_id=None, virtual_key_id=acme.key.pk, provider_access_id=None,
                    model="claude-test", amount_nano_usd=77_130_000_000, tokens=10, price_id=None,
                )
            ]
        )  # fmt: skip
    page = reverse("admin:governance_priceproposal_changelist")
    for client in (root, alice):
        assert "77.13" in client.get(page).content.decode()
    assert "77.13" not in charlie.get(page).content.decode()


def test_a_proposal_reads_like_the_price_list(root: Client, installation: dict[str, Any]) -> None:
    changes = [
        {"field": "input", "old": "5", "new": "4.4", "percent": "-12.00"},
        {"field": "context_tokens", "old": None, "new": "200000", "percent": None},
    ]
    PriceProposal.objects.update(changes=changes)
    page = root.get(reverse("admin:governance_priceproposal_changelist")).content.decode()
    for line in ("5.00", "4.40", "new", "200,000"):
        assert f'<div class="cmp-line">{line}</div>' in page


def test_who_decides_second_is_told(
    root: Client, installation: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else decides between the click and the lock."""
    from governance.admin import prices as page

    proposal = installation["proposal"]

    def slow(**values: Any) -> Any:
        PriceProposal.objects.filter(pk=proposal.pk).update(status="rejected")
        return approve_proposal(**values)

    monkeypatch.setattr(page.prices, "approve_proposal", slow)
    response = root.post(
        reverse("admin:governance_priceproposal_changelist"),
        {"action": "approve", "_selected_action": [proposal.pk]},
        follow=True,
    )
    assert "Approved" not in [str(message) for message in response.context["messages"]]
    assert Price.objects.filter(model_id="claude-test").count() == 1


def test_a_provider_that_rules_name_is_not_deleted(root: Client, installation: dict[str, Any]) -> None:
    provider = installation["provider"]
    target = {"provider_id": provider.pk, "provider": provider.name}
    for number in range(5):
        create_rule(name=f"rule {number}", **{"fallbacks" if number else "targets": [target]}, actor=None)
    address = reverse("admin:governance_provider_delete", args=[provider.pk])
    told = f"{provider.name} is a target of the routing rules “rule 0”, “rule 1”, “rule 2” and 2 more."
    assert told in root.get(address).content.decode()
    assert told in root.post(address, {"post": "yes"}).content.decode()
    selected = {"action": "delete_selected", "_selected_action": [provider.pk], "post": "yes"}
    assert told in root.post(reverse("admin:governance_provider_changelist"), selected).content.decode()
    assert Provider.objects.filter(pk=provider.pk).exists()
