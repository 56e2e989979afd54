"""The OpenAPI schema, the docs page and the shape of errors outside of the resources."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
import yaml
from django.core.management import call_command

from tests.governance.api.world import World


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    written = io.StringIO()
    call_command("spectacular", "--fail-on-warn", "--validate", stdout=written)
    parsed: dict[str, Any] = yaml.safe_load(written.getvalue())
    return parsed


def test_every_resource_is_in_the_schema(schema: dict[str, Any]) -> None:
    resources = {path.split("/")[3] for path in schema["paths"]}
    assert resources == {
        "customers", "teams", "projects", "developers", "keys", "budgets", "rate-limits", "providers", "routes",
        "prices", "price-proposals", "price-overrides", "model-aliases", "repricings", "raises", "exports", "audit",
        "requests", "alert-channels", "alerts", "alert-deliveries", "processes", "reconciliation-days",
        "reconciliation-exceptions", "report-imports", "month-locks",
    }  # fmt: skip


def test_nothing_is_put_or_deleted(schema: dict[str, Any]) -> None:
    methods = {method for operations in schema["paths"].values() for method in operations}
    assert methods == {"get", "post", "patch"}


def test_filters_and_pages_are_described(schema: dict[str, Any]) -> None:
    names = {one["name"] for one in schema["paths"]["/api/v1/requests/"]["get"]["parameters"]}
    assert names >= {"cursor", "page_size", "started_at__gte", "virtual_key", "tags", "stream", "cost_nano_usd__lt"}


def test_secrets_only_where_they_are_shown_once_or_written(schema: dict[str, Any]) -> None:
    components = schema["components"]["schemas"]
    holders = {name for name, one in components.items() if "secret" in one.get("properties", {})}
    assert holders == {"IssuedKey", "Credential", "PatchedCredential"}
    assert components["Credential"]["properties"]["secret"]["writeOnly"] is True
    assert components["IssuedKey"]["properties"]["secret"]["readOnly"] is True


def test_the_docs_page_loads_nothing_from_outside(db: None, client: Any) -> None:
    page = client.get("/api/docs/")
    script = client.get("/api/docs/?script=")
    assert page.status_code == script.status_code == 200
    text = page.content.decode() + script.content.decode()
    addresses = re.findall(r"""(?:https?:)?//[^\s"'<>]+""", re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    assert not [address for address in addresses if "testserver" not in address]
    assert '"validatorUrl": null' in text


def test_the_schema_is_served(db: None, client: Any) -> None:
    answer = client.get("/api/schema/?format=json")
    assert answer.json()["info"]["title"] == "Comptroller management API"


@pytest.mark.parametrize("path", ["/api/", "/api/v1/nothing/", "/api/v2/requests/", "/api/v1/customers/abc/"])
def test_a_wrong_address_answers_in_json(world: World, path: str) -> None:
    answer = world.root.get(path)
    assert answer.status_code == 404
    assert path in answer.json()["detail"]


def test_a_missing_slash_is_named(world: World) -> None:
    answer = world.root.post("/api/v1/customers", {}, format="json")
    assert answer.status_code == 404
    assert "slash" in answer.json()["detail"]


def test_a_wrong_token(client: Any, db: None) -> None:
    answer = client.get("/api/v1/customers/", headers={"Authorization": "Token nonsense"})
    assert answer.status_code == 401
    assert set(answer.json()) == {"detail"}
