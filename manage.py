#!/usr/bin/env python
"""Run Comptroller's commands: `manage.py up` starts the product, `manage.py help` lists the rest."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway.settings")
    from django.core.management import execute_from_command_line
    from django.db import OperationalError, ProgrammingError

    from gateway.env import SettingsError

    try:
        execute_from_command_line(sys.argv)
    except SettingsError as error:
        sys.exit(f"Comptroller cannot start:\n{error}")
    except (OperationalError, ProgrammingError) as error:
        if "no such table" not in str(error) and "does not exist" not in str(error):
            raise
        sys.exit(
            f"There is no Comptroller in this database ({str(error).splitlines()[0]}). Start it once with "
            "`manage.py up`, or name the right one with COMPTROLLER_DATA_DIR or DATABASE_URL."
        )


if __name__ == "__main__":
    main()
