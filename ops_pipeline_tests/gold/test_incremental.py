"""Increments of gold: equal to a full rebuild bit for bit, no wider than the change can reach, and counted for the file that caused it."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ops_pipeline.gold.build import Changes, rebuild
from ops_pipeline.ops.ingestion import DatasetInjestion
from ops_pipeline.recipes.models import Recipe
from ops_pipeline_tests.lake import FIRST_KNOWN, Lake, body_of, fx_recipe, price_recipe

START = date(2020, 1, 1)
PRICES = price_recipe()
RATES = fx_recipe()
FIGURES = ("close", "adjusted_close", "volume", "simple_return", "log_return", "volatility_20d")


def _day(number: int) -> date:
    return START + timedelta(days=number)


def _record(number: int, price: float | None, **more: object) -> dict[str, object]:
    return {"date": str(_day(number)), "close": 10.0, "adjClose": price, **more}


def _series(count: int, start: int = 0) -> list[dict[str, object]]:
    return [_record(n, 100.0 + (n * 7) % 11) for n in range(start, start + count)]


def _fact(lake: Lake, table: str = "gold.fact_eod") -> dict[Any, dict[str, Any]]:
    """Rows by (instrument or currency, source, number of the day)."""
    found = lake.rows(f"SELECT * FROM {table}")
    return {(r.get("instrument_id", r.get("currency")), r["source"], (r["date"] - START).days): r for r in found}


def _written_since(lake: Lake, moment: datetime) -> set[int]:
    return {day for (_, _, day), row in _fact(lake).items() if row["built_at"] > moment}


def _moment(lake: Lake) -> datetime:
    return max(row["built_at"] for row in _fact(lake).values())  # type: ignore[no-any-return]


def _equals_a_rebuild(lake: Lake, made: Recipe, table: str) -> None:
    """Recomputing everything changes nothing, and building it from nothing gives the same rows, lineage and dates."""
    before, dates = lake.table(table), lake.table("gold.dim_date")
    figures = lake.table(table, without=["built_at"])
    with lake.warehouse.transaction() as connection:
        assert rebuild(connection, made) == Changes()
    assert lake.table(table) == before
    lake.execute(f"CREATE OR REPLACE TEMP TABLE kept AS SELECT * FROM {table}")
    lake.execute(f"DELETE FROM {table} WHERE source = '{made.source}'")
    with lake.warehouse.transaction() as connection:
        rebuild(connection, made)
    assert lake.table(table, without=["built_at"]) == figures
    assert lake.table("gold.dim_date") == dates
    lake.execute(f"DELETE FROM {table}")
    lake.execute(f"INSERT INTO {table} SELECT * FROM kept")


# --- what a change reaches ----------------------------------------------------------------------------------------------------


def test_a_restated_price_reaches_exactly_its_own_day_and_the_next_twenty(lake: Lake) -> None:
    lake.through(PRICES, body_of(_series(80)))
    before, moment = _fact(lake), _moment(lake)
    row = lake.through(PRICES, body_of([_record(30, 50.0)]), run_id="run-2")
    after = _fact(lake)
    changed = {key[2]: {f for f in FIGURES if after[key][f] != before[key][f]} for key in after if after[key] != before[key]}
    assert sorted(changed) == list(range(30, 51))
    assert {n for n, names in changed.items() if "simple_return" in names} == {30, 31}
    assert {n for n, names in changed.items() if "volatility_20d" in names} == set(range(30, 51))
    assert _written_since(lake, moment) == set(range(30, 51))
    assert (row.gold_rows_created, row.gold_rows_updated) == (0, 21)
    assert (row.gold_from_date, row.gold_to_date) == (_day(30), _day(30))
    _equals_a_rebuild(lake, PRICES, "gold.fact_eod")


def test_the_reach_counts_rows_and_not_days(lake: Lake) -> None:
    sparse = [_record(n * 9, 100.0 + (n * 7) % 11) for n in range(60)]
    lake.through(PRICES, body_of(sparse))
    moment = _moment(lake)
    lake.through(PRICES, body_of([_record(30 * 9, 50.0)]), run_id="run-2")
    assert _written_since(lake, moment) == {n * 9 for n in range(30, 51)}


def test_a_day_between_two_others_reaches_as_far(lake: Lake) -> None:
    records = _series(60)
    missing = records.pop(25)
    lake.through(PRICES, body_of(records))
    moment = _moment(lake)
    row = lake.through(PRICES, body_of([missing]), run_id="run-2")
    assert _written_since(lake, moment) == set(range(25, 46))
    assert (row.gold_rows_created, row.gold_rows_updated) == (1, 20)


def test_a_restated_rate_reaches_exactly_its_own_day_and_the_next(lake: Lake) -> None:
    lines = "".join(f"{_day(n * 3)},{n + 1}.5,{n + 1},\n" for n in range(6))
    lake.through(RATES, f"Date,USD,JPY,\n{lines}".encode())
    moment = max(row["built_at"] for row in _fact(lake, "gold.fact_fx").values())
    row = lake.through(RATES, f"Date,USD,JPY,\n{_day(6)},9,3,\n".encode(), run_id="run-2")
    written = {key[::2] for key, fact in _fact(lake, "gold.fact_fx").items() if fact["built_at"] > moment}
    assert written == {("USD", 6), ("USD", 9)}
    assert (row.silver_rows_updated, row.gold_rows_updated) == (1, 2)
    _equals_a_rebuild(lake, RATES, "gold.fact_fx")


def test_new_days_touch_no_old_ones_and_no_other_ticker(lake: Lake) -> None:
    for ticker in ("AAA", "BBB"):
        lake.through(PRICES, body_of(_series(40)), ticker=ticker)
    before, moment = _fact(lake), _moment(lake)
    row = lake.through(PRICES, body_of(_series(5, start=40)), run_id="run-2", ticker="AAA")
    assert {key: value for key, value in _fact(lake).items() if key in before} == before
    assert _written_since(lake, moment) == set(range(40, 45))
    assert (row.gold_rows_created, row.gold_rows_updated) == (5, 0)
    _equals_a_rebuild(lake, PRICES, "gold.fact_eod")


def test_a_change_that_no_figure_shows_moves_the_lineage_and_no_count(lake: Lake) -> None:
    # `low` is in no gold column, but the day's price is another file's now.
    made = price_recipe(
        columns=[*[c.model_dump(mode="json", by_alias=True) for c in PRICES.columns], {"name": "low", "type": "double"}]
    )
    lake.through(made, body_of([_record(n, 1.0 + n, low=1) for n in range(3)]))
    row = lake.through(made, body_of([_record(1, 2.0, low=2)]), run_id="run-2", from_date=_day(1))
    assert (row.gold_rows_created, row.gold_rows_updated, row.status) == (0, 0, "promoted")
    assert {key[2]: (r["run_id"], r["bronze_file_id"] == row.file_id) for key, r in _fact(lake).items()} == {
        0: ("run-1", False),
        1: ("run-2", True),
        2: ("run-1", False),
    }
    _equals_a_rebuild(lake, made, "gold.fact_eod")


def test_a_day_that_silver_no_longer_has_leaves_gold_too(lake: Lake) -> None:
    row = lake.through(PRICES, body_of(_series(60)))
    lake.through(PRICES, body_of([_record(0, 5.0)]), ticker="BBB", run_id="run-2")
    lake.execute(f"DELETE FROM {PRICES.silver_table} WHERE ticker = 'AAA' AND date IN (?, ?)", [_day(10), _day(59)])
    lake.execute(f"DELETE FROM {PRICES.silver_table} WHERE ticker = 'BBB'")
    lake.execute("UPDATE ops.file_ingestions SET silver_can_promote = true")
    lake.to_gold(PRICES)
    assert sorted(key[2] for key in _fact(lake)) == [*range(10), *range(11, 59)]
    # Day 11 has another return, the volatility begins a day later, and ten days more had day 10 in their window.
    assert (lake.row(row).gold_rows_created, lake.row(row).gold_rows_updated) == (60, 12)
    _equals_a_rebuild(lake, PRICES, "gold.fact_eod")


def test_a_currency_that_silver_no_longer_has_leaves_gold_too(lake: Lake) -> None:
    lake.through(RATES, b"Date,USD,JPY\n2020-01-02,1,2\n2020-01-03,2,4\n")
    lake.execute(f"DELETE FROM {RATES.silver_table} WHERE currency = 'JPY'")
    lake.execute("UPDATE ops.file_ingestions SET silver_can_promote = true")
    lake.to_gold(RATES)
    assert {key[0] for key in _fact(lake, "gold.fact_fx")} == {"USD"}


# --- who it is counted for ----------------------------------------------------------------------------------------------------


def test_each_row_is_counted_for_the_newest_file_that_reaches_it(lake: Lake) -> None:
    late_days = lake.put(PRICES, body_of(_series(10, start=200)), run_id="run-1")  # stored first, with the later days
    early_days = lake.put(PRICES, body_of(_series(40)), run_id="run-2")
    overlap = lake.put(PRICES, body_of([_record(39, 1.0), _record(40, 2.0)]), run_id="run-3")
    lake.to_silver(PRICES)
    lake.to_gold(PRICES)
    counts = {
        row.run_id: (row.gold_rows_created, row.gold_rows_updated) for row in map(lake.row, (late_days, early_days, overlap))
    }
    # Days 200 to 209 are among the twenty rows behind day 40, so the newest file reaches them.
    assert counts == {"run-1": (0, 0), "run-2": (39, 0), "run-3": (12, 0)}


def test_a_file_reaches_no_row_beyond_its_twenty(lake: Lake) -> None:
    rows = [
        lake.put(PRICES, body_of(_series(40, start=100)), run_id="run-1"),
        lake.put(PRICES, body_of(_series(40)), run_id="run-2"),
        lake.put(PRICES, body_of(_series(3)), run_id="run-3", ticker="BBB"),
    ]
    lake.to_silver(PRICES)
    lake.to_gold(PRICES)
    assert [lake.row(row).gold_rows_created for row in rows] == [20, 60, 3]


def test_a_file_that_is_built_again_keeps_what_it_built_before(lake: Lake) -> None:
    later = lake.through(PRICES, body_of(_series(30)), run_id="run-2")
    assert later.gold_rows_created == 30
    late = lake.through(PRICES, body_of([_record(n, 1.0) for n in (-1, 3)]), known_at=FIRST_KNOWN)
    later = lake.row(later)
    assert (late.gold_rows_created, later.gold_rows_created) == (1, 30)
    # The first day has a return now, and twenty rows behind it a volatility, or another one.
    assert (late.gold_rows_updated, later.gold_rows_updated) == (0, 2)
    assert sum(row.gold_rows_created for row in lake.ledger()) == len(_fact(lake))
    _equals_a_rebuild(lake, PRICES, "gold.fact_eod")


def test_files_that_another_run_built_meanwhile_are_left_out(lake: Lake) -> None:
    lake.put(PRICES, body_of(_series(3)))
    lake.to_silver(PRICES)
    lake.to_gold(PRICES, "run-1")
    before = lake.picture()
    assert lake.to_gold(PRICES, "run-2") == []
    assert lake.picture() == before


def test_nothing_moves_when_the_transaction_fails_behind_the_build(lake: Lake) -> None:
    lake.put(PRICES, body_of(_series(3)))
    lake.to_silver(PRICES)
    before = lake.picture()
    try:
        with lake.warehouse.transaction():
            lake.to_gold(PRICES)
            raise RuntimeError("power")
    except RuntimeError:
        assert lake.picture() == before
    lake.to_gold(PRICES)
    assert len(_fact(lake)) == 3


# --- laws ---------------------------------------------------------------------------------------------------------------------

_prices = st.one_of(st.floats(1, 200), st.floats(1, 200), st.sampled_from([100.0, 101.0, None, 0.0, -1.0]))
_spans = st.tuples(st.integers(-3, 60), st.lists(_prices, min_size=1, max_size=8))
_increment = st.tuples(
    st.sampled_from(["AAA", "AAA", "BBB"]),
    _spans,
    st.integers(0, 9),  # when the file was stored: late ones come after newer ones
    st.booleans(),  # whether gold is built after it, or waits for the next
)


def _changes(before: dict[Any, dict[str, Any]], after: dict[Any, dict[str, Any]], names: tuple[str, ...]) -> tuple[int, int]:
    created = sum(key not in before for key in after)
    updated = sum(any(after[key][n] != before[key][n] for n in names) for key in after if key in before)
    return created, updated


def _counted(rows: list[DatasetInjestion]) -> tuple[int, int]:
    return sum(row.gold_rows_created for row in rows), sum(row.gold_rows_updated for row in rows)


@given(increments=st.lists(_increment, min_size=1, max_size=4))
@settings(max_examples=8)
def test_prices_in_increments_equal_a_rebuild(shared_lake: Lake, increments: list[Any]) -> None:
    lake = shared_lake
    lake.clear()
    # Long enough that windows are full, so that what an increment must read before itself matters.
    lake.through(PRICES, body_of(_series(45)), run_id="base", known_at=FIRST_KNOWN + timedelta(seconds=5))
    for number, (ticker, (start, prices), known, build) in enumerate(increments):
        known_at = FIRST_KNOWN + timedelta(seconds=known)
        records = [_record(start + n, price) for n, price in enumerate(prices)]
        lake.put(PRICES, body_of(records), ticker=ticker, run_id=f"run-{number}", known_at=known_at)
        lake.to_silver(PRICES)
        if not build and number < len(increments) - 1:
            continue
        before, counted = _fact(lake), _counted(lake.ledger())
        lake.to_gold(PRICES)
        after, recounted = _fact(lake), _counted(lake.ledger())
        assert (recounted[0] - counted[0], recounted[1] - counted[1]) == _changes(before, after, FIGURES)
        for key, row in after.items():
            same = key in before and {**row, "built_at": None} == {**before[key], "built_at": None}
            assert (not same) or row["built_at"] == before[key]["built_at"]
    _equals_a_rebuild(lake, PRICES, "gold.fact_eod")


_lines = st.lists(st.tuples(st.integers(0, 9), *[st.sampled_from(["1.5", "2.5", "0.75", "N/A"])] * 2), min_size=1, max_size=5)


@given(increments=st.lists(st.tuples(_lines, st.integers(0, 9), st.booleans()), min_size=1, max_size=4))
@settings(max_examples=8)
def test_rates_in_increments_equal_a_rebuild(shared_lake: Lake, increments: list[Any]) -> None:
    lake = shared_lake
    lake.clear()
    for number, (lines, known, build) in enumerate(increments):
        body = "Date,USD,JPY\n" + "".join(f"{_day(n)},{usd},{jpy}\n" for n, usd, jpy in lines)
        lake.put(RATES, body.encode(), run_id=f"run-{number}", known_at=FIRST_KNOWN + timedelta(seconds=known))
        lake.to_silver(RATES)
        if not build and number < len(increments) - 1:
            continue
        before, counted = _fact(lake, "gold.fact_fx"), _counted(lake.ledger())
        lake.to_gold(RATES)
        after, recounted = _fact(lake, "gold.fact_fx"), _counted(lake.ledger())
        changed = _changes(before, after, ("rate", "simple_return", "log_return"))
        assert (recounted[0] - counted[0], recounted[1] - counted[1]) == changed
    if lake.rows("SELECT 1 FROM ops.silver_tables"):
        _equals_a_rebuild(lake, RATES, "gold.fact_fx")
