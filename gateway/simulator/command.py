"""Options and start of the simulated provider, for `manage.py` and `python -m gateway.simulator`."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

from gateway.simulator import server
from gateway.simulator.answer import BadScript
from gateway.simulator.app import Simulator
from gateway.simulator.journal import KEPT_REQUESTS
from gateway.simulator.script import Script, load


class CannotStart(Exception):
    """The simulated provider cannot start; the message says why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="Address to listen on (default: %(default)s).")
    parser.add_argument("--port", type=int, default=9000, help="Port; 0 takes a free one (default: %(default)s).")
    parser.add_argument(
        "--script", type=Path, metavar="FILE", help="YAML or JSON file of rules; see docs/simulator.md."
    )
    parser.add_argument(
        "--keep",
        type=int,
        default=KEPT_REQUESTS,
        metavar="N",
        help="Requests kept for the control endpoint; 0 keeps none and is fastest (default: %(default)s).",
    )


def run(host: str, port: int, script: Path | None, keep: int) -> None:
    """Serve until a signal. Raises CannotStart."""
    if not 0 <= port <= 65535:
        raise CannotStart(f"--port must lie between 0 and 65535, not {port}")
    if keep < 0:
        raise CannotStart(f"--keep must be 0 or more, not {keep}")
    try:
        rules = load(script) if script else Script()
        listener = server.listen(host, port)
    except BadScript as error:
        raise CannotStart(str(error)) from None
    except (OSError, OverflowError) as error:
        raise CannotStart(f"cannot listen on {host} port {port}: {error}; choose another with --port") from None
    # After its own orderly stop uvicorn raises the signal again; to end on Ctrl-C is no failure.
    with contextlib.suppress(KeyboardInterrupt):
        server.serve(Simulator(rules, keep), listener)
