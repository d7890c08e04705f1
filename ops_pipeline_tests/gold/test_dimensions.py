"""Instruments and dates, and several sources side by side."""

from __future__ import annotations

from datetime import date, timedelta

from ops_pipeline.gold.build import Changes, rebuild
from ops_pipeline.gold.dimensions import ensure_instruments, instrument_id
from ops_pipeline_tests.lake import Lake, body_of, fx_recipe, price_recipe


def _prices(*days: str) -> bytes:
    return body_of([{"date": day, "close": n + 1.0, "adjClose": n + 1.0} for n, day in enumerate(days)])


def test_an_instrument_s_id_is_for_ever() -> None:
    # Written down: other people's tables hold these.
    assert instrument_id("equities", "AAPL") == "20b312365ebbd12c"
    assert instrument_id("equities", "BRK.B") == "6f232513a8c5b921"


def test_ids_depend_on_domain_and_symbol_and_on_nothing_else() -> None:
    ids = {instrument_id(*pair) for pair in [("a", "bc"), ("ab", "c"), ("a", "b"), ("b", "a"), ("a", "BC")]}
    assert len(ids) == 5


def test_an_instrument_is_added_once_whatever_is_promoted_again(lake: Lake) -> None:
    made = price_recipe()
    for run, ticker in (("run-1", "AAPL"), ("run-2", "IBM"), ("run-3", "AAPL")):
        lake.through(made, _prices("2020-01-02", f"2020-01-{run[-1]}3"), ticker=ticker, run_id=run)
    assert lake.table("gold.dim_instrument") == sorted(
        (instrument_id("equities", symbol), symbol, "equities", None, None) for symbol in ("AAPL", "IBM")
    )


def test_a_symbol_that_was_renamed_keeps_its_id(lake: Lake) -> None:
    made = price_recipe()
    lake.execute("INSERT INTO gold.dim_instrument VALUES ('id-of-fb', 'META', 'equities', NULL, NULL)")
    lake.through(made, _prices("2020-01-02"), ticker="META")
    assert [row["instrument_id"] for row in lake.rows("SELECT * FROM gold.fact_eod")] == ["id-of-fb"]
    assert len(lake.table("gold.dim_instrument")) == 1


def test_a_dataset_without_ticker_makes_no_instrument(lake: Lake) -> None:
    lake.through(fx_recipe(), b"Date,USD\n2020-01-02,1\n")
    with lake.warehouse.transaction() as connection:
        ensure_instruments(connection, "fx", ["-"])
    assert lake.table("gold.dim_instrument") == []


def test_dates_are_exactly_the_years_of_the_facts(lake: Lake) -> None:
    made = price_recipe()
    lake.through(made, _prices("2020-03-02"))
    assert [row[0] for row in lake.table("gold.dim_date")] == [date(2020, 1, 1) + timedelta(days=n) for n in range(366)]
    lake.through(fx_recipe(), b"Date,USD\n2018-06-01,1\n", run_id="run-2")
    lake.through(made, _prices("2021-12-31"), run_id="run-3", ticker="BBB")
    wanted = [date(2018, 1, 1) + timedelta(days=n) for n in range((date(2022, 1, 1) - date(2018, 1, 1)).days)]
    assert [row[0] for row in lake.table("gold.dim_date")] == wanted
    lake.execute(f"DELETE FROM {fx_recipe().silver_table}")
    with lake.warehouse.transaction() as connection:
        assert rebuild(connection, fx_recipe()) == Changes(deleted=1)
    assert [row[0] for row in lake.table("gold.dim_date")] == [day for day in wanted if day.year >= 2020]
    lake.execute(f"DELETE FROM {made.silver_table}")
    with lake.warehouse.transaction() as connection:
        assert rebuild(connection, made) == Changes(deleted=2)
    assert lake.table("gold.dim_date") == []


def test_a_date_says_what_the_calendar_says(lake: Lake) -> None:
    lake.through(price_recipe(), _prices("2019-06-03", "2021-06-03"))
    rows = lake.rows("SELECT * FROM gold.dim_date")
    assert len(rows) == 365 + 366 + 365
    for row in rows:
        day = row.pop("date")
        iso = day.isocalendar()
        assert row == {
            "year": day.year,
            "quarter": (day.month + 2) // 3,
            "month": day.month,
            "day": day.day,
            "iso_year": iso.year,
            "iso_week": iso.week,
            "iso_day_of_week": iso.weekday,
            "is_weekend": iso.weekday >= 6,
            "is_month_end": (day + timedelta(days=1)).day == 1,
        }


def test_two_sources_of_one_ticker_do_not_disturb_each_other(lake: Lake) -> None:
    one, other = price_recipe(), price_recipe(source="rival", dataset="eod")
    lake.through(one, _prices("2020-01-02", "2020-01-03"))
    before = lake.table("gold.fact_eod")
    row = lake.through(other, _prices("2020-01-03", "2020-01-06"), run_id="run-2")
    assert (row.gold_rows_created, row.gold_rows_updated) == (2, 0)
    assert [r for r in lake.table("gold.fact_eod") if r in before] == before
    assert lake.rows("SELECT count(*) AS instruments FROM gold.dim_instrument") == [{"instruments": 1}]
    returns = lake.rows("SELECT source, date, simple_return FROM gold.fact_eod ORDER BY source, date")
    assert [(r["source"], r["date"].day, r["simple_return"]) for r in returns] == [
        ("rival", 3, None),
        ("rival", 6, 1.0),
        ("vendor", 2, None),
        ("vendor", 3, 1.0),
    ]
    lake.execute(f"DELETE FROM {other.silver_table}")
    with lake.warehouse.transaction() as connection:
        assert rebuild(connection, one) == Changes()
        assert rebuild(connection, other) == Changes(deleted=2)
    assert lake.table("gold.fact_eod") == before


def test_two_sources_of_rates_do_not_disturb_each_other(lake: Lake) -> None:
    lake.through(fx_recipe(), b"Date,USD\n2020-01-02,1\n2020-01-03,2\n")
    lake.through(fx_recipe(source="rival"), b"Date,USD,JPY\n2020-01-03,4,5\n", run_id="run-2")
    found = lake.rows("SELECT source, currency, rate, simple_return FROM gold.fact_fx ORDER BY source, currency, date")
    assert [tuple(row.values()) for row in found] == [
        ("rival", "JPY", 5.0, None),
        ("rival", "USD", 4.0, None),
        ("vendor", "USD", 1.0, None),
        ("vendor", "USD", 2.0, 1.0),
    ]


def test_two_domains_may_use_one_symbol(lake: Lake) -> None:
    lake.through(price_recipe(), _prices("2020-01-02"))
    lake.through(price_recipe(source="coins", domain="crypto"), _prices("2020-01-02", "2020-01-04"), run_id="run-2")
    counts = lake.rows(
        "SELECT i.domain, count(*) AS days FROM gold.fact_eod JOIN gold.dim_instrument i USING (instrument_id) GROUP BY 1"
    )
    assert {row["domain"]: row["days"] for row in counts} == {"equities": 1, "crypto": 2}


def test_a_dataset_that_was_never_promoted_can_be_rebuilt(lake: Lake) -> None:
    with lake.warehouse.transaction() as connection:
        assert rebuild(connection, price_recipe()) == Changes()
