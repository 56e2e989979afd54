"""Loaded before Django's settings (`-p tests.environ`): the suite keeps its state in a folder of its own.

`COMPTROLLER_TEST_DATABASE=postgres` runs the same tests on PostgreSQL instead of SQLite.
"""

import os
import pathlib
import tempfile

os.environ["COMPTROLLER_DATA_DIR"] = os.environ.get("COMPTROLLER_TEST_DATA_DIR") or tempfile.mkdtemp(
    prefix="comptroller-test-"
)
os.environ.setdefault("COMPTROLLER_ALLOW_PRIVATE_UPSTREAMS", "1")
# Gateways inside the test's own process write into its database, which no other process knows.
os.environ["COMPTROLLER_WRITER"] = "thread"
for name in ("ANTHROPIC_API_KEY", "REDIS_URL", "CELERY_BROKER_URL", "COMPTROLLER_PUBLIC_URL"):
    os.environ.pop(name, None)

# Where the admin's static files are collected to; WhiteNoise warns at each start where it is missing.
pathlib.Path(os.environ["COMPTROLLER_DATA_DIR"], "static").mkdir(parents=True, exist_ok=True)
