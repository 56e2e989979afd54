"""The live log's socket: who sees which rows, filters, catch-up, and what happens when something cannot keep up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import channel_layers, get_channel_layer
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import AnonymousUser, User
from django.db import connections
from django.test import Client

from gateway.asgi import application
from observability import consumers, live
from observability.consumers import LogConsumer
from observability.models import Request
from observability.records import RequestRecord
from tests.fakes import seed

pytestmark = pytest.mark.django_db(transaction=True)
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


class World:
    """An installation with Alice (Acme), Charlie (Globex) and Root."""

    def __init__(self) -> None:
        self.dice = random.Random(7)
        self.made = seed.install(NOW)
        self.alice = seed.member("alice", customer=self.made.customers["Acme"])
        self.bob = seed.member("bob", team=self.made.teams["Acme/Core"])
        self.charlie = seed.member("charlie", customer=self.made.customers["Globex"])
        self.root = User.objects.create_superuser("root", password="root-password-1")

    def row(self, team: str, *, ago: float = 0, **values: Any) -> Request:
        """One unsaved request of a key of the team."""
        key = next(key for key in self.made.keys if key.team == self.made.teams[team])
        row = seed.one_request(key, NOW - timedelta(seconds=ago), self.dice, self.made.prices)
        row.finished_at = row.started_at
        for name, value in values.items():
            setattr(row, name, value)
        return row


@pytest.fixture
async def world() -> World:
    return await sync_to_async(World)()


@pytest.fixture(autouse=True)
async def bound(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """A broadcaster and a channel layer of this test's own event loop."""
    monkeypatch.setattr(channel_layers, "backends", {})
    monkeypatch.setattr(live, "broadcaster", live.Broadcaster())
    live.broadcaster.bind(asyncio.get_running_loop())
    yield
    live.broadcaster.unbind()
    await sync_to_async(connections.close_all)()


class Viewer:
    """One socket; `rows` waits for a message of that type."""

    def __init__(self, user: Any) -> None:
        self.socket = WebsocketCommunicator(LogConsumer.as_asgi(), "/ws/logs/")
        self.socket.scope["user"] = user

    async def __aenter__(self) -> Viewer:
        connected, _ = await self.socket.connect()
        assert connected
        assert (await self.socket.receive_json_from())["type"] == "hello"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.socket.disconnect()

    async def ask(self, **message: Any) -> dict[str, Any]:
        await self.socket.send_json_to(message)
        answer: dict[str, Any] = await self.socket.receive_json_from()
        return answer

    async def rows(self) -> list[str]:
        message = await self.socket.receive_json_from()
        assert message["type"] == "rows", message
        return [row["id"] for row in message["rows"]]


async def publish(rows: Iterable[Request]) -> None:
    """As the recorder does: from a thread."""
    batch = [RequestRecord(**{name: getattr(row, name) for name in RequestRecord.__struct_fields__}) for row in rows]
    await asyncio.to_thread(live.broadcaster.publish, batch)


async def test_each_viewer_sees_the_rows_of_their_own_customer_and_team(world: World) -> None:
    core, data, platform = (world.row(team) for team in ("Acme/Core", "Acme/Data", "Globex/Platform"))
    stranger = world.row("Acme/Core", customer_id=None, team_id=None, virtual_key_id=None)
    viewers = [Viewer(user) for user in (world.alice, world.bob, world.charlie, world.root)]
    for viewer in viewers:
        await viewer.__aenter__()
    await publish([core, data, platform, stranger])
    alice, bob, charlie, root = [await viewer.rows() for viewer in viewers]
    assert alice == [core.pk, data.pk]
    assert bob == [core.pk]
    assert charlie == [platform.pk]
    assert root == [core.pk, data.pk, platform.pk, stranger.pk]
    for viewer in viewers:
        await viewer.__aexit__()
    assert live.broadcaster.listeners == 0


async def test_a_viewer_is_not_told_of_a_batch_without_a_row_of_theirs(world: World) -> None:
    async with Viewer(world.charlie) as charlie:
        await publish([world.row("Acme/Core")])
        mine = world.row("Globex/Research")
        await publish([mine])
        assert await charlie.rows() == [mine.pk]


