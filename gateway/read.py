"""Step 2: take the body in, bounded, look at the few fields that policy needs, and note who asks for what.

What is not one of the Claude formats is translated here; from then on every request is a Messages body.
"""

from __future__ import annotations

import asyncio
import time
from fnmatch import fnmatchcase

from gateway import errors
from gateway.exchange import Exchange
from gateway.line import BodyOverdue, BodyTooLarge
from gateway.place import body_came
from gateway.wire import attribution
from gateway.wire.forms import CLAUDE
from gateway.wire.peek import BadBody, Peek, peek
from governance.domain.access import Grant, ProjectRef

LARGE_BODY = 128 * 1024
"""Bytes from which a translation takes milliseconds, in which no stream of the process would go on."""


async def read(exchange: Exchange) -> Peek:
    """Fill body, peek, attribution and project. The body is kept byte for byte."""
    began = time.monotonic()
    exchange.body = await _body(exchange)
    exchange.waited_seconds += time.monotonic() - began
    body_came(exchange)
    exchange.record.request_bytes = len(exchange.body)
    try:
        await _translate(exchange)
        messages = exchange.body
        request = peek(messages, model=exchange.path_model, stream=exchange.path_stream)
    except BadBody as error:
        attribute(exchange, None)
        raise errors.bad_request(str(error)) from None
    exchange.peek = request
    record = exchange.record
    record.model_requested = (exchange.own_model or request.model)[:200]
    record.stream = request.stream
    attribute(exchange, request)
    return request


async def _translate(exchange: Exchange) -> None:
    """Have a body of another format become Messages; a large one in a thread, one at a time: others' streams go on."""
    spoken, body = exchange.format, exchange.body
    try:
        if spoken.form in CLAUDE or len(body) < LARGE_BODY:
            exchange.body = spoken.messages(body)
        else:
            async with exchange.gateway.translating:
                exchange.body = await asyncio.to_thread(spoken.messages, body)
    except (RecursionError, TypeError) as error:
        raise BadBody(
            f"The body has a shape that cannot be read ({type(error).__name__}). Send fewer levels."
        ) from None
    if exchange.body is not body:
        exchange.untranslated = body


def attribute(exchange: Exchange, request: Peek | None) -> None:
    """Note who asks, from headers and body. Works without a body too: a refusal is a row like any other."""
    found = attribution.attribute(exchange.headers, exchange.body if request else b"", request)
    record = exchange.record
    record.session_id, record.device_id = found.session_id, found.device_id
    record.agent_id, record.parent_agent_id = found.agent_id, found.parent_agent_id
    record.prompt_id, record.request_class = found.prompt_id, record.request_class or found.request_class
    record.client, record.working_directory = found.client, found.working_directory
    record.tags = found.tags
    if exchange.grant is not None:
        exchange.project = _project(exchange, exchange.grant, found.project, found.working_directory)
        record.project = exchange.project.name if exchange.project else found.project
        record.project_id = exchange.project.id if exchange.project else None


async def _body(exchange: Exchange) -> bytes:
    limit = exchange.gateway.max_body_bytes
    try:
        return await exchange.line.body(limit)
    except BodyTooLarge:
        raise errors.body_too_large(limit) from None
    except BodyOverdue:
        raise errors.body_overdue(exchange.gateway.body_seconds) from None


def _project(exchange: Exchange, grant: Grant, name: str, directory: str) -> ProjectRef | None:
    """The named project, else the key's, else the one whose directories match; never another team's."""
    snapshot = exchange.snapshot
    if name:
        project = snapshot.projects.get((grant.customer_id, name.lower()))
        if project is not None and project.team_id in (None, grant.team_id):
            return project
    if grant.project is not None:
        return grant.project
    if directory:
        for pattern, project in snapshot.directories.get(grant.customer_id, ()):
            if fnmatchcase(directory, pattern) and project.team_id in (None, grant.team_id):
                return project
        last = directory.replace("\\", "/").rstrip("/").rpartition("/")[2].lower()
        project = snapshot.projects.get((grant.customer_id, last))
        if project is not None and project.team_id in (None, grant.team_id):
            return project
    return None
