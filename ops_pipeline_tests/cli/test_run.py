"""`run` from the first request to gold: against the packages' own data, in steps, again, in part, with a failing key."""

from __future__ import annotations

import math
import shlex
import subprocess
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from ops_pipeline_tests.cli import truth
from ops_pipeline_tests.cli.command import PROJECT, Answer, contents, environment, ok, ops, rows
from ops_pipeline_tests.cli.conftest import FIRST_STEP, SECOND_STEP, THE_END

ONE_DAY = timedelta(days=1)

# One dataset whose every record is refused: an opening price is no whole number.
BAD_DATASET = """
source: {name: mine, description: A source for this test., client: sample}
recipes:
  - dataset: eod-prices
    domain: equities
    description: Prices whose recipe is wrong.
    per_ticker: true
    mode: window
    first_date: 2000-03-01
    last_date: 2013-03-01
    answer: {format: json}
    columns: [{name: date, type: date, required: true}, {name: open, type: integer, required: true}]
    key: [date]
    date_column: date
"""


def test_the_ledger_equals_the_packaged_data(whole_run: tuple[Path, Answer]) -> None:
    home, answer = whole_run
    found = {row["ticker"]: row for row in rows(home, "SELECT * FROM ops.file_ingestions")}
    assert set(found) == {*truth.closes(), "-"}
    for ticker, series in truth.closes().items():
        row = found[ticker]
        assert (row["bronze_rows"], row["silver_rows_created"], row["gold_rows_created"]) == (len(series),) * 3
        assert (row["bronze_from_date"], row["bronze_to_date"]) == (min(series), max(series))
    every_day = [day for series in truth.rates().values() for day in series]
    fx = found["-"]
    assert (fx["bronze_rows"], fx["silver_rows_created"], fx["gold_rows_created"]) == (len(every_day),) * 3
    assert (fx["bronze_from_date"], fx["bronze_to_date"]) == (min(every_day), max(every_day))
    document = answer.document
    assert document["error"] is None
    assert document["keys"] == {"promoted": 6}
    assert document["summary"]["silver_rows"]["created"] == sum(map(len, truth.closes().values())) + len(every_day)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (
            "SELECT ticker AS series, list(close ORDER BY date) AS values FROM silver.sample_eod_prices GROUP BY ticker",
            truth.closes,
        ),
        (
            "SELECT symbol AS series, list(close ORDER BY date) AS values FROM gold.fact_eod JOIN gold.dim_instrument"
            " USING (instrument_id) GROUP BY symbol",
            truth.closes,
        ),
        (
            "SELECT currency AS series, list(rate ORDER BY date) AS values FROM silver.sample_fx_rates GROUP BY currency",
            truth.rates,
        ),
        ("SELECT currency AS series, list(rate ORDER BY date) AS values FROM gold.fact_fx GROUP BY currency", truth.rates),
    ],
    ids=["silver prices", "gold prices", "silver rates", "gold rates"],
)
def test_silver_and_gold_hold_the_packaged_values(
    whole_home: Path, query: str, expected: Callable[[], dict[str, dict[date, float]]]
) -> None:
    stored = {row["series"]: row["values"] for row in rows(whole_home, query)}
    packaged = {series: [values[day] for day in sorted(values)] for series, values in expected().items()}
    assert stored == packaged
    assert {s: math.fsum(v) for s, v in stored.items()} == {s: math.fsum(v) for s, v in packaged.items()}


def test_two_steps_give_the_same_tables_as_one(
    first_step: tuple[Path, Answer], copy_of: Callable[[Path], Path], tmp_path: Path
) -> None:
    stepped, at_once = copy_of(first_step[0]), tmp_path / "at-once"
    before = {row["ticker"]: row for row in rows(stepped, "SELECT ticker, bronze_to_date FROM ops.file_ingestions")}
    second = ok("run", "--home", stepped, "--today", SECOND_STEP, "--json").document
    ok("run", "--home", at_once, "--today", SECOND_STEP)
    assert contents(stepped) == contents(at_once)

    end = date.fromisoformat(SECOND_STEP)
    for outcome in second["outcomes"]:
        assert outcome["outcome"] == "promoted"
        (file,) = outcome["files"]
        stored_until = before[outcome["ticker"]]["bronze_to_date"]
        first_day = stored_until + ONE_DAY if stored_until else truth.FIRST_STOCK_DATE  # FB had no row before
        assert (file["requested_from_date"], file["requested_to_date"]) == (first_day.isoformat(), SECOND_STEP)
        series = [truth.closes()[outcome["ticker"]]] if outcome["ticker"] != "-" else truth.rates().values()
        assert file["bronze_rows"] == sum(first_day <= day <= end for one in series for day in one)


