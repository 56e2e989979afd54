"""The pages of a virtual key: issued on one page, its secret shown once and nowhere else."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from governance.admin.keys import KeyAdmin
from governance.models import AuditEntry, KeyActivity, KeySecret, VirtualKey
from governance.services import keys
from tests.governance.admin.conftest import Tenant

ADD = "admin:governance_virtualkey_add"
LIST = "admin:governance_virtualkey_changelist"
SECRET = re.compile(r"sk-cmp-[0-9A-Za-z]{8}-[0-9A-Za-z]{43}")


def shown_secret(html: str) -> str:
    [secret] = set(SECRET.findall(html))
    return secret


def page(key: VirtualKey, kind: str = "change") -> str:
    return reverse(f"admin:governance_virtualkey_{kind}", args=[key.pk])


def issue(client: Client, acme: Tenant, name: str = "new-laptop") -> str:
    form = {"team": acme.team.pk, "name": name, "developer": acme.developer.pk, "project": "", "lifetime": "30"}
    response = client.post(reverse(ADD), form)
    assert response.status_code == 200
    return response.content.decode()


def test_the_form_has_at_most_five_fields(root: Client, acme: Tenant) -> None:
    form = root.get(reverse(ADD)).context["adminform"].form
    assert list(form.fields) == ["team", "name", "developer", "project", "lifetime"]


def test_issuing_shows_the_secret_on_a_page_of_its_own_with_the_lines_to_paste(bob: Client, acme: Tenant) -> None:
    html = issue(bob, acme)
    secret = shown_secret(html)
    assert f"export ANTHROPIC_AUTH_TOKEN={secret}\nclaude" in html
    assert "export ANTHROPIC_BASE_URL=http://127.0.0.1:8000/anthropic\n" in html
    assert f"export OPENAI_BASE_URL=http://127.0.0.1:8000/openai/v1\nexport OPENAI_API_KEY={secret}<" in html
    assert f"export AWS_BEARER_TOKEN_BEDROCK={secret}\n" in html
    key = VirtualKey.objects.get(name="new-laptop")
    assert KeySecret.objects.get(virtual_key=key).public_id == secret[7:15]
    assert key.created_by is not None
    assert key.created_by.username == "bob"
    assert key.expires_at is not None
    assert timedelta(days=29) < key.expires_at - timezone.now() < timedelta(days=31)


def test_the_lines_to_paste_stay_on_the_page_without_a_secret(root: Client, acme: Tenant) -> None:
    html = root.get(page(acme.key)).content.decode()
    assert "export ANTHROPIC_AUTH_TOKEN=&lt;your key&gt;\nclaude" in html
    assert re.findall('data-copy="(.+?)"', html) == re.findall('id="(cmp-lines.*?)"', html)
    assert html.count("data-copy") == 4
    VirtualKey.objects.filter(pk=acme.key.pk).update(revoked_at=timezone.now())
    assert "data-copy" not in root.get(page(acme.key)).content.decode()


def test_the_secret_is_shown_once_and_left_nowhere(bob: Client, acme: Tenant) -> None:
    secret = shown_secret(issue(bob, acme))
    key = VirtualKey.objects.get(name="new-laptop")
    for url in (page(key), reverse(LIST), reverse("admin:index")):
        assert secret not in bob.get(url).content.decode()
    assert secret not in str(list(AuditEntry.objects.values()))
    assert secret not in str([session.get_decoded() for session in Session.objects.all()])
    assert secret not in str(bob.cookies)


def test_sending_the_form_again_issues_nothing(bob: Client, acme: Tenant) -> None:
    issue(bob, acme)
    form = {"team": acme.team.pk, "name": "new-laptop", "lifetime": ""}
    response = bob.post(reverse(ADD), form)
    assert "This team has a key of this name" in response.content.decode()
    assert not SECRET.search(response.content.decode())
    assert VirtualKey.objects.filter(name="new-laptop").count() == 1


def test_the_answer_with_the_secret_is_not_cached(bob: Client, acme: Tenant) -> None:
    response = bob.post(reverse(ADD), {"team": acme.team.pk, "name": "x", "lifetime": ""})
    assert "no-store" in response.headers["Cache-Control"]


def test_rotating_asks_first_then_shows_the_new_secret(bob: Client, acme: Tenant) -> None:
    assert not SECRET.search(bob.get(page(acme.key, "rotate")).content.decode())
    assert acme.key.secrets.count() == 1
    response = bob.post(page(acme.key, "rotate"), {"overlap": "24"})
    secret = shown_secret(response.content.decode())
    assert "The old secret works until" in response.content.decode()
    assert acme.key.secrets.get(valid_until__isnull=True).public_id == secret[7:15]
    assert bob.post(page(acme.key, "rotate"), {"overlap": "9999"}).context["form"].errors


def test_revoking_asks_for_a_reason_and_takes_effect(bob: Client, acme: Tenant) -> None:
    bob.get(page(acme.key, "revoke"))
    assert bob.post(page(acme.key, "revoke"), {"reason": ""}).context["form"].errors
    acme.key.refresh_from_db()
    assert acme.key.revoked_at is None
    html = bob.post(page(acme.key, "revoke"), {"reason": "laptop lost"}, follow=True).content.decode()
    assert "is revoked" in html
    assert "laptop lost" in html
    assert f"/{acme.key.pk}/rotate/" not in html
    html = bob.post(page(acme.key, "rotate"), {"overlap": "0"}).content.decode()
    assert "issue a new key instead" in html
    assert not SECRET.search(html)


def test_without_the_permission_neither_button_nor_page(acme: Tenant) -> None:
    from tests.governance.admin.conftest import sign_in

    finance = sign_in("fiona", role="Finance", customer=acme.customer)
    html = finance.get(page(acme.key)).content.decode()
    for action in ("rotate", "revoke"):
        assert page(acme.key, action) not in html
        assert finance.post(page(acme.key, action), {"reason": "x", "overlap": "0"}).status_code == 403
    assert finance.get(reverse(ADD)).status_code == 403
    assert acme.key.secrets.get().valid_until is None


def test_a_key_is_changed_but_not_moved_or_deleted(root: Client, acme: Tenant, globex: Tenant) -> None:
    form = {
        "team": globex.team.pk, "name": "renamed", "developer": "", "project": "",
        "model_patterns": "claude-opus-*\nclaude-sonnet-*", "allowed_ips": "10.0.0.0/8, 192.0.2.7",
        "content_policy": "inherit", "expires_at_0": "", "expires_at_1": "",
        "accesses-TOTAL_FORMS": "0", "accesses-INITIAL_FORMS": "0",
    }  # fmt: skip
    assert root.post(page(acme.key), form).status_code == 302
    key = VirtualKey.objects.get(pk=acme.key.pk)
    assert (key.name, key.team) == ("renamed", acme.team)
    assert key.model_patterns == ["claude-opus-*", "claude-sonnet-*"]
    assert key.allowed_ips == ["10.0.0.0/8", "192.0.2.7"]
    wrong = root.post(page(acme.key), form | {"allowed_ips": "10.0.0.300"})
    assert "is not an IP address" in wrong.content.decode()
    assert root.post(page(acme.key, "delete"), {"post": "yes"}).status_code == 403


def test_filters_find_what_they_name(root: Client, acme: Tenant) -> None:
    now = timezone.now()
    made = {}
    for name, expires in (("fresh", None), ("soon", now + timedelta(days=5)), ("later", now + timedelta(days=50))):
        made[name], _ = keys.issue_key(team=acme.team, name=name, expires_at=expires, actor=None)
    VirtualKey.objects.filter(pk=acme.key.pk).update(created_at=now - timedelta(days=90))
    KeyActivity.objects.create(virtual_key=acme.key, last_used_at=now - timedelta(days=40))
    keys.revoke_key(key=made["later"], reason="x", actor=None)

    def found(state: str) -> set[str]:
        return {key.name for key in root.get(reverse(LIST), {"state": state}).context["cl"].result_list}

    assert found("unused") == {"Acme-laptop"}
    assert found("expiring") == {"soon"}
    assert found("revoked") == {"later"}
    assert found("usable") == {"Acme-laptop", "fresh", "soon"}
    VirtualKey.objects.filter(name="soon").update(expires_at=now - timedelta(days=1))
    assert found("expired") == {"soon"}


def test_a_key_is_found_by_the_public_part_of_its_secret(root: Client, acme: Tenant, globex: Tenant) -> None:
    response = root.get(reverse(LIST), {"q": acme.secret.public_id})
    assert [key.name for key in response.context["cl"].result_list] == ["Acme-laptop"]


def test_apps_above_add_panels_to_the_page(root: Client, acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = lambda request, key: f"panel of {key.name}"  # noqa: E731
    monkeypatch.setattr(KeyAdmin, "panels", [*KeyAdmin.panels, panel])
    assert "panel of Acme-laptop" in root.get(page(acme.key)).content.decode()
