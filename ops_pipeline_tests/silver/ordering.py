"""In-order application of files, one by one, in plain Python: what silver must always equal.

Belongs here: the model and the pictures of both sides. Does not belong here: the properties.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from ops_pipeline.ops.ingestion import DatasetInjestion, RowCounts
from ops_pipeline.recipes.models import TICKER_COLUMN, Recipe
from ops_pipeline_tests.lake import DATE_COLUMN, Lake, recipe, snapshot_recipe

FIRST, LAST = date(2020, 1, 1), date(2020, 1, 20)
BAD = "bad"

# One record of a test's answer: (key, value); a value of BAD is refused, and a key of 0 is outside the window or no key at all.
Record = tuple[int, Any]

DATED = recipe(
    max_reject_share=0.5,
    columns=[DATE_COLUMN, {"name": "close", "type": "double"}, {"name": "note", "type": "text"}],
)
SNAPSHOT = snapshot_recipe(
    max_reject_share=0.5,
    columns=[{"name": "symbol", "type": "integer", "required": True}, {"name": "size", "type": "double"}],
)
KEYS_ONLY = snapshot_recipe(
    dataset="listed", max_reject_share=0.5, columns=[{"name": "symbol", "type": "integer", "required": True}]
)


def answer(made: Recipe, records: Iterable[Record]) -> bytes:
    """The vendor's answer that holds these records."""
    if made is DATED:
        return json.dumps([{"date": str(_day(key)), "close": value, "note": None} for key, value in records]).encode()
    return json.dumps([{"symbol": key or None, "size": value} for key, value in records]).encode()


def _day(key: int) -> date:
    return date(2020, 1, key) if key else date(2021, 1, 1)


@dataclass
class State:
    """What silver must hold: rows by key, each with the row of the file that it is from, their history, and what became of each file."""

    rows: dict[Any, tuple[tuple[Any, ...], DatasetInjestion]] = field(default_factory=dict)
    history: dict[Any, list[tuple[Any, ...]]] = field(default_factory=lambda: defaultdict(list))
    counts: dict[tuple[str, str], RowCounts] = field(default_factory=dict)
    rejects: dict[tuple[str, str], list[int]] = field(default_factory=dict)


def refused(made: Recipe, records: list[Record]) -> bool:
    """Whether the whole file is refused."""
    return _failed(made, records) > made.max_reject_share * len(records)


def _failed(made: Recipe, records: list[Record]) -> int:
    return sum(_is_bad(made, record) for record in records)


def _is_bad(made: Recipe, record: Record) -> bool:
    key, value = record
    if made is DATED:
        return bool(key) and value == BAD
    return not key or (value == BAD and len(made.columns) > 1)


def apply(made: Recipe, files: Iterable[tuple[DatasetInjestion, list[Record]]]) -> State:
    """Applies files one by one in the order of (known_at, run_id, file_id)."""
    state = State()
    for row, records in sorted(files, key=lambda file: file[0].order):
        count = RowCounts(failed=_failed(made, records))
        good: dict[int, Any] = {}
        bad = [position for position, record in enumerate(records, start=1) if _is_bad(made, record)]
        for key, value in (record for record in records if not _is_bad(made, record)):
            if not key:
                count.out_of_window += 1
                continue
            count.superseded += key in good
            good[key] = value
        for key, value in good.items():
            full = (row.ticker, key)
            values = () if made is KEYS_ONLY else (value,)
            before = state.rows.get(full)
            if before is not None and before[0] == values:
                count.unchanged += 1
                continue
            count.created, count.updated = count.created + (before is None), count.updated + (before is not None)
            state.rows[full] = (values, row)
            state.history[full].append(("C" if before is None else "U", values, *lineage(row)))
        state.counts[row.key], state.rejects[row.key] = count, bad
    return state


def lineage(row: DatasetInjestion) -> tuple[Any, ...]:
    return row.file_id, row.run_id, row.bronze_injest_end_time


def _key(made: Recipe, row: dict[str, Any]) -> tuple[str, int]:
    return (row[TICKER_COLUMN], row["date"].day) if made is DATED else ("-", row["symbol"])


def _values(made: Recipe, row: dict[str, Any]) -> tuple[Any, ...]:
    return () if made is KEYS_ONLY else (row["close" if made is DATED else "size"],)


def check(lake: Lake, made: Recipe, state: State) -> None:
    """Compares silver, its history and its rejects with the model."""
    found = lake.rows(f"SELECT * FROM {made.silver_table}")
    assert len(found) == len(state.rows)
    assert {_key(made, r): (_values(made, r), (r["bronze_file_id"], r["run_id"], r["known_at"])) for r in found} == {
        key: (values, lineage(row)) for key, (values, row) in state.rows.items()
    }
    history: dict[Any, list[tuple[Any, ...]]] = defaultdict(list)
    for r in lake.rows(f"SELECT * FROM {made.history_table} ORDER BY known_at, run_id, bronze_file_id"):
        change = (r["operation"], _values(made, r), r["bronze_file_id"], r["run_id"], r["known_at"])
        history[_key(made, r)].append(change)
        assert r["recipe_hash"] == made.recipe_hash
    assert history == state.history
    rejected: dict[tuple[str, str], list[int]] = defaultdict(list)
    for r in lake.rows("SELECT * FROM silver.rejected_rows ORDER BY row_position"):
        rejected[r["run_id"], r["bronze_file_id"]].append(r["row_position"])
        assert r["reason"]
        assert (r["silver_tablename"], r["recipe_hash"]) == (made.silver_table, made.recipe_hash)
    assert rejected == {key: positions for key, positions in state.rejects.items() if positions}
