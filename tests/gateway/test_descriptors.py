"""How many connections a limit of descriptors allows."""

from __future__ import annotations

import resource

from gateway import descriptors


def test_enough_is_silent_and_takes_all() -> None:
    assert descriptors.shortage(4096, 8704) == ""
    assert descriptors.affordable(4096, 8704) == 4096


def test_too_little_is_said_and_taken_into_account() -> None:
    sentence = descriptors.shortage(4096, 4096)
    assert "COMPTROLLER_MAX_CONNECTIONS is 4096, which may need 8704 file descriptors" in sentence
    assert "the hard limit is 4096: a server process takes at most 2560 connections." in sentence
    assert descriptors.affordable(4096, 4096) == 2560


def test_accepting_never_runs_out() -> None:
    """A quarter of the limit, or as many as there are connections, is left for providers, besides the margin."""
    for limit in (1024, 4096, 20_000, 1 << 20):
        for wanted in (16, 1000, 4096, 100_000):
            most = descriptors.affordable(wanted, limit)
            assert most <= wanted
            assert most + descriptors.MARGIN + min(most, limit // 4) <= limit or most == 16


def test_the_soft_limit_becomes_the_hard_one() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, before[0]), before[1]))
    try:
        assert descriptors.raise_limit() == descriptors.hard_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == descriptors.hard_limit()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
