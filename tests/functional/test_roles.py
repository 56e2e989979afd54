"""Roles in processes of their own: each serves its part, says where the other is, and shares one state."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import httpx
import pytest
import websockets
from websockets.exceptions import InvalidStatus

from tests.functional.product import Product, configuration, free_port

pytestmark = pytest.mark.functional


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Product, str]]:
    """A gateway process and a web process on one data folder; the second value is the web's address."""
    product = Product(tmp_path_factory.mktemp("roles")).prepare()
    web_port = free_port()
    web = f"http://127.0.0.1:{web_port}"
    product.settings = {"COMPTROLLER_PUBLIC_URL": web, "COMPTROLLER_GATEWAY_URL": product.url}
    product.start_simulator()
    product.apply(configuration("roles"))
    try:
        product._spawn("server", "-m", "gateway.serve", "--role", "gateway", "--port", str(product.port))
        product._spawn("web", "-m", "gateway.serve", "--role", "web", "--port", str(web_port))
        for name, url in (("server", product.url), ("web", web)):
            _wait(product, name, f"{url}/readyz")
        yield product, web
    finally:
        product.stop()


def _wait(product: Product, name: str, url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if httpx.get(url, timeout=10).status_code == 200:
                return
        except httpx.HTTPError:
            assert product.processes[name].poll() is None, product.log(name)
        assert time.monotonic() < deadline, product.log(name)
        time.sleep(0.05)


def test_the_gateway_serves_model_calls_and_probes_only(apart: tuple[Product, str]) -> None:
    product, web = apart
    assert product.post("[[sim: text=ok]]", key="roles").status_code == 200
    for probe in ("healthz", "readyz", "metrics"):
        assert httpx.get(f"{product.url}/{probe}", timeout=20).status_code == 200
    for path in ("/", "/admin/", "/admin/login/", "/api/v1/requests/", "/me/", "/static/x.css"):
        answer = httpx.get(f"{product.url}{path}", timeout=20)
        assert answer.status_code == 404
        assert answer.text == f"This process serves model calls only. The admin, the API and /me/ are at {web}\n"


def test_the_web_serves_all_but_model_calls(apart: tuple[Product, str]) -> None:
    product, web = apart
    for path in ("/admin/login/", "/healthz", "/readyz", "/metrics"):
        assert httpx.get(f"{web}{path}", timeout=20).status_code == 200
    assert httpx.get(f"{web}/api/v1/requests/", timeout=20).status_code == 401
    for path in ("/anthropic/v1/messages", "/anthropic"):
        answer = httpx.post(f"{web}{path}", headers=product.headers("roles"), json={}, timeout=20)
        assert answer.status_code == 404
        assert answer.headers["x-should-retry"] == "false"
        body = answer.json()
        assert body["type"] == "error"
        assert body["error"]["type"] == "not_found_error"
        assert body["error"]["message"].endswith(f"Set ANTHROPIC_BASE_URL={product.url}/anthropic")
        assert body["request_id"] == answer.headers["request-id"]


def test_both_tell_a_client_without_the_prefix_where_it_is(apart: tuple[Product, str]) -> None:
    product, web = apart
    for url in (product.url, web):
        answer = httpx.post(f"{url}/v1/messages", json={}, timeout=20)
        assert f"Set ANTHROPIC_BASE_URL={product.url}/anthropic" in answer.json()["error"]["message"]


def test_what_the_gateway_serves_is_seen_in_the_web(apart: tuple[Product, str]) -> None:
    product, web = apart
    request_id = product.post("[[sim: text=ok]]", key="roles").headers["request-id"]
    headers = {"Authorization": f"Token {product.token}"}
    deadline = time.monotonic() + 10
    while httpx.get(f"{web}/api/v1/requests/{request_id}/", headers=headers, timeout=20).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_web_starts_no_data_plane(apart: tuple[Product, str]) -> None:
    """Neither a lease nor a spool: its only sign among the gateway processes is that there is none."""
    product, web = apart
    headers = {"Authorization": f"Token {product.token}"}
    found = httpx.get(f"{web}/api/v1/processes/", headers=headers, timeout=20).json()["results"]
    assert len([process for process in found if not process.get("ended_at")]) == 1
    assert "recorder" in httpx.get(f"{product.url}/readyz", timeout=20).json()["checks"]
    checks = httpx.get(f"{web}/readyz", timeout=20).json()["checks"]
    assert not {"recorder", "spool", "providers", "configuration", "budgets"} & checks.keys()
    folders = [folder for folder in (product.folder / "data" / "spool").iterdir() if folder.is_dir()]
    assert len(folders) == 1


def test_the_live_log_is_at_the_web(apart: tuple[Product, str]) -> None:
    product, web = apart

    async def refused(url: str) -> int:
        with pytest.raises(InvalidStatus) as caught:
            async with websockets.connect(f"{url.replace('http', 'ws')}/ws/logs/", origin=url):  # type: ignore[arg-type]
                pass
        return caught.value.response.status_code

    # Nobody is signed in: at the web that is asked, at the gateway the path is not there.
    assert asyncio.run(refused(product.url)) == 403
    assert asyncio.run(refused(web)) == 403


def test_the_limits_of_running_apart_are_said_at_the_start(apart: tuple[Product, str]) -> None:
    product, _ = apart
    for name in ("server", "web"):
        log = product.log(name)
        assert "Without REDIS_URL the live log stays empty" in log
        assert "The database is an SQLite file" in log