async def test_catch_up_shows_only_what_the_user_may_see(world: World) -> None:
    mine, theirs = world.row("Globex/Platform"), world.row("Acme/Core")
    await Request.objects.abulk_create([mine, theirs])
    async with Viewer(world.charlie) as charlie:
        answer = await charlie.ask(type="catch_up", after=None)
        assert [row["id"] for row in answer["rows"]] == [mine.pk]
        # Naming another's team widens nothing.
        await charlie.ask(type="filter", team=world.made.teams["Acme/Core"].pk)
        answer = await charlie.ask(type="catch_up", after=None)
        assert answer["rows"] == []


@pytest.mark.parametrize("who", ["anonymous", "no permission", "no staff", "inactive"])
async def test_whoever_may_not_see_the_log_gets_no_socket(world: World, who: str) -> None:
    user: Any = world.alice
    if who == "anonymous":
        user = AnonymousUser()
    elif who == "no permission":
        await sync_to_async(user.user_permissions.clear)()
    else:
        field = {"no staff": "is_staff", "inactive": "is_active"}[who]
        await User.objects.filter(pk=user.pk).aupdate(**{field: False})
    socket = WebsocketCommunicator(LogConsumer.as_asgi(), "/ws/logs/")
    socket.scope["user"] = user
    connected, code = await socket.connect()
    assert (connected, code) == (False, consumers.FORBIDDEN)
    assert live.broadcaster.listeners == 0


@pytest.mark.parametrize("loss", ["membership", "permission", "account"])
async def test_a_user_who_loses_access_loses_the_stream(
    world: World, loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "RECHECK_SECONDS", 0.05)
    async with Viewer(world.charlie) as charlie:
        if loss == "membership":
            await world.charlie.memberships.all().adelete()
            row = world.row("Globex/Platform")
            # Still connected, with nothing left to see: the next look at the memberships closes the view.
            await _until(lambda: _blind(charlie, row))
            return
        if loss == "permission":
            await sync_to_async(world.charlie.user_permissions.clear)()
        else:
            await User.objects.filter(pk=world.charlie.pk).aupdate(is_active=False)
        closed = await charlie.socket.receive_output(timeout=5)
        assert closed == {"type": "websocket.close", "code": consumers.FORBIDDEN}


async def _blind(viewer: Viewer, row: Request) -> bool:
    await publish([row])
    told = False
    while not await viewer.socket.receive_nothing(timeout=0.1):
        await viewer.socket.receive_json_from()
        told = True
    return not told


async def _until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not await condition():
            pass


async def test_filters_hold_on_the_server(world: World) -> None:
    wanted = world.row("Acme/Core", status="error", model="claude-opus-5-5")
    refused = world.row("Acme/Core", status="refused", model="", model_requested="claude-opus-5-5")
    others = [
        world.row("Acme/Core", status="error", model="claude-haiku-5-5"),
        world.row("Acme/Data", status="error", model="claude-opus-5-5"),
    ]
    rows = [wanted, refused, *others]
    await Request.objects.abulk_create(rows)
    team = world.made.teams["Acme/Core"].pk
    async with Viewer(world.alice) as alice:
        assert await alice.ask(type="filter", team=str(team), model="OPUS", status="error") == {"type": "filtered"}
        await publish(rows)
        assert await alice.rows() == [wanted.pk]
        answer = await alice.ask(type="catch_up", after=None)
        assert [row["id"] for row in answer["rows"]] == [wanted.pk]
        # A refused request is found by the model it asked for, in frames and in the table alike.
        await alice.ask(type="filter", team=str(team), model="opus", status="refused", key=str(wanted.virtual_key_id))
        await publish(rows)
        assert await alice.rows() == [refused.pk]
        answer = await alice.ask(type="catch_up", after=None)
        assert [row["id"] for row in answer["rows"]] == [refused.pk]


async def test_catch_up_gives_what_ended_since_and_says_when_it_is_cut(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "CATCH_UP_ROWS", 4)
    rows = [world.row("Acme/Core", ago=100 - 10 * number) for number in range(10)]
    await Request.objects.abulk_create(rows)
    async with Viewer(world.alice) as alice:
        answer = await alice.ask(type="catch_up", after=rows[7].finished_at.isoformat())
        assert [row["id"] for row in answer["rows"]] == [row.pk for row in rows[7:]]
        assert answer["truncated"] is False
        answer = await alice.ask(type="catch_up", after=rows[0].finished_at.isoformat())
        assert [row["id"] for row in answer["rows"]] == [row.pk for row in rows[6:]]
        assert answer["truncated"] is True


