"""Renames in gold: one instrument, one row a day, and the same rows whenever the rename is declared.

Belongs here: `gold.identity` and facts of instruments with more than one symbol. Does not belong here: what may be declared (`recipes`).
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops_pipeline.gold.build import Changes, rebuild
from ops_pipeline.gold.dimensions import instrument_id
from ops_pipeline.gold.identity import apply
from ops_pipeline.gold.series import price_points
from ops_pipeline.recipes.identity import Delisting, Identities, Listing, Rename, identities_of
from ops_pipeline_tests.lake import Lake, body_of, price_recipe

EQ = "equities"
PRICES = price_recipe()
RENAMED = date(2020, 1, 13)
FB_META = Rename(EQ, "FB", "META", RENAMED)
FB = instrument_id(EQ, "FB")


def prices(first: int, last: int, close: float) -> bytes:
    """Rows of January 2020, both days inclusive."""
    days = [date(2020, 1, n).isoformat() for n in range(first, last + 1)]
    return body_of([{"date": day, "close": close + n, "adjClose": close + n} for n, day in enumerate(days)])


def declare(lake: Lake, *events: Rename | Delisting | Listing) -> list[str]:
    with lake.warehouse.transaction() as connection:
        return apply(connection, identities_of(events), [PRICES])


def facts(lake: Lake) -> dict[tuple[str, int], float]:
    """(instrument, day of January) -> close; a day that an instrument has twice fails."""
    rows = lake.rows("SELECT instrument_id, day(date) AS n, close FROM gold.fact_eod")
    found = {(row["instrument_id"], row["n"]): row["close"] for row in rows}
    assert len(found) == len(rows), "an instrument has two rows for one day"
    return found


def assert_as_rebuilt(lake: Lake) -> None:
    with lake.warehouse.transaction() as connection:
        assert rebuild(connection, PRICES) == Changes()


def test_a_rename_makes_two_instruments_one_with_the_earlier_ones_id(lake: Lake) -> None:
    lake.through(PRICES, prices(1, 12, 100), ticker="FB")
    lake.through(PRICES, prices(5, 20, 500), ticker="META", run_id="run-2")
    lake.through(PRICES, prices(1, 3, 7), ticker="IBM", run_id="run-3")
    assert len({instrument for instrument, _ in facts(lake)}) == 3
    assert declare(lake, FB_META) == ["FB", "META"]
    assert declare(lake, FB_META) == []
    found = facts(lake)
    # The present symbol has the history that vendors give it; what only the old one has is not lost.
    assert {n: close for (i, n), close in found.items() if i == FB} == {
        **{n: 99.0 + n for n in range(1, 5)},
        **{n: 495.0 + n for n in range(5, 21)},
    }
    assert lake.table("gold.dim_instrument") == sorted(
        [
            (FB, "FB", EQ, None, RENAMED - timedelta(days=1)),
            (FB, "META", EQ, RENAMED, None),
            (instrument_id(EQ, "IBM"), "IBM", EQ, None, None),
        ],
        key=str,
    )
    assert_as_rebuilt(lake)


def test_a_chart_of_a_renamed_instrument_goes_on_where_the_old_symbol_ended(lake: Lake) -> None:
    declare(lake, FB_META)
    lake.through(PRICES, prices(1, 12, 100), ticker="FB")
    lake.through(PRICES, prices(13, 20, 500), ticker="META", run_id="run-2")
    with lake.warehouse.reading() as connection:
        drawn = {name: [p.date.day for p in price_points(connection, PRICES, name)] for name in ("META", "FB")}
    assert drawn == {"META": list(range(1, 21)), "FB": list(range(1, 13))}


def test_returns_never_span_two_symbols_bases(lake: Lake) -> None:
    declare(lake, FB_META)
    lake.through(PRICES, prices(1, 12, 100), ticker="FB")
    lake.through(PRICES, prices(13, 20, 500), ticker="META", run_id="run-2")
    rows = {r["n"]: r["simple_return"] for r in lake.rows("SELECT day(date) AS n, simple_return FROM gold.fact_eod")}
    assert rows[13] is None
    assert rows[14] == pytest.approx(1 / 500)
    assert_as_rebuilt(lake)


def test_late_files_of_either_symbol_leave_what_a_rebuild_would(lake: Lake) -> None:
    declare(lake, FB_META)
    lake.through(PRICES, prices(13, 20, 500), ticker="META")
    lake.through(PRICES, prices(1, 15, 100), ticker="FB", run_id="run-2")
    assert {n for _, n in facts(lake)} == set(range(1, 21))
    assert facts(lake)[FB, 14] == 501.0, "FB's rows behind its last day are nobody's"
    lake.through(PRICES, prices(3, 5, 900), ticker="META", run_id="run-3")
    assert facts(lake)[FB, 4] == 901.0
    lake.through(PRICES, prices(4, 8, 300), ticker="FB", run_id="run-4")
    assert [facts(lake)[FB, n] for n in (4, 5, 6)] == [901.0, 902.0, 302.0]
    assert_as_rebuilt(lake)


def test_a_rename_that_is_taken_back_leaves_two_instruments(lake: Lake) -> None:
    lake.through(PRICES, prices(1, 12, 100), ticker="FB")
    lake.through(PRICES, prices(5, 20, 500), ticker="META", run_id="run-2")
    before = facts(lake), lake.table("gold.dim_instrument")
    declare(lake, FB_META)
    assert declare(lake) == ["FB", "META"]
    assert (facts(lake), lake.table("gold.dim_instrument")) == before


def test_an_id_stays_when_an_earlier_symbol_becomes_known(lake: Lake) -> None:
    lake.through(PRICES, prices(13, 20, 500), ticker="META")
    declare(lake, FB_META)
    assert {i for i, _ in facts(lake)} == {instrument_id(EQ, "META")}
    declare(lake, FB_META, Rename(EQ, "META", "M", date(2020, 1, 17)))
    assert {i for i, _ in facts(lake)} == {instrument_id(EQ, "META")}


def test_a_symbol_that_is_used_again_is_another_instrument(lake: Lake) -> None:
    lake.through(PRICES, prices(1, 20, 100), ticker="FB")
    again = date(2020, 1, 16)
    declare(lake, FB_META, Listing(EQ, "FB", again))
    found = facts(lake)
    other = instrument_id(EQ, "FB", again)
    assert {n for i, n in found if i == FB} == set(range(1, 13))
    assert {n for i, n in found if i == other} == set(range(16, 21))
    lake.through(PRICES, prices(10, 14, 500), ticker="META", run_id="run-2")
    assert {n for i, n in facts(lake) if i == FB} == set(range(1, 15))
    assert_as_rebuilt(lake)


def test_who_is_delisted_stays(lake: Lake) -> None:
    lake.through(PRICES, prices(1, 12, 100), ticker="TWTR")
    declare(lake, Delisting(EQ, "TWTR", date(2020, 1, 12)))
    assert len(facts(lake)) == 12
    assert lake.table("gold.dim_instrument") == [(instrument_id(EQ, "TWTR"), "TWTR", EQ, None, date(2020, 1, 12))]


def test_gold_as_of_a_time_has_one_row_a_day_too(lake: Lake) -> None:
    declare(lake, FB_META)
    lake.through(PRICES, prices(1, 12, 100), ticker="FB")
    lake.through(PRICES, prices(5, 20, 500), ticker="META", run_id="run-2")
    query = "SELECT day(date) AS n, close FROM {} ORDER BY n"
    now = lake.rows(query.format("gold.fact_eod_as_of(TIMESTAMPTZ '2030-01-01 00:00:00+00')"))
    assert now == lake.rows(query.format("gold.fact_eod"))


MOVES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["FB", "META", "M"]), st.integers(1, 10), st.integers(0, 8), st.integers(1, 9)),
        st.sampled_from([(FB_META,), (FB_META, Rename(EQ, "META", "M", date(2020, 1, 17))), ()]),
    ),
    min_size=1,
    max_size=6,
)


@given(moves=MOVES)
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_order_of_files_and_declarations_gold_is_what_a_rebuild_makes(lake: Lake, moves: list[Any]) -> None:
    lake.clear()
    for n, move in enumerate(moves):
        if move and isinstance(move[0], str):
            ticker, first, length, close = move
            lake.through(PRICES, prices(first, first + length, close * 100), ticker=ticker, run_id=f"run-{n}")
        else:
            declare(lake, *move)
    facts(lake)
    assert_as_rebuilt(lake)


def test_nothing_declared_is_nothing_done(lake: Lake) -> None:
    lake.through(PRICES, prices(1, 3, 100), ticker="FB")
    with lake.warehouse.transaction() as connection:
        assert apply(connection, Identities(), [PRICES]) == []
