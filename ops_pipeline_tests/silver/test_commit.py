"""The transaction of silver: what it refuses, what it holds back, and that it moves all or nothing."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from ops_pipeline.ops.drift import list_drift
from ops_pipeline.ops.ingestion import DatasetInjestion, RowCounts
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.recipes.models import Recipe
from ops_pipeline.silver.commit import commit_promotion, files_to_stage
from ops_pipeline_tests.lake import FIRST_KNOWN, Lake, body_of, recipe

MADE = recipe(max_reject_share=0.5)
LEFT_OUT = ("run_id", "bronze_file_id", "known_at", "ingested_at")


def _day(day: int, close: object = 1.0, **more: object) -> dict[str, object]:
    return {"date": f"2020-01-{day:02d}", "close": close, **more}


def _closes(lake: Lake, made: Recipe = MADE) -> list[tuple[int, float]]:
    return [(row["date"].day, row["close"]) for row in lake.rows(f"SELECT date, close FROM {made.silver_table} ORDER BY date")]


def _promoted(lake: Lake, *days: dict[str, object], **about: Any) -> DatasetInjestion:
    row = lake.put(MADE, body_of(list(days)), **about)
    lake.to_silver(MADE, "promoter")
    return lake.row(row)


def test_a_promoted_file_s_row_tells_everything(lake: Lake) -> None:
    _promoted(lake, _day(2), _day(3), run_id="run-1")
    body = body_of([_day(2), _day(3, 5.0), _day(4), _day(4, 6.0), _day(5, "abc"), {"date": "2021-01-01", "close": 1}])
    row = _promoted(lake, *[], run_id="run-0")  # an empty answer between them promotes nothing
    assert (row.bronze_outcome, row.silver_counts) == ("empty", RowCounts())
    row = lake.put(MADE, body, run_id="run-2", from_date=date(2020, 1, 1), to_date=date(2020, 12, 31))
    lake.to_silver(MADE, "promoter")
    row = lake.row(row)
    counts = RowCounts(created=1, updated=1, unchanged=1, failed=1, superseded=1, out_of_window=1)
    assert (row.silver_counts, row.bronze_rows, row.silver_errors) == (counts, 6, None)
    assert (row.silver_tablename, row.silver_run_id, row.silver_recipe_hash) == (MADE.silver_table, "promoter", MADE.recipe_hash)
    assert (row.silver_from_date, row.silver_to_date) == (date(2020, 1, 2), date(2020, 1, 4))
    assert (row.bronze_can_promote, row.silver_can_promote, row.status) == (False, False, "promoted")
    assert row.silver_injest_start_time is not None
    assert row.silver_injest_end_time is not None
    assert row.silver_injest_start_time <= row.silver_injest_end_time


def test_a_refused_record_is_kept_as_the_vendor_sent_it(lake: Lake) -> None:
    body = b'[{"date":"2020-01-02","close":1},{"date":"2020-01-03",  "close":"1,5"},{"date":"2020-01-04","close":1}]'
    row = lake.put(MADE, body, ticker="BRK.B", run_id="run-1")
    lake.to_silver(MADE, "promoter")
    (kept,) = lake.rows("SELECT * FROM silver.rejected_rows")
    assert kept.pop("rejected_at") == lake.row(row).silver_injest_start_time
    assert kept == {
        "run_id": "run-1",
        "bronze_file_id": row.file_id,
        "silver_tablename": "silver.vendor_prices",
        "ticker": "BRK.B",
        "row_position": 2,
        "raw_text": '{"date":"2020-01-03",  "close":"1,5"}',
        "reason": "close: 1,5 is not of type double",
        "recipe_hash": MADE.recipe_hash,
    }


def test_a_file_with_too_many_refused_records_is_refused_as_a_whole(lake: Lake) -> None:
    good = _promoted(lake, _day(2))
    bad = _promoted(lake, _day(3), _day(4, "x"), _day(5, "y"), run_id="run-2")
    assert bad.silver_counts == RowCounts()
    assert bad.silver_errors == (
        "2 of 3 records refused, more than the declared share of 50%; the first: close: x is not of type double"
    )
    assert (bad.bronze_can_promote, bad.silver_can_promote, bad.status) == (True, False, "failed")
    assert _closes(lake) == [(2, 1.0)]
    assert lake.rows("SELECT * FROM silver.rejected_rows") == []
    assert lake.row(good).silver_counts == RowCounts(created=1)


def test_a_file_at_the_declared_share_is_promoted(lake: Lake) -> None:
    assert _promoted(lake, _day(3), _day(4, "x")).silver_counts == RowCounts(created=1, failed=1)


def test_a_file_refused_before_is_merged_in_its_place_once_the_recipe_allows_it(lake: Lake) -> None:
    _promoted(lake, _day(2, 1.0), _day(3, 1.0))
    _promoted(lake, _day(2, 2.0), _day(3, "x"), _day(4, "y"), run_id="run-2")
    _promoted(lake, _day(3, 3.0), run_id="run-3")
    tolerant = recipe(max_reject_share=1)
    lake.to_silver(tolerant, "promoter-2")
    assert [row.silver_counts for row in lake.ledger()] == [
        RowCounts(created=2),
        RowCounts(updated=1, failed=2),
        RowCounts(updated=1),
    ]
    assert _closes(lake) == [(2, 2.0), (3, 3.0)]
    assert [row["row_position"] for row in lake.rows("SELECT * FROM silver.rejected_rows ORDER BY 5")] == [2, 3]


def test_nothing_moves_when_the_transaction_fails_behind_the_commit(lake: Lake) -> None:
    _promoted(lake, _day(2), _day(3, 3.0))
    late = lake.put(MADE, body_of([_day(2, 2.0), _day(4, "x")]), run_id="run-2", known_at=FIRST_KNOWN)
    before = lake.picture()
    with lake.warehouse.reading() as connection:
        staged_rows = files_to_stage(OpsRepo(connection), [late])
    staged = lake.stage(MADE, staged_rows)
    with pytest.raises(RuntimeError, match="power"), lake.warehouse.transaction() as connection:
        assert [row.silver_errors for row in commit_promotion(connection, staged, "promoter").rows] == [None, None]
        raise RuntimeError("power")
    assert lake.picture() == before
    lake.commit(staged)
    assert _closes(lake) == [(2, 1.0), (3, 3.0)]
    assert lake.row(late).silver_counts == RowCounts(created=1, failed=1)


def test_the_first_file_of_a_dataset_leaves_no_table_when_its_transaction_fails(lake: Lake) -> None:
    row = lake.put(MADE, body_of([_day(2)]))
    before = lake.picture()
    staged = lake.stage(MADE, [row])
    with pytest.raises(KeyboardInterrupt), lake.warehouse.transaction() as connection:
        commit_promotion(connection, staged, "promoter")
        raise KeyboardInterrupt
    assert lake.picture() == before
    lake.commit(staged)
    assert _closes(lake) == [(2, 1.0)]


def test_a_late_file_staged_without_the_later_ones_is_left_alone(lake: Lake) -> None:
    late = lake.put(MADE, body_of([_day(2, 2.0)]))
    staged = lake.stage(MADE, [late])
    _other_run_promotes_later = lake.put(MADE, body_of([_day(2, 9.0)]), run_id="run-2")
    lake.to_silver(MADE, "run-2", pending=[_other_run_promotes_later])
    before = lake.picture()
    promotion = lake.commit(staged)
    assert (promotion.rows, promotion.incomplete) == ([], [late.partition])
    assert {k: v for k, v in lake.picture().items() if k != "ops.silver_tables"} == {
        k: v for k, v in before.items() if k != "ops.silver_tables"
    }
    assert lake.to_silver(MADE).incomplete == []
    assert _closes(lake) == [(2, 9.0)]
    assert lake.row(_other_run_promotes_later).silver_counts == RowCounts(updated=1)


def test_a_file_whose_row_another_run_promoted_or_nobody_recorded_is_dropped(lake: Lake) -> None:
    row = lake.put(MADE, body_of([_day(2)]))
    unknown = lake.stored(MADE, body_of([_day(3)]), run_id="run-2")
    staged = lake.stage(MADE, [row, unknown])
    lake.to_silver(MADE, "other")
    before = lake.picture()
    assert lake.commit(staged).rows == []
    assert lake.picture() == before


@pytest.mark.parametrize("cause", ["file gone", "recipe stricter"])
def test_merged_rows_do_not_vanish_because_their_file_cannot_be_merged_again(lake: Lake, cause: str) -> None:
    later = _promoted(lake, _day(2, 9.0), _day(3, "x"), _day(4, "y"), _day(5, 5.0), run_id="run-2")
    assert later.silver_counts == RowCounts(created=2, failed=2)
    last = _promoted(lake, _day(6, 6.0), run_id="run-3")
    late = lake.put(MADE, body_of([_day(2, 2.0), _day(3, 3.0)]), known_at=FIRST_KNOWN)
    new = lake.put(MADE, body_of([_day(7, 7.0)]), run_id="run-4")
    made = recipe(max_reject_share=0.1) if cause == "recipe stricter" else MADE
    path = lake.store.path(later.bronze_filename or "")
    body = path.read_bytes()
    if cause == "file gone":
        path.unlink()
    silver = lake.table(MADE.silver_table)
    lake.to_silver(made, "promoter")
    assert [row for row in lake.table(MADE.silver_table) if row in silver] == silver
    assert _closes(lake)[-1] == (7, 7.0)
    assert lake.row(new).silver_counts == RowCounts(created=1)
    assert (lake.row(later), lake.row(last)) == (later, last)
    held = lake.row(late)
    assert held.silver_errors is not None
    assert held.silver_errors.startswith(
        f"held back: file {later.file_id} of run run-2 is newer and merged, and cannot be merged again: "
    )
    assert (held.bronze_can_promote, held.silver_recipe_hash, held.silver_counts) == (True, None, RowCounts())
    path.write_bytes(body)
    lake.to_silver(MADE, "promoter")
    assert _closes(lake) == [(2, 9.0), (3, 3.0), (5, 5.0), (6, 6.0), (7, 7.0)]
    assert lake.row(late).silver_counts == RowCounts(created=2)
    assert lake.row(later).silver_counts == RowCounts(created=1, updated=1, failed=2)


def test_a_second_merge_does_not_double_rejects_or_history(lake: Lake) -> None:
    _promoted(lake, _day(2), _day(3, "x"))
    for run in ("run-2", "run-3"):
        lake.put(MADE, body_of([_day(4), _day(5, run)]), run_id=run, known_at=FIRST_KNOWN - timedelta(days=int(run[-1])))
        lake.to_silver(MADE, "promoter")
    kept = lake.rows("SELECT run_id, row_position FROM silver.rejected_rows ORDER BY ALL")
    assert kept == [{"run_id": f"run-{n}", "row_position": 2} for n in (1, 2, 3)]
    history = lake.rows(f"SELECT run_id, date, operation FROM {MADE.history_table} ORDER BY ALL")
    assert [(row["run_id"], row["date"].day) for row in history] == [("run-1", 2), ("run-3", 4)]


def test_what_counts_as_a_change(lake: Lake) -> None:
    _promoted(lake, _day(2, 0.0), _day(3, 1.0), _day(4, 1.0, volume=1), _day(5, 1.0, volume=1), _day(6, 0.1 + 0.2))
    row = _promoted(
        lake, _day(2, -0.0), _day(3, 1.0, volume=None), _day(4, 1.0), _day(5, "1.00", volume="1.0"), _day(6, 0.3), run_id="run-2"
    )
    assert row.silver_counts == RowCounts(updated=2, unchanged=3)  # a value that is gone, and one unit in the last place


def test_partitions_of_one_batch_do_not_touch_each_other(lake: Lake) -> None:
    tickers = [f"T{n:02d}" for n in range(40)]
    rows = [lake.stored(MADE, body_of([_day(2, n), _day(3, n)]), ticker=t) for n, t in enumerate(tickers)]
    rows.append(lake.stored(MADE, body_of([_day(2, 100)]), ticker="T00", run_id="run-2"))
    rows.append(lake.stored(MADE, b'[{"date":"2020-01-02"}]', ticker="T01", run_id="run-2"))
    lake.record(MADE, rows)
    promotion = lake.to_silver(MADE)
    assert sorted(row.silver_counts.created for row in promotion.rows) == [0, 0, *[2] * 40]
    closes = {(r["ticker"], r["date"].day): r["close"] for r in lake.rows(f"SELECT ticker, date, close FROM {MADE.silver_table}")}
    assert closes == {(t, d): float(n) for n, t in enumerate(tickers) for d in (2, 3)} | {("T00", 2): 100.0}
    with_errors = [row for row in promotion.rows if row.silver_errors]
    assert [(row.ticker, row.silver_counts) for row in with_errors] == [("T01", RowCounts())]


def test_a_field_that_no_column_takes_is_remembered_once_with_its_first_file(lake: Lake) -> None:
    first = _promoted(lake, _day(2), {**_day(3), "new": "x" * 200})
    _promoted(lake, {**_day(4), "new": "y", "newer": None}, run_id="run-2")
    second = _promoted(lake, {**_day(5), "newer": 1}, run_id="run-3")
    with lake.warehouse.connection() as connection:
        seen = {d.field: d for d in list_drift(connection, MADE.dataset_key)}
        assert list_drift(connection, "vendor.other") == []
    assert seen.keys() == {"new", "newer"}
    assert (seen["new"].file_id, seen["new"].known_at, seen["new"].example) == (
        first.file_id,
        first.bronze_injest_end_time,
        f'"{"x" * 79}',
    )
    assert (seen["newer"].run_id, seen["newer"].example, seen["newer"].recipe_hash) == ("run-2", "null", MADE.recipe_hash)
    assert (second.silver_counts.created, second.silver_errors) == (1, None)


def test_a_missing_required_column_fails_the_file_by_name_whatever_share_may_be_rejected(lake: Lake) -> None:
    made = recipe(max_reject_share=1)
    row = lake.through(made, body_of([{"date": "2020-01-02", "Close": 1}, {"date": "2020-01-03", "Close": 2}]))
    assert row.silver_errors == "the answer lacks the required column 'close'; its records hold Close, date"
    assert row.silver_counts == RowCounts()
    assert lake.rows("SELECT * FROM silver.rejected_rows") == []
    # One record that has it, if without a value, shows that the vendor still sends it.
    row = lake.through(made, body_of([{"date": "2020-01-02", "close": None}, {"date": "2020-01-03"}]), run_id="run-2")
    assert (row.silver_errors, row.silver_counts) == (None, RowCounts(failed=2))


def test_a_type_that_changes_rejects_records_and_beyond_the_declared_share_the_file(lake: Lake) -> None:
    row = lake.through(MADE, body_of([_day(2), _day(3, {"value": 1})]))
    assert (row.silver_counts, row.silver_errors) == (RowCounts(created=1, failed=1), None)
    row = lake.through(MADE, body_of([_day(4, [1]), _day(5, {"value": 1}), _day(6)]), run_id="run-2")
    assert row.silver_counts == RowCounts()
    assert "2 of 3 records refused, more than the declared share of 50%" in (row.silver_errors or "")
