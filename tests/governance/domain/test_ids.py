"""ULIDs as the library reads them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from ulid import ULID

from governance.domain.ids import new_ulid


def test_the_library_reads_ours() -> None:
    before = datetime.now(UTC).timestamp() - 0.001
    made = [new_ulid() for _ in range(1000)]
    after = datetime.now(UTC).timestamp()
    for text in made:
        parsed = ULID.from_str(text)
        assert str(parsed) == text
        assert before <= parsed.timestamp <= after


def test_no_id_comes_twice_from_several_threads() -> None:
    with ThreadPoolExecutor(4) as pool:
        made = [text for batch in pool.map(lambda _: [new_ulid() for _ in range(5000)], range(8)) for text in batch]
    assert len(set(made)) == len(made) == 40_000
