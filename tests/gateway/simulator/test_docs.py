"""docs/simulator.md knows every field, and no other."""

from __future__ import annotations

import re

from gateway.simulator.answer import FIELDS
from tests.fakes.processes import REPOSITORY


def test_the_table_of_fields_is_complete() -> None:
    text = (REPOSITORY / "docs" / "simulator.md").read_text(encoding="utf-8")
    table = text.partition("## Fields of an answer")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == FIELDS
