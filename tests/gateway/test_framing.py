"""Heads that the parser lets through and that are refused all the same."""

from __future__ import annotations

import pytest

from gateway.framing import is_ambiguous

HOST = (b"host", b"gateway")
PLAIN = [
    [HOST, (b"content-length", b"5")],
    [HOST, (b"transfer-encoding", b"chunked")],
    [HOST, (b"transfer-encoding", b" Chunked ")],
    [HOST],
]
AMBIGUOUS = [
    [],
    [HOST, HOST],
    [HOST, (b"transfer-encoding", b"gzip, chunked")],
    [HOST, (b"transfer-encoding", b"identity"), (b"transfer-encoding", b"chunked")],
    [HOST, (b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")],
    [HOST, (b"content-length", b"5"), (b"transfer-encoding", b"chunked")],
    [HOST, (b"content_length", b"5")],
    [HOST, (b"transfer_encoding", b"chunked")],
]


@pytest.mark.parametrize("headers", PLAIN)
def test_what_clients_send_passes(headers: list[tuple[bytes, bytes]]) -> None:
    assert not is_ambiguous(b"POST", "1.1", headers, upgrade=False)


@pytest.mark.parametrize("headers", AMBIGUOUS)
def test_what_can_be_read_in_two_ways_does_not(headers: list[tuple[bytes, bytes]]) -> None:
    assert is_ambiguous(b"POST", "1.1", headers, upgrade=False)


@pytest.mark.parametrize("version", ["0.9", "1.2", "2.0"])
def test_other_versions_do_not(version: str) -> None:
    assert is_ambiguous(b"GET", version, [HOST], upgrade=False)


def test_http_1_0_needs_no_host_and_has_no_chunks() -> None:
    assert not is_ambiguous(b"GET", "1.0", [], upgrade=False)
    assert is_ambiguous(b"POST", "1.0", [HOST, (b"transfer-encoding", b"chunked")], upgrade=False)


def test_an_upgrade_with_a_body_and_a_tunnel_do_not() -> None:
    assert not is_ambiguous(b"GET", "1.1", [HOST], upgrade=True)
    assert not is_ambiguous(b"GET", "1.1", [HOST, (b"content-length", b"0")], upgrade=True)
    assert is_ambiguous(b"POST", "1.1", [HOST, (b"content-length", b"5")], upgrade=True)
    assert is_ambiguous(b"POST", "1.1", [HOST, (b"transfer-encoding", b"chunked")], upgrade=True)
    assert is_ambiguous(b"CONNECT", "1.1", [HOST], upgrade=True)
