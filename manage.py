#!/usr/bin/env python
"""Run Comptroller's commands: `manage.py up` starts the product, `manage.py help` lists the rest."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway.settings")
    from django.core.management import execute_from_command_line

    from gateway.env import SettingsError

    try:
        execute_from_command_line(sys.argv)
    except SettingsError as error:
        sys.exit(f"Comptroller cannot start:\n{error}")


if __name__ == "__main__":
    main()
