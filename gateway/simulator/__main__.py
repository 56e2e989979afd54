"""`python -m gateway.simulator`: the simulated provider without loading Django."""

import argparse
import sys

from gateway.simulator import command


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m gateway.simulator", description=__doc__)
    command.add_arguments(parser)
    options = parser.parse_args()
    try:
        command.run(options.host, options.port, options.script, options.keep)
    except command.CannotStart as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
