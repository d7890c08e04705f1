"""Hiding rows that a vendor dropped, and bringing them back; over real runs.

Belongs here: what a decision changes in silver, gold, history and ledger, at which time, and that replays, late files, later answers and a
killed process keep to it. Does not belong here: which rows were dropped (`test_dropped`), the command line (`cli/test_dropped`).
"""

from __future__ import annotations

import shutil
import signal
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ops_pipeline.engine.context import Context
from ops_pipeline.engine.decisions import Decided, find_hidden, hide, restore
from ops_pipeline.engine.dropped import find_dropped
from ops_pipeline.engine.replay import replay
from ops_pipeline.errors import UserError
from ops_pipeline.gold.as_of import gold_as_of, silver_as_of
from ops_pipeline.gold.build import rebuild
from ops_pipeline.gold.explain import Trail, explain
from ops_pipeline.maintenance.reconcile import reconcile
from ops_pipeline.ops.failures import latest_failures
from ops_pipeline.ops.queries import miscounted_tables
from ops_pipeline_tests.engine.home import PRICES, RATES, asking, contents, ledger, make_home, prices_recipe, run
from ops_pipeline_tests.engine.processes import Process
from ops_pipeline_tests.engine.test_dropped import FRIDAY, GONE, MONDAY, home, without

NEXT = date(2024, 1, 11)


