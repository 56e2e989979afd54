"""`issue_key` and `issue_api_token`, and what a first start makes."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from rest_framework.authtoken.models import Token

from gateway.launch.bootstrap import prepare
from gateway.launch.parts import Plan
from gateway.launch.welcome import secrets_lines, welcome_lines
from gateway.roles import Role
from governance.domain.keys import parse_secret
from governance.models import AuditEntry, Budget, Customer, Developer, Price, Provider, Team, VirtualKey
from governance.services.tenants import create_customer, create_team

pytestmark = pytest.mark.django_db

PLAN = Plan(Role.ALL, "http://h:1", "http://h:1")


def run(*arguments: str) -> str:
    output = io.StringIO()
    call_command(*arguments, stdout=output)
    return output.getvalue()


@pytest.fixture
def core() -> Team:
    return create_team(customer=create_customer(name="Acme", actor=None), name="Core", actor=None)


class TestIssueKey:
    def test_it_prints_the_secret_and_the_lines_to_paste(self, core: Team) -> None:
        lines = [line.strip() for line in run("issue_key", "--team", "acme/core", "--name", "ada").splitlines()]
        secret = next(filter(None, map(parse_secret, lines)))
        assert VirtualKey.objects.get().secrets.get().public_id == secret.public_id
        assert lines[-3:] == [
            f"export ANTHROPIC_BASE_URL={settings.PUBLIC_URL}/anthropic",
            f"export ANTHROPIC_AUTH_TOKEN={secret}",
            "claude",
        ]
        assert AuditEntry.objects.get(action="virtual_key.issued").actor_name == "manage.py issue_key"

    def test_as_json(self, core: Team) -> None:
        arguments = ["issue_key", "--team", "Acme/Core", "--name", "ada", "--developer", "ada@acme.test", "--json"]
        told: dict[str, Any] = json.loads(run(*arguments))
        assert parse_secret(told.pop("secret")) is not None
        key = VirtualKey.objects.get()
        assert told == {
            "id": key.pk,
            "name": "ada",
            "customer": "Acme",
            "team": "Core",
            "developer": "ada@acme.test",
            "project": None,
            "public_id": key.secrets.get().public_id,
        }
        assert key.developer is not None
        assert key.developer.team == core

    def test_the_developer_is_found_again(self, core: Team) -> None:
        for name in ("a", "b"):
            run("issue_key", "--team", "Acme/Core", "--name", name, "--developer", "ADA@acme.test")
        assert Developer.objects.count() == 1

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["--team", "Acme/Nope", "--name", "x"], r"There is no team 'Acme/Nope'. Known: Acme/Core\."),
            (["--team", "Acme/Core", "--name", "ada"], r"The key was not issued\. This team has a key of this name\."),
            (["--team", "Acme/Core", "--name", "x", "--project", "p"], "Acme has no project 'p'"),
            (["--team", "Acme/Core", "--name", "x", "--developer", "nobody"], "The key was not issued. Enter a valid"),
        ],
    )
    def test_what_is_wrong_is_a_sentence(self, core: Team, arguments: list[str], sentence: str) -> None:
        run("issue_key", "--team", "Acme/Core", "--name", "ada")
        with pytest.raises(CommandError, match=sentence):
            run("issue_key", *arguments)
        assert VirtualKey.objects.count() == 1
        assert not Developer.objects.exists()


class TestIssueApiToken:
    def test_the_same_token_until_it_is_rotated(self) -> None:
        get_user_model().objects.create_user("ada", password="x")
        first = run("issue_api_token", "--user", "ada").strip()
        assert run("issue_api_token", "--user", "ada").strip() == first
        second = run("issue_api_token", "--user", "ada", "--rotate").strip()
        assert second != first
        assert Token.objects.get().key == second
        assert list(AuditEntry.objects.order_by("pk").values_list("action", flat=True)) == [
            "api_token.issued",
            "api_token.rotated",
        ]
        assert first not in str(AuditEntry.objects.values_list())

    def test_nobody_and_the_switched_off_get_none(self) -> None:
        get_user_model().objects.create_user("gone", password="x", is_active=False)
        for name, sentence in (("nobody", "There is no user"), ("gone", "is switched off")):
            with pytest.raises(CommandError, match=sentence):
                run("issue_api_token", "--user", name)


class TestPrepare:
    @pytest.fixture
    def anthropic_key(self, monkeypatch: pytest.MonkeyPatch) -> str:
        monkeypatch.setitem(settings.COMPTROLLER, "ANTHROPIC_API_KEY", "sk-ant-test")
        return "sk-ant-test"

    def test_the_first_start_makes_all_that_a_request_needs(self) -> None:
        prepared = prepare()

        assert get_user_model().objects.get(username="admin").check_password(prepared.password)
        assert Provider.objects.get().kind == "simulated"
        key = VirtualKey.objects.get()
        assert key.secrets.get().public_id == prepared.key_secret.public_id  # type: ignore[union-attr]
        assert Budget.objects.get().enforcement == "stop"
        assert Price.objects.filter(model_id="claude-opus-5-5").exists()
        text = "\n".join(welcome_lines(prepared, PLAN, 2))
        assert str(prepared.key_secret) in text
        assert prepared.password in text
        assert "SIMULATED" in text

    def test_later_starts_change_nothing_and_know_no_secret(self) -> None:
        prepare()
        Provider.objects.update(is_active=False)
        entries = AuditEntry.objects.count()

        again = prepare()

        assert secrets_lines(again, "http://h:1") == []
        assert AuditEntry.objects.count() == entries
        assert Customer.objects.count() == VirtualKey.objects.count() == Provider.objects.count() == 1

    def test_a_given_password_is_not_printed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(settings.COMPTROLLER, "COMPTROLLER_ADMIN_PASSWORD", "given by us 123")
        prepared = prepare()
        assert get_user_model().objects.get().check_password("given by us 123")
        assert "given by us 123" not in "\n".join(welcome_lines(prepared, PLAN, 2)) + repr(prepared)

    def test_with_a_key_it_uses_anthropic_and_keeps_the_key_sealed(self, anthropic_key: str) -> None:
        prepared = prepare()

        provider = Provider.objects.get()
        credential = provider.credentials.get()
        assert provider.kind == "anthropic"
        assert anthropic_key not in credential.secret
        assert credential._meta.get_field("secret").reveal(credential) == anthropic_key
        assert not Budget.objects.exists()
        text = "\n".join(welcome_lines(prepared, PLAN, 2))
        assert "spend is unlimited" in text
        assert "SIMULATED" not in text
        assert anthropic_key not in text + repr(list(AuditEntry.objects.values_list("changes", "note")))

    def test_a_key_that_comes_later_replaces_the_simulated_provider(self, monkeypatch: pytest.MonkeyPatch) -> None:
        prepare()
        monkeypatch.setitem(settings.COMPTROLLER, "ANTHROPIC_API_KEY", "sk-ant-test")

        prepared = prepare()

        assert set(Provider.objects.values_list("kind", "is_active")) == {("anthropic", True), ("simulated", False)}
        assert "requests now go to Anthropic" in prepared.notes[0]
        assert prepare().notes == []
