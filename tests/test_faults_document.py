"""docs/faults.md shows the fault matrix that is tested, and its rows can be told apart."""

from __future__ import annotations

from pathlib import Path

from tests.functional.faults.table import MATRIX, markdown

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "faults.md"


def test_the_document_is_the_matrix() -> None:
    _, _, rest = DOCUMENT.read_text(encoding="utf-8").partition("<!-- matrix -->\n")
    shown, end, _ = rest.partition("<!-- end -->")
    assert end
    assert shown == markdown(), "run: python -m tests.functional.faults.table"


def test_every_row_has_a_name_of_its_own() -> None:
    names = [fault.name for fault in MATRIX]
    assert len(names) == len(set(names))
