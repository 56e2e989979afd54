"""The writer's process: `python -m observability.writing`, started by a gateway process and by nobody else."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
from pathlib import Path

import django
from prometheus_client import values
from prometheus_client.values import MultiProcessValue


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m observability.writing", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="The inherited socket.")
    parser.add_argument("--owner", required=True, help="Id of the gateway process that it writes for.")
    parser.add_argument("--root", type=Path, required=True, help="Folder of the spool.")
    parser.add_argument("--parent", required=True, help="Process id of the gateway, for the names of metrics' files.")
    options = parser.parse_args()
    # They go to the whole group of processes. The gateway drains first: the socket's end is our signal.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        # A writer that starts again counts on where the one before it stopped, in the same files.
        values.ValueClass = MultiProcessValue(lambda: f"{options.parent}w")  # type: ignore[no-untyped-call]
    django.setup()
    # Not before: what it imports touches models and metrics.
    from observability.writing.process import serve

    asyncio.run(serve(socket.socket(fileno=options.fd), options.owner, options.root))


if __name__ == "__main__":
    main()
