"""Which headers travel on, and where the virtual key is found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.headers import Headers, forwardable, forwardable_query, relayable, secret_from


def test_headers_give_the_first_value() -> None:
    headers = Headers([(b"a", b" 1 "), (b"b", b"\xe9"), (b"a", b"2")])
    assert headers.get(b"a") == "1"
    assert headers.get(b"b") == "é"
    assert headers.get(b"c") is None
    assert b"a" in headers
    assert b"c" not in headers


def test_the_repr_shows_no_value() -> None:
    assert "sk-" not in repr(Headers([(b"x-api-key", b"sk-cmp-secret")]))


@pytest.mark.parametrize(
    ("raw", "secret"),
    [
        ([], None),
        ([(b"x-api-key", b"k")], "k"),
        ([(b"authorization", b"Bearer t")], "t"),
        ([(b"authorization", b"bearer   t ")], "t"),
        ([(b"authorization", b"Basic dTpw")], None),
        ([(b"authorization", b"Bearer ")], None),
        ([(b"authorization", b"Bearer"), (b"x-api-key", b"k")], "k"),
        ([(b"authorization", b"Basic dTpw"), (b"x-api-key", b"k")], "k"),
        ([(b"x-api-key", b"k"), (b"authorization", b"Bearer t")], "t"),
        ([(b"x-api-key", b"k"), (b"authorization", b"Bearer t"), (b"x-comptroller-key", b"c")], "c"),
        ([(b"x-api-key", b"k"), (b"x-comptroller-key", b"")], "k"),
        ([(b"x-api-key", b"")], None),
    ],
)
def test_secret(raw: list[tuple[bytes, bytes]], secret: str | None) -> None:
    assert secret_from(Headers(raw)) == secret


REQUEST = [
    (b"host", b"gateway"),
    (b"connection", b"keep-alive, X-Private"),
    (b"x-private", b"1"),
    (b"anthropic-version", b"2023-06-01"),
    (b"anthropic-beta", b"a,b"),
    (b"authorization", b"Bearer sk-cmp-x"),
    (b"x-api-key", b"sk-cmp-x"),
    (b"x-goog-api-key", b"sk-cmp-x"),
    (b"x-custom", b"Bearer sk-cmp-x"),
    (b"x-comptroller-key", b"sk-cmp-x"),
    (b"x-comptroller-tags", b"k=v"),
    (b"cookie", b"sessionid=1"),
    (b"proxy-authorization", b"Basic x"),
    (b"x-forwarded-for", b"10.0.0.1"),
    (b"x-forwarded-host", b"inside"),
    (b"forwarded", b"for=10.0.0.1"),
    (b"x-real-ip", b"10.0.0.1"),
    (b"content-length", b"5"),
    (b"content-type", b"application/json"),
    (b"transfer-encoding", b"chunked"),
    (b"te", b"trailers"),
    (b"upgrade", b"h2c"),
    (b"expect", b"100-continue"),
    (b"accept-encoding", b"gzip, br"),
    (b"user-agent", b"claude-cli/2.1.330 (external, cli)"),
    (b"x-stainless-retry-count", b"0"),
    (b"anthropic-beta", b"c"),
]


def test_a_provider_sees_what_it_may_in_order() -> None:
    assert forwardable(Headers(REQUEST)) == [
        (b"anthropic-version", b"2023-06-01"),
        (b"anthropic-beta", b"a,b"),
        (b"content-type", b"application/json"),
        (b"user-agent", b"claude-cli/2.1.330 (external, cli)"),
        (b"x-stainless-retry-count", b"0"),
        (b"anthropic-beta", b"c"),
        (b"accept-encoding", b"identity"),
    ]


@pytest.mark.parametrize(
    "name",
    [
        b"api-key",
        b"x-goog-api-key",
        b"x-goog-user-project",
        b"openai-organization",
        b"openai-project",
        b"x-amz-security-token",
        b"anthropic-workspace-id",
        b"proxy-authorization",
    ],
)
def test_a_client_chooses_no_account_anywhere(name: bytes) -> None:
    assert forwardable(Headers([(name, b"theirs")])) == [(b"accept-encoding", b"identity")]


@given(st.permutations(REQUEST))
def test_no_credential_travels_on(raw: list[tuple[bytes, bytes]]) -> None:
    assert not any(b"sk-cmp" in value or b"10.0.0.1" in value for _, value in forwardable(Headers(raw)))


@pytest.mark.parametrize(
    ("query", "sent"),
    [
        (b"", b""),
        (b"beta=true", b"beta=true"),
        (b"a=%20&b&&c=1%2F2", b"a=%20&b&&c=1%2F2"),
        (b"beta=true&key=sk-cmp-x", b"beta=true"),
        (b"key=%73k-cmp-x&beta=true", b"beta=true"),
        (b"sk-cmp-x", b""),
    ],
)
def test_no_key_travels_on_in_the_query(query: bytes, sent: bytes) -> None:
    assert forwardable_query(query) == sent


ANSWER = [
    (b"Content-Type", b"text/event-stream"),
    (b"Content-Length", b"17"),
    (b"Content-Encoding", b"identity"),
    (b"Transfer-Encoding", b"chunked"),
    (b"Connection", b"X-Hop"),
    (b"X-Hop", b"1"),
    (b"request-id", b"req_1"),
    (b"anthropic-ratelimit-requests-remaining", b"5"),
    (b"anthropic-ratelimit-unified-status", b"allowed"),
    (b"X-Should-Retry", b"true"),
    (b"Set-Cookie", b"__cf_bm=1"),
    (b"Date", b"Sun, 22 Nov 2026 17:00:00 GMT"),
    (b"Server", b"cloudflare"),
    (b"Alt-Svc", b'h3=":443"'),
    (b"Strict-Transport-Security", b"max-age=1"),
    (b"x-comptroller-cost-usd", b"0"),
    (b"retry-after", b"3"),
    (b"cf-ray", b"1"),
]


def test_a_client_sees_what_it_may_in_order() -> None:
    kept = [
        (b"content-type", b"text/event-stream"),
        (b"content-encoding", b"identity"),
        (b"retry-after", b"3"),
        (b"cf-ray", b"1"),
    ]
    assert relayable(ANSWER) == kept
