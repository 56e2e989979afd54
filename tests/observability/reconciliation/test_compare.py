"""What counts as equal, near enough and off, to the token and the nano-dollar."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.reconciliation.compare import Key, Ours, Tolerance, compare

CELL: Key = ("claude-opus-5-5", "output", "")
STRICT = Tolerance(Decimal(0), Decimal(0))
USUAL = Tolerance(Decimal("0.5"), Decimal("0.01"))


def ours(usd: str, tokens: int = 100, **values: int) -> dict[Key, Ours]:
    exact = Decimal(usd)
    return {CELL: Ours(nano_usd=int(exact * 10**9), usd=exact, tokens=tokens, **values)}


@pytest.mark.parametrize(
    ("mine", "theirs", "tokens", "tolerance", "status"),
    [
        ("2.00", "2.00", 100, STRICT, "matched"),
        ("2.00", "2.0000000004", 100, STRICT, "matched"),
        ("2.00", "2.00", 99, USUAL, "within"),
        ("2.00", "2.00", 99, STRICT, "within"),
        ("2.00", "2.00002", 100, STRICT, "off"),
        ("2.00", "2.009", 100, USUAL, "within"),
        ("200.00", "201.00", 100, USUAL, "within"),
        ("200.00", "202.00", 100, USUAL, "off"),
        ("2.00", "0", 0, USUAL, "only_ours"),
        ("0.005", "0", 0, USUAL, "within"),
    ],
)
def test_statuses(mine: str, theirs: str, tokens: int, tolerance: Tolerance, status: str) -> None:
    (cell,) = compare(ours(mine), {CELL: Decimal(theirs)}, {CELL: tokens}, tolerance)
    assert cell.status == status
    assert ("more on our side" in cell.remark) == (tokens < 100)


def test_one_token_is_found() -> None:
    """A token of 20 USD a million is 20,000 nano-dollars: found without any tolerance, and told with one."""
    theirs = {CELL: Decimal("2.00") - Decimal("0.00002")}
    (cell,) = compare(ours("2.00"), theirs, {CELL: 99}, STRICT)
    assert (cell.status, cell.difference_nano_usd, cell.remark) == ("off", 20_000, "1 token more on our side.")
    (cell,) = compare(ours("2.00"), theirs, {CELL: 99}, USUAL)
    assert (cell.status, cell.difference_nano_usd) == ("within", 20_000)


def test_only_theirs_and_no_report() -> None:
    (cell,) = compare({}, {CELL: Decimal(3)}, None, USUAL)
    assert (cell.status, cell.difference_nano_usd, cell.theirs_tokens) == ("only_theirs", -3_000_000_000, None)
    (cell,) = compare(ours("2"), None, None, USUAL)
    assert (cell.status, cell.difference_nano_usd, cell.wants_a_decision) == ("waiting", 0, False)
    (cell,) = compare(ours("2"), None, {CELL: 101}, USUAL)
    assert (cell.status, cell.difference_nano_usd) == ("off", 0)


def test_what_is_known_of_the_cause_is_said() -> None:
    (cell,) = compare(ours("2", priority=2 * 10**9), {CELL: Decimal(0)}, {CELL: 100}, USUAL)
    assert cell.status == "within"
    assert cell.remark == "$2.00 of ours was served by the Priority Tier, which the cost report leaves out."
    (cell,) = compare(ours("2", estimated=5 * 10**8), {CELL: Decimal(1)}, None, USUAL)
    assert (cell.status, cell.remark) == ("off", "$0.50 of ours is estimated: the provider's answer broke off.")


@given(
    st.dictionaries(st.sampled_from([("m", c, w) for c in "ab" for w in ("", "w")]), st.integers(0, 10**12)),
    st.dictionaries(st.sampled_from([("m", c, w) for c in "bc" for w in ("", "w")]), st.integers(0, 10**12)),
)
def test_the_cells_foot_to_both_sides(mine: dict[Key, int], theirs: dict[Key, int]) -> None:
    left = {key: Ours(nano, Decimal(nano).scaleb(-9), 1) for key, nano in mine.items()}
    cells = compare(left, {key: Decimal(nano).scaleb(-9) for key, nano in theirs.items()}, None, USUAL)
    assert sum(cell.ours_nano_usd for cell in cells) == sum(mine.values())
    assert sum(cell.theirs_nano_usd or 0 for cell in cells) == sum(theirs.values())
    assert len({(cell.model, cell.token_class, cell.workspace_id) for cell in cells}) == len(cells)
