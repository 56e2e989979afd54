"""docs/api.md names every resource of the API, with the methods that it offers."""

from __future__ import annotations

import re
from pathlib import Path

from drf_spectacular.generators import SchemaGenerator

DOCS = Path(__file__).resolve().parents[3] / "docs" / "api.md"


def test_the_table_matches_the_schema() -> None:
    told: dict[str, set[str]] = {}
    for line in DOCS.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 3 and cells[0].startswith("`") and re.fullmatch(r"(GET|POST|PATCH|, )+", cells[1]):
            for path in re.findall(r"`([\w/-]+/)`", cells[0]):
                told[path] = set(cells[1].split(", "))
    offered: dict[str, set[str]] = {}
    actions: set[str] = set()
    for path, operations in SchemaGenerator().get_schema(public=True)["paths"].items():
        short = re.sub(r"\{\w+\}", "ID", path.removeprefix("/api/v1/"))
        methods = {method.upper() for method in operations}
        if short.endswith("ID/"):
            offered.setdefault(short.removesuffix("ID/"), set()).update(methods)
        elif short.count("ID/") and not short.endswith("credentials/"):
            actions.add(short)
        else:
            offered.setdefault(short, set()).update(methods)
    assert told == offered
    text = DOCS.read_text(encoding="utf-8")
    assert {action for action in actions if f"/{action.split('/')[-2]}/`" not in text} == set()