@pytest.fixture(scope="module")
def lacking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose newest answer lacks a row of AAA; never changed."""
    folder = tmp_path_factory.mktemp("lacking")
    home(folder, without(), without(GONE))
    return folder


@pytest.fixture
def context(lacking: Path, tmp_path: Path) -> Context:
    """A copy of that home."""
    shutil.copytree(lacking, tmp_path, dirs_exist_ok=True)
    return opened(tmp_path)


def opened(folder: Path, **changes: Any) -> Context:
    return make_home(folder, recipes=[prices_recipe(lookback_days=10, **changes)], tickers=["AAA", "BBB"], publish="none")


def days(context: Context, table: str = "silver.vendor_prices", ticker: str = "AAA") -> set[date]:
    where = (
        "ticker = ?"
        if table.startswith("silver")
        else "instrument_id IN (SELECT instrument_id FROM gold.dim_instrument WHERE symbol = ?)"
    )
    with context.warehouse.reading() as connection:
        return {day for (day,) in connection.execute(f"SELECT date FROM {table} WHERE {where}", [ticker]).fetchall()}


def history(context: Context, day: date = GONE, ticker: str = "AAA") -> str:
    with context.warehouse.reading() as connection:
        found = connection.execute(
            "SELECT operation FROM silver.vendor_prices_history WHERE ticker = ? AND date = ? ORDER BY known_at, run_id, bronze_file_id",
            [ticker, day],
        ).fetchall()
    return "".join(operation for (operation,) in found)


def hidden(context: Context, **wanted: str) -> list[tuple[str, date, str | None]]:
    return [(row.ticker, row.day, row.reason) for row in find_hidden(context, **wanted)]


def hide_all(context: Context, run_id: str = "decision") -> list[Decided]:
    return hide(context, find_dropped(context), run_id=run_id, reason="cancelled trade")


def as_known(context: Context, moment: datetime) -> list[set[date]]:
    recipe = context.catalogue.recipe(PRICES)
    with context.warehouse.reading() as connection:
        silver = silver_as_of(connection, recipe, moment, ticker="AAA").table
        gold = gold_as_of(connection, recipe, moment, ticker="AAA").table
    return [set(table["date"].to_pylist()) for table in (silver, gold)]


def trail(context: Context) -> Trail:
    with context.warehouse.reading() as connection:
        (found,) = explain(connection, [context.catalogue.recipe(PRICES)], "AAA", GONE)
    return found


def assert_sound(context: Context) -> None:
    """Ledger, history and gold agree, and a replay makes nothing else of bronze and the decisions."""
    before = contents(context, lineage=True)
    assert reconcile(context).found == []
    with context.warehouse.reading() as connection:
        assert miscounted_tables(connection) == []
    with context.warehouse.transaction() as connection:
        changes = rebuild(connection, context.catalogue.recipe(PRICES))
    assert (changes.created, changes.updated, changes.deleted) == (0, 0, 0)
    done = replay(context, context.catalogue.recipe(PRICES), f"replay-{len(ledger(context))}")
    assert (done.comparison.identical, done.swapped) == (True, False)
    assert contents(context, lineage=True) == before


def test_a_hidden_row_is_gone_from_then_on_and_comes_back_with_an_answer_that_has_it(context: Context) -> None:
    everything = days(context)
    (done,) = hide_all(context)
    assert (done.dataset, done.ticker, done.rows) == (PRICES, "AAA", 1)
    assert days(context) == days(context, "gold.fact_eod") == everything - {GONE}
    assert days(context, ticker="BBB") == everything
    assert find_dropped(context) == []
    assert hidden(context, dataset=PRICES, ticker="AAA") == [("AAA", GONE, "cancelled trade")]
    assert hidden(context, ticker="BBB") == hidden(context, dataset=RATES) == []
    # Next day's return is that against the day before, as if the row had never been.
    with context.warehouse.reading() as connection:
        figures = connection.execute(
            """SELECT s.close, f.simple_return FROM gold.fact_eod f JOIN silver.vendor_prices s ON s.date = f.date AND s.ticker = 'AAA'
            WHERE f.date IN (?, ?) AND f.bronze_file_id = s.bronze_file_id ORDER BY f.date""",
            [GONE - timedelta(days=1), NEXT],
        ).fetchall()
    assert figures[1][1] == pytest.approx(figures[1][0] / figures[0][0] - 1)

    (row,) = ledger(context, "promotion_kind = 'decision'")
    assert (row.bronze_rows, row.silver_rows_deleted, row.silver_from_date, row.gold_run_id) == (0, 1, GONE, "decision")
    at = row.bronze_injest_end_time
    assert at is not None
    assert as_known(context, at - timedelta(microseconds=1)) == [everything, everything]
    assert as_known(context, at) == [everything - {GONE}] * 2
    told = trail(context)
    assert (told.gold, told.silver, [v.operation for v in told.versions]) == (None, None, ["created", "hidden"])
    assert told.versions[-1].sentence.endswith("cancelled trade")

    # The answer of the next day lacks the row as well, the one after it has it again.
    run(asking(context, without(GONE)), today=MONDAY + timedelta(days=1), run_id="lacks")
    assert GONE not in days(context)
    run(asking(context, without()), today=MONDAY + timedelta(days=2), run_id="has")
    assert {GONE} <= days(context) & days(context, "gold.fact_eod")
    assert (history(context), hidden(context), find_dropped(context)) == ("CDC", [], [])
    assert [v.operation for v in trail(context).versions] == ["created", "hidden", "created"]
    assert_sound(context)


def test_brought_back_by_hand_and_hidden_again(context: Context) -> None:
    before = contents(context)
    hide_all(context)
    (done,) = restore(context, find_hidden(context), run_id="restored", reason="the vendor was wrong")
    assert done.rows == 1
    tables = ("silver.vendor_prices", "gold.fact_eod")
    unlike_lineage = [
        {row for table in tables for row in map(without_file, found[table])} for found in (before, contents(context))
    ]
    assert unlike_lineage[0] == unlike_lineage[1]
    (row,) = ledger(context, "run_id = 'restored'")
    assert (row.bronze_rows, row.silver_rows_created) == (1, 1)
    assert [v.operation for v in trail(context).versions] == ["created", "hidden", "brought back"]
    assert hidden(context) == []
    # As before: the newest answer still lacks it.
    assert [r.day for r in find_dropped(context)] == [GONE]
    hide_all(context, "again")
    assert (GONE in days(context), history(context)) == (False, "CDCD")
    assert_sound(context)


def without_file(row: tuple[str, ...]) -> tuple[str, ...]:
    """A row as text without the ids of its file."""
    return tuple(text for text in row if len(text) != 32)


def test_a_late_file_is_merged_before_the_decision(tmp_path: Path) -> None:
    context = home(tmp_path, without())
    run(asking(context, without()), today=FRIDAY + timedelta(days=1), run_id="late", full=True, layers=frozenset({"bronze"}))
    with context.warehouse.reading() as connection:
        waiting = connection.execute("SELECT count(*) FROM ops.file_ingestions WHERE bronze_can_promote").fetchone()
    assert waiting != (0,)
    run(asking(context, without(GONE)), today=MONDAY, run_id="lacks", layers=frozenset({"bronze"}))
    with context.warehouse.transaction() as connection:
        connection.execute("UPDATE ops.file_ingestions SET bronze_can_promote = false WHERE run_id = 'late'")
    run(context, today=MONDAY, run_id="promotes")
    hide_all(context)
    with context.warehouse.transaction() as connection:
        connection.execute("UPDATE ops.file_ingestions SET bronze_can_promote = true WHERE run_id = 'late'")
    run(context, today=MONDAY, run_id="later")
    assert ledger(context, "bronze_can_promote OR silver_can_promote") == []
    assert (GONE in days(context), GONE in days(context, "gold.fact_eod"), history(context)) == (False, False, "CD")
    assert hidden(context) == [("AAA", GONE, "cancelled trade")]
    assert_sound(context)


def test_nothing_is_hidden_behind_an_answer_that_may_have_it(context: Context) -> None:
    found = find_dropped(context)
    run(asking(context, without()), today=MONDAY + timedelta(days=1), run_id="has")
    with pytest.raises(UserError, match="run has asks for 2024-01-10"):
        hide(context, found, run_id="decision")
    assert GONE in days(context)
    assert ledger(context, "run_id = 'decision'") == []
    with context.warehouse.reading() as connection:
        assert connection.execute("SELECT count(*) FROM ops.decisions").fetchone() == (0,)


def test_a_failure_is_not_covered_by_a_decision(context: Context) -> None:
    found = find_dropped(context)
    with context.warehouse.transaction() as connection:
        connection.execute(
            """INSERT INTO ops.file_ingestions BY NAME SELECT * REPLACE ('broken' AS run_id, 'other' AS request_id,
                requested_to_date + 9 AS requested_to_date, requested_to_date + 8 AS requested_from_date, 'failed' AS bronze_outcome,
                'HTTP 500' AS bronze_error, now() AS bronze_injest_start_time, now() AS bronze_injest_end_time)
            FROM ops.file_ingestions WHERE run_id = 'run-1' AND ticker = 'AAA'"""
        )
    hide(context, found, run_id="decision")
    with context.warehouse.reading() as connection:
        assert [failure.run_id for failure in latest_failures(connection)] == ["broken"]


def test_a_whole_history_since_then_keeps_the_row_hidden(tmp_path: Path) -> None:
    """Its values may stand on the basis of before."""
    context = home(tmp_path, without(), without(GONE), refetch_on_restatement=True)
    hide_all(context)
    run(asking(context, without(GONE)), today=MONDAY + timedelta(days=1), run_id="whole", full=True)
    assert {row.silver_hold for row in ledger(context, "run_id = 'whole' AND ticker = 'AAA'")} == {"whole"}
    with pytest.raises(UserError, match="its whole history came on"):
        restore(context, find_hidden(context), run_id="restored")
    assert GONE not in days(context)
    assert_sound(context)


def test_killed_while_it_decides(context: Context) -> None:
    """With everything written, and nothing committed."""
    before, folder = contents(context, lineage=True), context.settings.home
    process = Process("hiding", folder, kill_at=["decided on %d rows", 1], recipe={"lookback_days": 10}, tickers=["AAA", "BBB"])
    assert process.returncode() == -signal.SIGKILL
    again = opened(folder)
    assert (contents(again, lineage=True), ledger(again, "promotion_kind = 'decision'")) == (before, [])
    assert [done.rows for done in hide_all(again)] == [1]
    assert days(again) == days(again, "gold.fact_eod") == days(again, ticker="BBB") - {GONE}
    assert reconcile(again).found == []