@pytest.mark.parametrize(
    "message",
    [
        "nonsense",
        "[]",
        '{"type":"fly"}',
        '{"type":"filter","status":"blue"}',
        '{"type":"filter","team":"x"}',
        '{"type":"filter","team":"99999999999999999999"}',
        '{"type":"filter","key":true}',
        '{"type":"filter","model":{"a":1}}',
        '{"type":"catch_up","after":7}',
        '{"type":"catch_up","after":"2026-99-99"}',
    ],
)
async def test_a_bad_message_gets_a_sentence_and_the_stream_goes_on(world: World, message: str) -> None:
    async with Viewer(world.alice) as alice:
        await alice.socket.send_to(text_data=message)
        answer = await alice.socket.receive_json_from()
        assert answer["type"] == "error"
        assert answer["message"].endswith(".")
        assert await alice.ask(type="ping") == {"type": "pong"}


async def test_a_huge_message_ends_the_connection(world: World) -> None:
    async with Viewer(world.alice) as alice:
        await alice.socket.send_to(text_data=" " * (consumers.MAX_MESSAGE + 1))
        assert (await alice.socket.receive_output(timeout=5))["code"] == consumers.TOO_BIG


async def test_what_does_not_fit_is_dropped_oldest_first_and_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "CAPACITY", 6)
    monkeypatch.setattr(live, "FRAME_ROWS", 4)
    rows = [world.row("Acme/Core", ago=10 - number) for number in range(10)]
    async with Viewer(world.alice) as alice:
        await publish(rows)
        message = await alice.socket.receive_json_from()
        assert [row["id"] for row in message["rows"]] == [row.pk for row in rows[-4:]]
        assert message["dropped"] == 6


async def test_a_frame_that_the_layer_lost_makes_the_client_catch_up(world: World) -> None:
    layer: Any = get_channel_layer()
    async with Viewer(world.alice) as alice:
        frame = {"type": "log.rows", "origin": "a", "body": "[]", "dropped": 0}
        for sequence in (7, 8, 10):
            await layer.group_send(live.GROUP, {**frame, "sequence": sequence})
        message = await alice.socket.receive_json_from()
        assert message == {"type": "rows", "rows": [], "dropped": 0, "gap": True}


async def test_nothing_is_prepared_while_nobody_watches(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: Any) -> dict[str, Any]:
        raise AssertionError("a row was prepared for nobody")

    monkeypatch.setattr(live, "row", never)
    await publish([world.row("Acme/Core")])


def test_publishing_before_the_start_and_after_the_stop_is_harmless(world: World) -> None:
    broadcaster = live.Broadcaster()
    record = RequestRecord(id="0" * 26, started_at=NOW, finished_at=NOW)
    broadcaster.publish([record])
    loop = asyncio.new_event_loop()
    broadcaster.bind(loop)
    broadcaster.listeners = 1
    loop.close()
    broadcaster.publish([record])
    broadcaster.publish([record])


def _headers(client: Client, origin: str) -> list[tuple[bytes, bytes]]:
    cookie = f"sessionid={client.cookies['sessionid'].value}".encode()
    return [(b"origin", origin.encode()), (b"host", b"127.0.0.1"), (b"cookie", cookie)]


async def test_the_whole_application_checks_session_and_origin(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "RECHECK_SECONDS", 0.05)
    client = Client()
    await sync_to_async(client.force_login)(world.alice)
    foreign = WebsocketCommunicator(application, "/ws/logs/", headers=_headers(client, "https://evil.test"))
    assert (await foreign.connect())[0] is False
    own = WebsocketCommunicator(application, "/ws/logs/", headers=_headers(client, "http://127.0.0.1"))
    assert (await own.connect())[0] is True
    assert (await own.receive_json_from())["type"] == "hello"
    # Signing out elsewhere ends the stream.
    await sync_to_async(client.logout)()
    assert (await own.receive_output(timeout=5))["code"] == consumers.FORBIDDEN