def test_the_same_run_again_changes_nothing_and_says_so_for_each_key(
    first_step: tuple[Path, Answer], copy_of: Callable[[Path], Path]
) -> None:
    home = copy_of(first_step[0])
    everything = contents(home, without=())
    bronze = sorted((home / "bronze").rglob("*.gz"))
    assert {o["ticker"]: o["outcome"] for o in first_step[1].document["outcomes"]}["FB"] == "empty"
    for _ in range(2):
        again = ok("run", "--home", home, "--today", FIRST_STEP, "--json").document
        said = {o["ticker"]: o["outcome"] for o in again["outcomes"]}
        assert said == {
            "AAPL": "up_to_date",
            "FB": "empty",
            "GOOG": "up_to_date",
            "IBM": "up_to_date",
            "MSFT": "up_to_date",
            "-": "up_to_date",
        }
        assert all(o["reason"] for o in again["outcomes"])
    assert contents(home, without=()) == everything
    assert sorted((home / "bronze").rglob("*.gz")) == bronze


def test_when_nothing_is_due_no_file_is_made(whole_home: Path, copy_of: Callable[[Path], Path]) -> None:
    home = copy_of(whole_home)
    ledger = rows(home, "SELECT * FROM ops.file_ingestions ORDER BY ALL")
    answer = ok("run", "--home", home, "--today", THE_END)
    assert answer.out.count("up to date") == 7  # six keys, and their sum
    assert "show" not in answer.out
    assert rows(home, "SELECT * FROM ops.file_ingestions ORDER BY ALL") == ledger


def test_a_span_asked_again_moves_nothing_back(whole_home: Path, copy_of: Callable[[Path], Path]) -> None:
    home = copy_of(whole_home)
    everything = contents(home, without=())
    about = ("run", "--home", home, "--today", THE_END, "--ticker", "AAPL", "--json")
    span = ok(*about, "--from", "2005-01-01", "--to", "2005-12-31").document["outcomes"][0]
    assert span["outcome"] == "unchanged"
    assert (span["files"][0]["requested_from_date"], span["files"][0]["requested_to_date"]) == ("2005-01-01", "2005-12-31")
    whole = ok(*about, "--full").document["outcomes"][0]
    assert (whole["outcome"], whole["files"][0]["requested_from_date"]) == ("unchanged", "2000-03-01")
    overlap = ok(*about, "--lookback", "10").document["outcomes"][0]["files"][0]
    assert overlap["requested_to_date"] == "2013-03-01"
    assert overlap["requested_from_date"] > "2013-02-15"
    assert ok(*about).document["outcomes"][0]["outcome"] == "up_to_date"
    assert contents(home, without=()) == everything


def test_layers_one_after_the_other(tmp_path: Path) -> None:
    home = tmp_path / "home"
    about = ("run", "--home", home, "--ticker", "IBM", "--today", "2001-01-31", "--json")

    def state() -> tuple[str, ...]:
        (row,) = rows(
            home, "SELECT bronze_can_promote, silver_can_promote, gold_rows_created > 0 AS built FROM ops.file_ingestions"
        )
        return tuple(name for name, value in row.items() if value)

    assert ok(*about, "--layer", "bronze").document["keys"] == {"promoted": 1}
    assert state() == ("bronze_can_promote",)
    assert ok(*about, "--layer", "silver").document["keys"] == {"promoted": 1}
    assert state() == ("silver_can_promote",)
    ok(*about, "--layer", "gold")
    assert state() == ("built",)
    assert ok(*about).document["keys"] == {"up_to_date": 1}


