"""Batches that are read one by one and merged together."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops_pipeline.silver.staged import joined
from ops_pipeline.silver.staging import stage, staging_connection
from ops_pipeline_tests.lake import body_of, good_rows, price_recipe, rejects, stored_bodies

BODIES = [
    body_of([{"date": "2024-01-02", "close": 1.5, "volume": 3}, {"date": "2024-01-03", "close": 2.5, "volume": 4}]),
    body_of([{"date": "2024-01-02", "close": "no number", "volume": 3}, {"date": "2024-01-03", "close": 7, "volume": 1}]),
    b"[]",
    b"no array",
    body_of([{"date": "2024-01-02", "close": 1}, {"date": "2024-01-02", "close": 2}]),
]


@pytest.mark.parametrize("cuts", [[5], [1, 4], [2, 1, 2], [1, 1, 1, 1, 1]])
def test_batches_joined_are_the_batch_read_at_once(cuts: list[int], tmp_path: Path) -> None:
    made = price_recipe(max_reject_share=1.0)
    rows, paths = stored_bodies(tmp_path, made, BODIES)
    whole = stage(made, rows, paths)
    connection = staging_connection()  # one connection for all, as a run has
    batches, start = [], 0
    for count in cuts:
        batches.append(stage(made, rows[start : start + count], paths, connection=connection))
        start += count
    together = joined(batches)
    assert [f.key for f in together.files] == [f.key for f in whole.files]
    assert together.profiles == whole.profiles
    for number in range(len(BODIES)):
        assert good_rows(together, number) == good_rows(whole, number)
        assert rejects(together, number) == rejects(whole, number)
    assert together.good.schema == whole.good.schema


def test_nothing_cannot_be_joined() -> None:
    with pytest.raises(ValueError, match="nothing to join"):
        joined([])
