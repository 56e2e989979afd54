"""Run a module as a child that cannot outlive `up`, not even where `up` is killed with signal 9.

`python -m gateway.launch.lifeline FD GRACE MODULE ARGS…`: FD is the read end of a pipe whose other end only `up` holds.
Its end of file means that `up` is gone; the child then stops as on SIGTERM and is killed after GRACE seconds. A pipe
works on every Unix, where Linux's PR_SET_PDEATHSIG would leave orphans on the others.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time


def main() -> None:
    descriptor, grace, module = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    threading.Thread(target=_watch, args=(descriptor, grace), name="lifeline", daemon=True).start()
    sys.argv = [module, *sys.argv[4:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _watch(descriptor: int, grace: float) -> None:
    os.read(descriptor, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
