"""The page that really asks a provider: with each credential, over a real socket; what it said in sentences."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from governance.models import Provider
from governance.services.providers import create_credential

pytestmark = pytest.mark.django_db


class Lists(BaseHTTPRequestHandler):
    """Lists twenty models for who has the good secret."""

    def do_GET(self) -> None:
        good = "good" in (self.headers.get("x-api-key") or self.headers.get("authorization") or "")
        models = {"data": [{"id": f"claude-{number}"} for number in range(20)]}
        body = json.dumps(models if good else {"error": "no"}).encode()
        self.send_response(200 if good else 401)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Lists)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture(autouse=True)
def private(settings: Any) -> None:
    settings.COMPTROLLER = {**settings.COMPTROLLER, "COMPTROLLER_ALLOW_PRIVATE_UPSTREAMS": True}


@pytest.fixture
def root() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def test_each_credential_says_what_it_met(root: Client, address: str) -> None:
    provider = Provider.objects.create(name="anthropic", base_url=address)
    create_credential(provider=provider, name="new", secret="good", actor=None)
    create_credential(provider=provider, name="old", secret="bad", actor=None)
    create_credential(provider=provider, name="unset", secret_env="NOT_SET_HERE", actor=None)
    create_credential(provider=provider, name="off", secret="good", is_active=False, actor=None)
    url = reverse("provider_test", args=[provider.pk])
    assert "Test now" in root.get(url).content.decode()
    page = root.post(url)
    found = {one.name: one for one in page.context["found"]}
    assert {name: one.works for name, one in found.items()} == {"new": True, "old": False, "unset": False}
    assert found["new"].said == "It answers with 20 models, the first 12:"
    assert found["new"].models[:2] == ("claude-0", "claude-1")
    assert found["old"].said.startswith("It answered 401 to a list of its models")
    assert "NOT_SET_HERE" in found["unset"].said
    html = page.content.decode()
    assert "claude-11" in html
    assert "Does not work" in html


def test_one_that_cannot_be_reached(root: Client) -> None:
    provider = Provider.objects.create(name="gone", base_url="http://127.0.0.1:1")
    url = reverse("provider_test", args=[provider.pk])
    assert "It has no active credential: add one." in root.post(url).content.decode()
    create_credential(provider=provider, name="main", secret="good", actor=None)
    (found,) = root.post(url).context["found"]
    assert (found.works, found.said.startswith("It cannot be reached")) == (False, True)


def test_a_private_address_is_asked_only_where_requests_may_go_there(root: Client, address: str, settings: Any) -> None:
    settings.COMPTROLLER = {**settings.COMPTROLLER, "COMPTROLLER_ALLOW_PRIVATE_UPSTREAMS": False}
    provider = Provider.objects.create(name="anthropic", base_url=address)
    create_credential(provider=provider, name="main", secret="good", actor=None)
    (found,) = root.post(reverse("provider_test", args=[provider.pk])).context["found"]
    assert (found.works, "COMPTROLLER_ALLOW_PRIVATE_UPSTREAMS=1 would allow" in found.said) == (False, True)


def test_the_simulated_provider_needs_no_credential(root: Client) -> None:
    provider = Provider.objects.create(name="simulated", kind="simulated")
    (found,) = root.post(reverse("provider_test", args=[provider.pk])).context["found"]
    assert found.name == "no credential needed"


def test_it_is_for_who_may_change_providers() -> None:
    provider = Provider.objects.create(name="simulated", kind="simulated")
    client = Client()
    client.force_login(User.objects.create_user("bob", is_staff=True))
    url = reverse("provider_test", args=[provider.pk])
    assert client.get(url).status_code == 403
    assert client.post(url).status_code == 403
    assert Client().post(url).status_code == 302
