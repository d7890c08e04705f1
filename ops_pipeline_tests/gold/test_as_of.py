"""What we knew when: silver and gold as of a time equal a brute-force model, under both clocks, and never look ahead.

`OPS_TESTS_AS_OF_EXAMPLES` raises the number of examples of the property; each compares every moment at which something changes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_pipeline.errors import UserError
from ops_pipeline.gold.as_of import gold_as_of, silver_as_of
from ops_pipeline.recipes.models import Recipe
from ops_pipeline.silver.as_of import Clock
from ops_pipeline_tests.lake import DATE_COLUMN, FIRST_KNOWN, PRICE_COLUMNS, Lake, body_of, price_recipe, snapshot_recipe

EXAMPLES = int(os.environ.get("OPS_TESTS_AS_OF_EXAMPLES", "4"))
FILED = price_recipe(
    available_at="published", columns=[*PRICE_COLUMNS, {"name": "published", "type": "timestamp"}], max_reject_share=0.5
)
MOMENTS = [FIRST_KNOWN + timedelta(seconds=s - 0.5) for s in range(-6, 34, 5)]


@dataclass(frozen=True)
class File:
    """An answer: known so many seconds after the first, with (day, price, published) records; `published` in seconds, or not said."""

    ticker: str
    known: int
    records: tuple[tuple[int, float, int | None], ...]

    @property
    def known_at(self) -> datetime:
        return FIRST_KNOWN + timedelta(seconds=self.known)

    @property
    def body(self) -> bytes:
        return body_of(
            [
                {"date": str(date(2024, 1, day)), "close": price, "volume": 1, "adjClose": price, "published": _text(said)}
                for day, price, said in self.records
            ]
        )


def _second(offset: int | None) -> datetime | None:
    return None if offset is None else FIRST_KNOWN + timedelta(seconds=offset)


def _text(offset: int | None) -> str | None:
    moment = _second(offset)
    return moment.isoformat() if moment else None


RECORDS = st.lists(
    st.tuples(st.integers(1, 6), st.sampled_from([10.0, 11.0, 12.5]), st.none() | st.integers(-8, 24)),
    min_size=1,
    max_size=5,
    unique_by=lambda r: r[0],
)
FILES = st.lists(
    st.builds(File, st.sampled_from(["AAA", "BBB"]), st.integers(0, 25), RECORDS.map(tuple)),
    min_size=1,
    max_size=7,
    unique_by=lambda f: (f.ticker, f.known),
)


def known_rows(files: Sequence[File], moment: datetime) -> dict[tuple[str, int], tuple[float, int | None]]:
    """Every file stored by then, applied one by one."""
    rows: dict[tuple[str, int], tuple[float, int | None]] = {}
    for file in sorted(files, key=lambda f: f.known):
        if file.known_at <= moment:
            rows.update({(file.ticker, day): (price, said) for day, price, said in file.records})
    return rows


def public_rows(files: Sequence[File], moment: datetime) -> dict[tuple[str, int], tuple[float, int | None]]:
    """The last version of each row that counts by then: since its own later date, else since it was stored."""
    versions: dict[tuple[str, int], list[tuple[datetime, tuple[float, int | None]]]] = {}
    dates: dict[tuple[str, int], list[datetime]] = {}
    for file in sorted(files, key=lambda f: f.known):
        for day, price, said in file.records:
            key, mine = (file.ticker, day), versions.setdefault((file.ticker, day), [])
            if mine and mine[-1][1] == (price, said):
                continue  # nothing changed
            stated, earlier = _second(said), dates.setdefault(key, [])
            later = stated is not None and all(stated > d for d in earlier)
            mine.append((min(stated, file.known_at) if stated and later else file.known_at, (price, said)))
            earlier += [stated] if stated else []
    found = {}
    for key, mine in versions.items():
        counting = [values for since, values in mine if since <= moment]
        if counting:
            found[key] = counting[-1]
    return found


def as_rows(table: Any) -> dict[tuple[str, int], tuple[float, int | None]]:
    rows = table.to_pylist()
    found = {
        (r["ticker"], r["date"].day): (r["close"], r["published"] and round((r["published"] - FIRST_KNOWN).total_seconds()))
        for r in rows
    }
    assert len(found) == len(rows)
    return found


def load(lake: Lake, recipe: Recipe, files: Sequence[File]) -> None:
    """One run a file, in the order given: files that were stored early may be promoted late."""
    for number, file in enumerate(files):
        row = lake.put(recipe, file.body, ticker=file.ticker, known_at=file.known_at, run_id=f"run-{number}")
        lake.to_silver(recipe, row.run_id)
    lake.to_gold(recipe)


def gold_rows(rows: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    names = ("date", "close", "adjusted_close", "simple_return", "log_return", "volatility_20d", "bronze_file_id", "known_at")
    return sorted((r["instrument_id"], *(r[n] for n in names)) for r in rows)


@settings(max_examples=EXAMPLES)
@given(FILES, st.randoms(use_true_random=False))
def test_as_of_equals_the_model_whatever_is_restated_delayed_or_out_of_order(
    shared_lake: Lake, files: list[File], chance: Any
) -> None:
    lake = shared_lake
    lake.clear()
    load(lake, FILED, files)
    with lake.warehouse.reading() as connection:
        for moment in MOMENTS:
            expected = {Clock.KNOWN: known_rows(files, moment), Clock.AVAILABLE: public_rows(files, moment)}
            for clock, rows in expected.items():
                assert as_rows(silver_as_of(connection, FILED, moment, clock=clock).table) == rows, (clock, moment)
        moment = chance.choice(MOMENTS)
        for macro, model in (("as_of", public_rows), ("as_known", known_rows)):
            by_sql = connection.execute(f"FROM silver.vendor_prices_{macro}(?)", [moment]).to_arrow_table()
            assert as_rows(by_sql) == model(files, moment)
        then = gold_as_of(connection, FILED, moment, clock=Clock.KNOWN).table.to_pylist()
    # A lake that never saw what came later: no look-ahead.
    lake.clear()
    load(lake, FILED, [f for f in files if f.known_at <= moment])
    assert gold_rows(then) == gold_rows(lake.rows("SELECT * FROM gold.fact_eod"))


def test_the_fact_as_of_joins_the_datasets_that_feed_it(lake: Lake) -> None:
    other = price_recipe(dataset="closes")
    for number, recipe in enumerate((price_recipe(), other)):
        for price in (10, 11):
            known_at, body = FIRST_KNOWN + timedelta(seconds=number + price), body_of([{"date": "2024-01-02", "close": price}])
            lake.through(recipe, body, run_id=f"run-{price}", known_at=known_at)
    found = lake.rows("SELECT close FROM gold.fact_eod_as_of(?) ORDER BY close", [FIRST_KNOWN + timedelta(seconds=11)])
    assert [r["close"] for r in found] == [10.0, 11.0]
    assert lake.rows("SELECT count(*) AS n FROM gold.vendor_closes_as_of('2024-01-02')") == [{"n": 1}]


def test_a_day_is_public_at_its_end_where_the_vendor_is(lake: Lake) -> None:
    columns = [*PRICE_COLUMNS, {"name": "filed", "type": "date"}]
    recipe = price_recipe(dataset="filings", columns=columns, available_at="filed", timezone="America/New_York", gold=None)
    lake.through(recipe, body_of([{"date": "2023-03-31", "close": 1, "filed": "2023-05-10"}]))
    with lake.warehouse.reading() as connection:
        before = silver_as_of(connection, recipe, datetime(2023, 5, 11, 3, 59, tzinfo=UTC))
        after = silver_as_of(connection, recipe, datetime(2023, 5, 11, 4, 0, tzinfo=UTC))
    assert (before.table.num_rows, after.table.num_rows) == (0, 1)
    assert "Before the first answer, stored 2024-01-01" in after.basis
    assert "filed" in after.basis


def test_of_vintages_the_newest_public_one_is_the_value(lake: Lake) -> None:
    columns = [DATE_COLUMN, {"name": "vintage", "type": "date", "required": True}, {"name": "value", "type": "double"}]
    recipe = price_recipe(
        dataset="series", columns=columns, key=["date", "vintage"], available_at="vintage", mode="by_vintage", gold=None
    )
    vintages = [("2023-04-01", 1.0), ("2023-05-01", 1.5), ("2023-06-01", 1.25)]
    lake.through(recipe, json.dumps([{"date": "2023-01-01", "vintage": v, "value": x} for v, x in vintages]).encode())
    with lake.warehouse.reading() as connection:
        found = [
            silver_as_of(connection, recipe, datetime(2023, month, 15, tzinfo=UTC)).table["value"].to_pylist()
            for month in (3, 4, 5, 7)
        ]
    assert found == [[], [1.0], [1.5], [1.25]]


def test_what_cannot_be_asked_is_said(lake: Lake) -> None:
    plain, moment = price_recipe(), datetime(2023, 1, 1, tzinfo=UTC)
    with lake.warehouse.reading() as connection, pytest.raises(UserError, match="nothing was ever stored"):
        silver_as_of(connection, plain, moment)
    lake.through(plain, body_of([{"date": "2024-01-02", "close": 10}]))
    profiles = snapshot_recipe()
    lake.through(profiles, body_of([{"symbol": "AAA"}]))
    with lake.warehouse.reading() as connection:
        early = silver_as_of(connection, plain, moment)
        assert (early.table.num_rows, early.clock) == (0, Clock.KNOWN)
        assert "nothing was known" in early.basis
        for call, words in (
            (lambda: silver_as_of(connection, plain, moment.replace(tzinfo=None)), "time zone"),
            (lambda: silver_as_of(connection, plain, moment, clock=Clock.AVAILABLE), "available_at"),
            (lambda: silver_as_of(connection, profiles, moment, day=date(2024, 1, 2)), "no such column"),
            (lambda: gold_as_of(connection, profiles, moment), "feeds no gold"),
        ):
            with pytest.raises(UserError, match=words):
                call()
