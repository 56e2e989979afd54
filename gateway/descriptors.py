"""File descriptors: how many a server process needs, how many the system gives it, what to say where that is less."""

from __future__ import annotations

import resource

MARGIN = 512
"""What a process opens besides sockets of requests: the database, the spool, logs, turned-away connections."""


def needed(connections: int) -> int:
    """Descriptors of a process that holds so many client connections: each may need one to a provider."""
    return 2 * connections + MARGIN


def hard_limit() -> int:
    """As many as a process may have once it asked for them."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return 1 << 20 if hard == resource.RLIM_INFINITY else hard


def raise_limit() -> int:
    """Lift the soft limit to the hard one, and return it. Descriptors that are not used cost nothing."""
    top, hard = hard_limit(), resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (top, hard))
    except (ValueError, OSError):
        # macOS says "unlimited" and means less (kern.maxfilesperproc).
        top = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return top


def affordable(connections: int, limit: int) -> int:
    """How many client connections a process may hold under this limit, so that accepting never runs out.

    Idle connections need no provider's: at least a quarter of the limit stays free for those, not half.
    """
    return max(16, min(connections, limit - MARGIN - min(connections, limit // 4)))


def shortage(connections: int, limit: int) -> str:
    """One sentence where the limit is too low; empty where it is not."""
    if limit >= needed(connections):
        return ""
    return (
        f"COMPTROLLER_MAX_CONNECTIONS is {connections}, which may need {needed(connections)} file descriptors, but the "
        f"hard limit is {limit}: a server process takes at most {affordable(connections, limit)} connections."
    )
