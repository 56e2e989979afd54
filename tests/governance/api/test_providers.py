"""Providers and credentials over the API: a secret goes in and never comes out."""

from __future__ import annotations

import uuid

from governance.models import AuditEntry, Provider, ProviderCredential
from tests.governance.api.world import World, client_for, results, user_with
from tests.governance.provider_world import dead, process, provider, tell

URL = "/api/v1/providers/"
SECRET = "sk-ant-api03-" + "q" * 40


def stored(credential: ProviderCredential) -> str:
    secret: str = ProviderCredential._meta.get_field("secret").reveal(credential)
    return secret


def test_create_and_change(world: World) -> None:
    body = {"name": "anthropic", "kind": "anthropic", "base_url": "https://api.anthropic.com"}
    row = world.root.post(URL, body, format="json").json()
    assert {name: row[name] for name in body} == body
    assert world.root.patch(f"{URL}{row['id']}/", {"rank": 2}, format="json").json()["rank"] == 2
    again = world.root.post(URL, {"name": "ANTHROPIC"}, format="json")
    assert (again.status_code, list(again.json())) == (400, ["detail"])
    wrong = world.root.post(URL, {"name": "x", "base_url": "ftp://x"}, format="json")
    assert (wrong.status_code, list(wrong.json())) == (400, ["base_url"])
    assert [entry.action for entry in AuditEntry.objects.order_by("pk")] == ["provider.created", "provider.changed"]


def test_a_secret_never_comes_out(world: World) -> None:
    provider = Provider.objects.create(name="anthropic")
    url = f"{URL}{provider.pk}/credentials/"
    made = world.root.post(url, {"name": "main", "secret": SECRET}, format="json")
    assert made.status_code == 201, made.json()
    row = made.json()
    assert row["has_secret"] is True
    assert stored(ProviderCredential.objects.get()) == SECRET
    replaced = world.root.patch(f"{url}{row['id']}/", {"secret": f"{SECRET}2", "weight": 3}, format="json")
    assert replaced.json()["weight"] == 3
    assert stored(ProviderCredential.objects.get()) == f"{SECRET}2"
    sealed = ProviderCredential.objects.get().secret
    for answer in (
        made, replaced, world.root.get(url), world.root.get(f"{url}{row['id']}/"), world.root.get(URL),
        world.root.get("/api/v1/audit/"),
    ):  # fmt: skip
        text = answer.content.decode()
        assert SECRET not in text
        assert sealed not in text
    removed = world.root.patch(f"{url}{row['id']}/", {"secret": "", "secret_env": "KEY"}, format="json").json()
    assert (removed["has_secret"], removed["secret_env"]) == (False, "KEY")
    assert AuditEntry.objects.count() == 3


def test_credentials_lie_under_their_provider(world: World) -> None:
    one, two = Provider.objects.create(name="one"), Provider.objects.create(name="two")
    credential = ProviderCredential.objects.create(provider=one, name="main")
    assert len(results(world.root.get(f"{URL}{one.pk}/credentials/"))) == 1
    assert results(world.root.get(f"{URL}{two.pk}/credentials/")) == []
    assert world.root.get(f"{URL}{two.pk}/credentials/{credential.pk}/").status_code == 404
    assert world.root.get(f"{URL}{one.pk}/credentials/{uuid.uuid4()}/").status_code == 404
    assert world.root.get(f"{URL}9999/credentials/").status_code == 404
    assert world.root.post(f"{URL}9999/credentials/", {"name": "x"}, format="json").status_code == 404


def test_permissions(world: World) -> None:
    provider = Provider.objects.create(name="anthropic")
    reader = client_for(user_with("reader", "governance.view_provider", customer=world.acme))
    assert len(results(reader.get(URL))) == 1
    assert reader.post(URL, {"name": "x"}, format="json").status_code == 403
    assert reader.patch(f"{URL}{provider.pk}/", {"rank": 1}, format="json").status_code == 403
    assert reader.get(f"{URL}{provider.pk}/credentials/").status_code == 403
    assert reader.post(f"{URL}{provider.pk}/credentials/", {"name": "x"}, format="json").status_code == 403
    nobody = client_for(user_with("nobody", customer=world.acme))
    assert nobody.get(URL).status_code == 403


def test_what_a_kind_needs_is_checked(world: World) -> None:
    wrong = world.root.post(URL, {"name": "b", "kind": "bedrock"}, format="json")
    assert (wrong.status_code, wrong.json()) == (
        400, {"region": ["Amazon Bedrock is called in a region: name it, for example eu-central-1."]}
    )  # fmt: skip
    body = {
        "name": "b", "kind": "bedrock", "region": "eu-central-1", "model_map": {"claude-opus-*": "my-profile"},
        "options": {"inference_prefix": "eu"},
    }  # fmt: skip
    row = world.root.post(URL, body, format="json").json()
    assert {name: row[name] for name in body} == body
    assert row["health"]["state"] == "unknown"
    url = f"{URL}{row['id']}/credentials/"
    wrong = world.root.post(url, {"name": "c", "method": "google_default"}, format="json")
    assert (wrong.status_code, list(wrong.json())) == (400, ["method"])
    wrong = world.root.post(url, {"name": "c", "method": "aws_static", "secret": SECRET}, format="json")
    assert (wrong.status_code, list(wrong.json())) == (400, ["identifier"])
    made = world.root.post(url, {"name": "c", "requests_per_minute": 60, "concurrent": 2}, format="json").json()
    assert (made["method"], made["requests_per_minute"], made["tokens_per_minute"]) == ("aws_default", 60, None)
    assert world.root.patch(f"{url}{made['id']}/", {"concurrent": 0}, format="json").status_code == 400
    moved = world.root.patch(f"{URL}{row['id']}/", {"kind": "anthropic", "options": {}}, format="json")
    assert moved.json()["kind"] == [
        "Its credential c does not fit: Anthropic API does not take “AWS: the environment's own role or variables”. "
        "It takes: API key. Remove it first."
    ]


def test_a_wrong_choice_is_answered_with_the_choices(world: World) -> None:
    wrong = world.root.post(URL, {"name": "a", "kind": "openrouter"}, format="json").json()
    assert wrong["kind"][0].startswith("“openrouter” is none of the choices: anthropic, bedrock, vertex")
    url = f"{URL}{Provider.objects.create(name='one').pk}/credentials/"
    wrong = world.root.post(url, {"name": "c", "method": "token"}, format="json").json()
    assert wrong["method"][0].startswith("“token” is none of the choices: api_key, aws_default")


def test_health_is_what_the_processes_say(world: World) -> None:
    made = provider()
    tell(process(), made, "down", dead(), why="main: rejected with 401", requests=3, failures=3)
    (row,) = results(world.root.get(URL))
    health = row["health"]
    assert (health["state"], health["why"], health["requests"]) == ("down", "main: rejected with 401", 3)
    assert [(one["name"], one["state"]) for one in health["credentials"]] == [("main", "dead")]
    assert world.root.get(f"{URL}{made.pk}/").json()["health"] == health
