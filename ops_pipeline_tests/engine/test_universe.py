"""What memberships, renames and delistings do to requests: nothing is asked behind an end, and history is completed.

Belongs here: plans and runs over a home whose universe has dates. Does not belong here: reading the universe file (`recipes` tests).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from ops_pipeline.cli.selection import select_keys
from ops_pipeline.engine.context import Context
from ops_pipeline.engine.outcome import OutcomeKind
from ops_pipeline.engine.plan import RunOptions, due_keys, plan
from ops_pipeline.errors import UniverseError
from ops_pipeline_tests.engine.home import FEBRUARY, FIRST, PRICES, key, ledger, make_home, run

LEFT = date(2024, 1, 17)


def home_of(folder: Path, text: str) -> Context:
    context = make_home(folder, tickers=["AAA", "BBB"])
    (folder / "universe.yaml").write_text(text)
    return context


def asked(context: Context) -> dict[str, list[tuple[date | None, date | None]]]:
    """Ticker -> the windows that a run in mid-February would ask for."""
    planned = plan(context, list(context.universe()), RunOptions(today=FEBRUARY))
    return {p.key.ticker: [(r.from_date, r.to_date) for r in p.requests] for p in planned}


def test_who_left_is_completed_up_to_the_last_day_and_then_is_quiet(tmp_path: Path) -> None:
    context = home_of(tmp_path, f"datasets:\n  {PRICES}: [BBB, {{ticker: AAA, to: {LEFT}}}]\n")
    assert asked(context) == {"BBB": [(FIRST, FEBRUARY)], "AAA": [(FIRST, LEFT)]}
    assert {o.kind for o in run(context).values()} == {OutcomeKind.PROMOTED}
    assert asked(context) == {"BBB": [], "AAA": []}
    assert due_keys(context, RunOptions(today=FEBRUARY)) == []
    (row,) = ledger(context, "ticker = 'AAA'")
    assert (row.bronze_to_date, row.requested_to_date) == (LEFT, LEFT)


def test_a_ticker_that_is_removed_is_asked_no_more_and_its_data_stay(tmp_path: Path) -> None:
    context = home_of(tmp_path, f"datasets:\n  {PRICES}: [AAA, BBB]\n")
    run(context, today=date(2024, 1, 31))
    (tmp_path / "universe.yaml").write_text(f"datasets:\n  {PRICES}: [BBB]\n")
    told = run(context, key("AAA"), key("BBB"))
    assert [o.kind for o in told.values()] == [OutcomeKind.NOT_APPLICABLE, OutcomeKind.PROMOTED]
    with context.warehouse.reading() as connection:
        query = "SELECT count(DISTINCT ticker) FROM silver.vendor_prices"
        assert connection.execute(query).fetchall() == [(2,)]


def test_a_rename_asks_the_new_symbol_for_the_whole_history(tmp_path: Path) -> None:
    context = home_of(tmp_path, f"datasets:\n  {PRICES}: [AAA]\n")
    run(context, today=date(2024, 1, 31))
    renames = "renames: [{from: AAA, to: BBB, on: 2024-02-01}]\n"
    (tmp_path / "universe.yaml").write_text(f"datasets:\n  {PRICES}: [AAA]\n{renames}")
    context = make_home_again(context)
    assert asked(context) == {"BBB": [(FIRST, FEBRUARY)]}
    with pytest.raises(UniverseError, match="AAA is BBB since 2024-02-01: write --ticker BBB"):
        select_keys(context, [], ["AAA"])
    assert run(context)[key("BBB")].kind == OutcomeKind.PROMOTED
    with context.warehouse.reading() as connection:
        symbols = "SELECT symbol, valid_from, valid_to FROM gold.dim_instrument ORDER BY symbol"
        assert connection.execute(symbols).fetchall() == [
            ("AAA", None, date(2024, 1, 31)),
            ("BBB", date(2024, 2, 1), None),
        ]
        # BBB's answer holds the whole history, so every fact is its own; AAA's rows stay in silver.
        one = "SELECT count(DISTINCT instrument_id), count(*), count(DISTINCT date), max(date) FROM gold.fact_eod"
        assert connection.execute(one).fetchall() == [(1, 33, 33, FEBRUARY)]
        own = "SELECT count(*) FROM gold.fact_eod f JOIN silver.vendor_prices s ON s.bronze_file_id = f.bronze_file_id AND s.date = f.date"
        assert connection.execute(f"{own} WHERE s.ticker = 'BBB'").fetchall() == [(33,)]
        assert connection.execute("SELECT count(*) > 0 FROM silver.vendor_prices WHERE ticker = 'AAA'").fetchall() == [(True,)]


def test_thousands_of_tickers_are_planned_in_one_go(tmp_path: Path) -> None:
    context = make_home(tmp_path)
    (tmp_path / "all.csv").write_text("ticker\n" + "".join(f"T{n}\n" for n in range(5000)))
    (tmp_path / "universe.yaml").write_text(f"groups: {{all: all.csv}}\ndatasets:\n  {PRICES}: [{{group: all}}]\n")
    found = asked(context)
    assert len(found) == 5000
    assert set(map(tuple, found.values())) == {((FIRST, FEBRUARY),)}


def make_home_again(context: Context) -> Context:
    """The same home on a day on which the rename has taken place."""
    return replace(context, settings=context.settings.model_copy(update={"today": FEBRUARY}))
