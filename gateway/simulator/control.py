"""The control endpoint `/__sim__/`: set the script, read what arrived, release what is held. Loopback only."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec

from gateway.simulator import errors
from gateway.simulator.answer import BadScript
from gateway.simulator.line import ClientGone, Headers, Line, Receive, Scope, Send
from gateway.simulator.script import Playbook, parse

if TYPE_CHECKING:
    from gateway.simulator.app import Simulator

PREFIX = "/__sim__/"
MAX_SCRIPT_BYTES = 32 * 1024 * 1024
MAX_WAIT_SECONDS = 60.0
_JSON: Headers = [(b"content-type", b"application/json"), (b"x-simulated-provider", b"comptroller")]


async def handle(simulator: Simulator, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one control request; these are in no journal."""
    line = Line(scope, receive, send)
    try:
        body = await line.body(MAX_SCRIPT_BYTES)
        if not _trusted(scope):
            await _refuse(line, 403, "the control endpoint answers programs on this machine only")
        elif body is None:
            await _refuse(line, 413, f"a script may have {MAX_SCRIPT_BYTES} bytes")
        else:
            await _route(simulator, line, scope, body)
    except (BadScript, ValueError) as error:
        await _refuse(line, 400, str(error))
    except ClientGone:
        return
    finally:
        line.close()


async def _route(simulator: Simulator, line: Line, scope: Scope, body: bytes) -> None:
    query = {name: values[-1] for name, values in parse_qs(scope["query_string"].decode("latin-1")).items()}
    match scope["method"], scope["path"].removeprefix(PREFIX).split("/"):
        case "POST", ["script"]:
            new = parse(msgspec.json.decode(body))
            if query.get("append"):
                simulator.playbook.extend(new.rules)
            else:
                simulator.playbook = Playbook(new)
            await _reply(line, {"rules": len(simulator.playbook.script.rules)})
        case "POST", ["reset"]:
            simulator.reset()
            await _reply(line, simulator.journal.stats())
        case "POST", ["release", name]:
            simulator.gate(name).set()
            await _reply(line, {"released": name})
        case "GET", ["stats"]:
            name, _, count = query.get("until", "received:0").partition(":")
            seconds = min(float(query.get("seconds", "10")), MAX_WAIT_SECONDS)
            await _reply(line, await simulator.journal.until(name, int(count), seconds))
        case "GET", ["requests"]:
            await _reply(line, {"requests": simulator.journal.requests(int(query.get("since", "0")))})
        case "GET", ["requests", sequence, "body"]:
            entry = simulator.journal.find(int(sequence))
            if entry is None or entry.body is None:
                await _refuse(line, 404, f"no body is kept of request {sequence}")
            else:
                await line.whole(200, [(b"content-type", b"application/octet-stream")], entry.body)
        case _:
            await _refuse(
                line,
                404,
                f"no {scope['method']} {scope['path']}; docs/simulator.md lists the control endpoint",
            )


async def _reply(line: Line, values: dict[str, Any]) -> None:
    await line.whole(200, _JSON, msgspec.json.encode(values))


async def _refuse(line: Line, status: int, text: str) -> None:
    await line.whole(status, _JSON, errors.body(status, text, "req_sim_control"))


def _trusted(scope: Scope) -> bool:
    """From loopback, and no web page: a browser sends an Origin, or a Host that is another site."""
    headers = dict(scope["headers"])
    host = headers.get(b"host", b"").decode("latin-1").rpartition(":")[0] or headers.get(b"host", b"").decode("latin-1")
    client = scope.get("client")
    return b"origin" not in headers and client is not None and _loopback(client[0]) and _loopback(host.strip("[]"))


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
