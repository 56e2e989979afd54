"""The labels of a request: read where Claude Code puts them, bounded and clean whatever comes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.attribution import MAX_DIRECTORY_CHARACTERS, MAX_TAGS, Attribution, attribute
from gateway.wire.headers import Headers
from gateway.wire.peek import peek

NEWER = [(b"user-agent", b"claude-cli/2.1.330 (external, cli)")]
BILLING = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.330.a1b; cc_entrypoint=sdk-cli; cch=0;"}


def labels(headers: list[tuple[bytes, bytes]] | None = None, **fields: Any) -> Attribution:
    body = json.dumps({"model": "m", **fields}).encode()
    return attribute(Headers(headers or []), body, peek(body))


def test_headers_name_session_agents_and_class() -> None:
    found = labels(
        [
            *NEWER,
            (b"x-claude-code-session-id", b"0b1e"),
            (b"x-claude-code-agent-id", b"a1"),
            (b"x-claude-code-parent-agent-id", b"a0"),
            (b"x-claude-code-prompt-id", b"p1"),
            (b"x-claude-code-request-class", b"subagent"),
        ],
        metadata={"user_id": '{"session_id": "other", "device_id": "d1"}'},
    )
    assert found == Attribution("0b1e", "d1", "a1", "a0", "p1", "subagent", "claude-cli/2.1.330", "cli")


def test_the_session_is_in_the_metadata_too() -> None:
    assert labels(metadata={"user_id": '{"session_id": "s1"}'}).session_id == "s1"


@pytest.mark.parametrize(
    ("user_agent", "client", "entrypoint"),
    [
        (b"claude-cli/2.1.330 (external, cli)", "claude-cli/2.1.330", "cli"),
        (b"claude-cli/2.1.197 (external, sdk-cli)", "claude-cli/2.1.197", "sdk-cli"),
        (b"claude-cli/2.1.330", "claude-cli/2.1.330", ""),
        (b"python-httpx/0.28.1", "python-httpx/0.28.1", ""),
        (b"curl", "curl", ""),
        (b"Anthropic/Python 0.74.0", "Anthropic/Python", ""),
        (b"\x00\x1b[31m", "[31m", ""),
        (b"x" * 5_000, "x" * 120, ""),
        (b"", "", ""),
    ],
)
def test_client(user_agent: bytes, client: str, entrypoint: str) -> None:
    found = labels([(b"user-agent", user_agent)])
    assert (found.client, found.entrypoint) == (client, entrypoint)


def test_client_from_the_billing_text() -> None:
    found = labels(system=[BILLING, {"type": "text", "text": "You are Claude Code."}])
    assert (found.client, found.entrypoint) == ("claude-cli/2.1.330.a1b", "sdk-cli")


ENVIRONMENT = "# Environment\nYou run here:\n - Primary working directory: {}\n - Is a git repository: true\n"


@pytest.mark.parametrize(
    "path",
    ["/home/ada/src/billing", "C:\\Users\\new\\rates", "/srv/Größe — 世界 🌍/x", '/a "quoted" dir', "/with space/y"],
)
def test_working_directory_in_both_places(path: str) -> None:
    text = ENVIRONMENT.format(path)
    newer = {"role": "system", "content": [{"type": "text", "text": text}], "output_config": {}}
    assert labels(messages=[{"role": "user", "content": "hi"}, newer]).working_directory == path
    assert labels(messages=[{"role": "system", "content": text}]).working_directory == path
    assert labels(system=[BILLING, {"type": "text", "text": text}]).working_directory == path
    assert labels(system=text).working_directory == path


def test_a_conversation_that_quotes_the_line_does_not_count() -> None:
    quote = ENVIRONMENT.format("/etc")
    assert labels(messages=[{"role": "user", "content": quote}]).working_directory == ""
    found = labels(
        messages=[
            {"role": "user", "content": quote},
            {"role": "system", "content": ENVIRONMENT.format("/old")},
            {"role": "system", "content": ENVIRONMENT.format("/new")},
            {"role": "assistant", "content": quote},
        ]
    )
    assert found.working_directory == "/new"


def test_of_a_long_directory_the_end_is_kept() -> None:
    found = labels(system=ENVIRONMENT.format("/" + "d" * 600 + "/project")).working_directory
    assert len(found) == MAX_DIRECTORY_CHARACTERS
    assert found.startswith("…d")
    assert found.endswith("/project")


def test_the_project_is_named_by_header_or_metadata() -> None:
    metadata = {"user_id": '{"project": "meta"}'}
    assert labels(metadata=metadata).project == "meta"
    assert labels([(b"x-comptroller-project", "Größe".encode())], metadata=metadata).project == "Größe"


@pytest.mark.parametrize(
    ("header", "tags"),
    [
        (b"k=v,k2=v2", {"k": "v", "k2": "v2"}),
        (b" k = v , ,=,=x,y=,z,a=b=c", {"k": "v", "a": "b=c"}),
        (b"k=1,k=2", {"k": "2"}),
        (b"", {}),
        (b"k=" + b"v" * 500, {"k": "v" * 64}),
        ("ort=Zürich".encode(), {"ort": "Zürich"}),
        (b"bad=\xff\x01", {"bad": "ÿ"}),
    ],
)
def test_tags(header: bytes, tags: dict[str, str]) -> None:
    assert labels([(b"x-comptroller-tags", header)]).tags == tags


def test_tags_are_bounded() -> None:
    header = b",".join(b"k%d=v" % i for i in range(10_000))
    assert len(labels([(b"x-comptroller-tags", header)]).tags) == MAX_TAGS


def test_headers_alone_are_enough() -> None:
    headers = Headers([*NEWER, (b"x-claude-code-session-id", b"s")])
    assert attribute(headers, b"", None).session_id == "s"


@given(
    st.dictionaries(
        st.sampled_from(["user-agent", "x-claude-code-session-id", "x-comptroller-project", "x-comptroller-tags"]),
        st.binary(max_size=300),
    ),
    st.text(max_size=400),
)
def test_every_label_is_bounded_and_clean(headers: dict[str, bytes], text: str) -> None:
    raw = [(name.encode(), value) for name, value in headers.items()]
    found = labels(
        raw, system="Primary working directory: " + text, metadata={"user_id": json.dumps({"session_id": text})}
    )
    for value in (
        found.session_id,
        found.client,
        found.entrypoint,
        found.working_directory,
        found.project,
        *found.tags.values(),
    ):
        assert len(value) <= 300
        assert value.isprintable()
        value.encode()