def test_a_failing_key_leaves_the_others_stored(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "recipes").mkdir(parents=True)
    (home / "recipes" / "mine.yaml").write_text(BAD_DATASET, encoding="utf-8")
    ok("universe", "add", "IBM", "--dataset", "mine.eod-prices", "--home", home)
    about = ("run", "--home", home, "--ticker", "IBM", "--ticker", "AAPL", "--today", "2000-04-30")
    answer = ops(*about)
    assert answer.status == 1
    lines = [line for line in answer.out.splitlines() if "eod-prices" in line]
    assert lines[0].split()[:3] == ["failed", "mine.eod-prices", "IBM"]
    assert [line.split()[0] for line in lines[1:3]] == ["promoted", "promoted"]
    assert "--failed" in answer.out
    assert Counter(row["ticker"] for row in rows(home, "SELECT ticker FROM silver.sample_eod_prices")).keys() == {"AAPL", "IBM"}

    # Until the recipe is mended nothing is different, and what is done stays done.
    again = ops(*about, "--json")
    assert again.status == 1
    said = {(o["dataset"], o["ticker"]): (o["outcome"], o["failed_layer"]) for o in again.document["outcomes"]}
    assert said == {
        ("sample.eod-prices", "AAPL"): ("up_to_date", None),
        ("sample.eod-prices", "IBM"): ("up_to_date", None),
        ("mine.eod-prices", "IBM"): ("failed", "silver"),
    }
    (file,) = ok("show", "last", "--home", home, "--failed", "--json").document["files"]
    assert (file["dataset_key"], file["status"]) == ("mine.eod-prices", "failed")
    assert "open: 109.5 is not of type integer" in file["error"]
    runs = ok("runs", "--home", home, "--failed", "--json").document["runs"]
    assert [(run["status"], run["failed_files"]) for run in runs] == [("failed", 1)] * 2


def test_many_keys_are_shown_in_part_and_told_in_full(tmp_path: Path) -> None:
    home = tmp_path / "home"
    unknown = [f"T{number:02}" for number in range(60)]
    ok("universe", "add", *unknown, "--dataset", "sample.eod-prices", "--home", home)
    about = ("run", "--home", home, "--dataset", "sample.eod-prices", "--today", "2000-03-10")
    shown = ok(*about).out
    assert len([line for line in shown.splitlines() if "sample.eod-prices" in line and "sql" not in line]) == 40
    # GOOG and FB are not listed yet, and empty comes before promoted.
    assert "and 25 more: 22 empty, 3 promoted" in shown
    assert len(ok(*about, "--json").document["outcomes"]) == 65


def test_keys_by_file_and_by_name(tmp_path: Path) -> None:
    wanted = tmp_path / "wanted.txt"
    wanted.write_text("\ufeff# of interest\n\nAAPL   # the first\nIBM\nAAPL\n", encoding="utf-8")
    about = ("run", "--home", tmp_path / "home", "--dry-run", "--json", "--today", "2001-01-31")

    def asked(*options: object) -> list[tuple[str, str]]:
        return [(r["dataset"], r["ticker"]) for r in ok(*about, *options).document["requests"]]

    prices, fx = "sample.eod-prices", "sample.fx-rates"
    assert asked("--tickers-file", wanted) == [(prices, "AAPL"), (prices, "IBM")]
    assert asked("--tickers-file", wanted, "--ticker", "FB") == [(prices, "AAPL"), (prices, "FB"), (prices, "IBM")]
    assert asked("--dataset", fx) == [(fx, "-")]
    assert asked("--dataset", fx, "--dataset", prices, "--ticker", "FB") == [(prices, "FB"), (fx, "-")]
    assert len(asked()) == 6


def test_what_to_try_next_works_as_printed(tmp_path: Path) -> None:
    home = tmp_path / "my home"
    answer = ok("run", "--home", home, "--ticker", "IBM", "--today", "2000-04-30")
    tries = [line.strip() for line in answer.out.partition("What to try next:\n")[2].splitlines() if line.startswith("  ")]
    assert [any(f" {name} " in line for line in tries) for name in ("show", "sql")] == [True, True]
    for line in tries:
        if "make dev" not in line:
            done = subprocess.run(
                shlex.split(line), cwd=PROJECT.parent, env=environment(), capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, (line, done.stderr)
