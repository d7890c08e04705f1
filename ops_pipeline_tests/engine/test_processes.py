"""Many processes over one home: every one ends well, and the result is that of one.

Belongs here: runs beside runs and readers. Does not belong here: foreign programs (`test_foreign`), dying processes (`test_kill`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ops_pipeline.engine.context import Context
from ops_pipeline.gold.build import Changes, rebuild
from ops_pipeline_tests.engine import model
from ops_pipeline_tests.engine.conftest import Start
from ops_pipeline_tests.engine.home import (
    FEBRUARY,
    MARKET,
    PRICES,
    TABLES,
    assert_tidy,
    bronze_files,
    contents,
    latest,
    ledger,
    make_home,
    run,
)
from ops_pipeline_tests.engine.processes import Process

READERS = 4
TODAY = {"today": str(FEBRUARY)}


def together(start: Start, home: Path, writers: Sequence[Process], tickers: Sequence[str] = MARKET) -> list[list[str]]:
    """Lets the writers go at once, while readers keep reading; what each writer said. All end well."""
    readers = [start("reader", home, tickers=tickers) for _ in range(READERS)]
    for process in (*readers, *writers):
        assert process.hear() == "ready"
    for process in (*readers, *writers):
        process.tell()
    said = [writer.end() for writer in writers]
    (home / "stop").touch()
    for reader in readers:
        (reads,) = reader.end()
        assert int(reads.removeprefix("reads ")) > 0
    return said


def assert_gold_follows(context: Context) -> None:
    """A full rebuild of gold changes nothing."""
    with context.warehouse.transaction() as connection:
        made = {name for (name,) in connection.execute("SELECT silver_tablename FROM ops.silver_tables").fetchall()}
        for recipe in context.catalogue.recipes.values():
            assert recipe.silver_table not in made or rebuild(connection, recipe) == Changes()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """One run over everything, with nobody beside it."""
    context = make_home(tmp_path_factory.mktemp("alone"))
    run(context)
    return context


def values_only(context: Context) -> dict[str, list[tuple[str, ...]]]:
    """Tables without the file that gave a row: of equal answers, any may have come first."""
    with context.warehouse.reading() as connection:
        return {
            table: sorted(tuple(map(str, row)) for row in connection.execute(f"SELECT {columns} FROM {table}").fetchall())
            for table, columns in (
                ("silver.vendor_prices", "ticker, date, close, volume, adj_close"),
                ("silver.vendor_rates", "currency, date, rate"),
                (
                    "gold.fact_eod",
                    "instrument_id, date, source, close, adjusted_close, volume, simple_return, log_return, volatility_20d",
                ),
                ("gold.fact_fx", "currency, date, source, rate, simple_return, log_return"),
                ("gold.dim_instrument", "*"),
                ("gold.dim_date", "*"),
            )
        }


@pytest.mark.parametrize("writers", [2, 8])
def test_the_same_keys(writers: int, start: Start, alone: Context, tmp_path: Path) -> None:
    context = make_home(tmp_path)
    said = together(start, tmp_path, [start("engine", tmp_path, days=TODAY, wait=True) for _ in range(writers)])
    for lines in said:
        told = {line.split(" ")[2]: line.split(" ")[0] for line in lines}
        assert set(told) == {*MARKET, "-"}
        assert {ticker for ticker, kind in told.items() if kind == "failed"} == {"DOWN"}
    assert_tidy(context)
    assert_gold_follows(context)
    # Whoever was first, every file is the same file, so even the file that a row came from is the same; only rejects are kept per run.
    same = [table for table in TABLES if table != "silver.rejected_rows"]
    assert {t: contents(context)[t] for t in same} == {t: contents(alone)[t] for t in same}
    assert bronze_files(context) == bronze_files(alone)
    with context.warehouse.reading() as connection:
        created = connection.execute(
            "SELECT sum(silver_rows_created), sum(gold_rows_created), sum(silver_rows_updated) FROM ops.file_ingestions"
        ).fetchone()
    rows = sum(len(contents(alone)[table]) for table in ("silver.vendor_prices", "silver.vendor_rates"))
    assert created == (rows, rows, 0)


def test_keys_of_their_own(start: Start, alone: Context, tmp_path: Path) -> None:
    context = make_home(tmp_path)
    writers = 4
    keys = [[key.ticker, key.dataset] for key in context.universe()]
    shares = [keys[n::writers] for n in range(writers)]
    together(start, tmp_path, [start("engine", tmp_path, days=TODAY, keys=share, wait=True) for share in shares])
    assert_tidy(context)
    assert contents(context) == contents(alone)
    assert bronze_files(context) == bronze_files(alone)
    assert latest(context) == latest(alone)


@pytest.mark.parametrize(("writers", "times"), [(2, 3), (8, 1)])
def test_restatements_that_cross(writers: int, times: int, start: Start, tmp_path: Path) -> None:
    """A, B and A again from many processes: what stands is what the stored files give one after the other."""
    tickers = ["AAA", "BBB"]
    context = make_home(tmp_path, tickers=tickers)
    keys = [[ticker, PRICES] for ticker in tickers]
    given: dict[str, Any] = {
        "tickers": tickers,
        "days": TODAY,
        "options": {"full": True},
        "times": times,
        "keys": keys,
        "wait": True,
    }
    said = together(
        start, tmp_path, [start("engine", tmp_path, **given, vendor="restating", number=n) for n in range(writers)], tickers
    )
    assert [len(lines) for lines in said] == [times * len(tickers)] * writers
    assert not any(line.startswith("failed") for lines in said for line in lines)
    assert_tidy(context)
    files = ledger(context)
    assert len(files) == writers * times * len(tickers)
    expected = model.apply(files, bronze_files(context))
    with context.warehouse.reading() as connection:
        silver = connection.execute(
            "SELECT ticker, date, close, volume, adj_close, bronze_file_id, run_id, known_at FROM silver.vendor_prices"
        ).fetchall()
        history = connection.execute(
            """SELECT ticker, date, close, volume, adj_close, bronze_file_id, run_id, known_at, operation
            FROM silver.vendor_prices_history"""
        ).fetchall()
    assert {(r[0], r[1]): ((r[2], r[3], r[4]), (r[5], r[6], r[7])) for r in silver} == expected.rows
    assert len(silver) == len(expected.rows)
    changes = [(r[0], r[1], (r[2], r[3], r[4]), (r[5], r[6], r[7]), r[8]) for r in history]
    assert sorted(changes) == sorted(expected.history)
    assert {f.key: (f.silver_rows_created, f.silver_rows_updated) for f in files} == expected.counts
    assert_gold_follows(context)
