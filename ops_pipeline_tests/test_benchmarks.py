"""The benchmarks measure what they say, and catch a contender whose result is wrong."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import urllib.request
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest

from benchmarks.compare import OURS, STRAIGHT, Contender, load
from benchmarks.figures import Figure, with_targets
from benchmarks.vendor import PRICES, Market, counts, serving

ROOT = Path(__file__).parent.parent
TINY = ["a", "--tickers", "10", "--rows", "20", "--latency", "0", "--repeat", "1"]

# Loads as the bare script does, then loses what a careless cursor would lose: a ticker's last day.
LOSING = """
import sys
import duckdb
from benchmarks import bare, contract
finish = bare.finish
def lose(database, table, failed=()):
    folder = sys.argv[sys.argv.index("--dir") + 1]
    with duckdb.connect(f"{folder}/{database}") as connection:
        connection.execute("DELETE FROM prices WHERE symbol = 'T00002' AND date = (SELECT max(date) FROM prices)")
    finish(database, table, failed)
bare.finish = lose
bare.main()
"""


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "benchmarks", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=600)


def test_a_part_is_measured_checked_and_written(tmp_path: Path) -> None:
    ended = bench(*TINY, "--out", str(tmp_path / "out" / "latest.json"))
    assert ended.returncode == 0, ended.stderr
    figures = json.loads((tmp_path / "out" / "latest.json").read_text())
    assert [f["name"] for f in figures] == [
        f"a. 10 tickers x 20 rows, 0 ms, {phase}: batch engine / {other} script"
        for phase in ("first load", "incremental run")
        for other in ("bare", "straight")
    ]
    for figure in figures:
        assert figure["unit"] == "s"
        assert figure["ours"] > 0
        assert figure["ratio"] == pytest.approx(figure["ours"] / figure["other"], rel=0.01)
        if "bare" in figure["name"]:
            assert figure["at_most"] == 2
            assert figure["reached"] is (figure["ratio"] <= 2)
        assert figure["ours_requests"] == figure["other_requests"] == 10
        assert figure["ours_rows_served"] == figure["other_rows_served"]
    assert "4 figures" in ended.stdout


def test_the_straight_script_keeps_what_the_engine_keeps(tmp_path: Path) -> None:
    market = Market(10, 90)
    facts = {
        OURS: """SELECT symbol, date, close, volume, simple_return, log_return, volatility_20d
            FROM gold.fact_eod JOIN gold.dim_instrument USING (instrument_id) ORDER BY ALL""",
        STRAIGHT: "SELECT symbol, date, close, volume, simple_return, log_return, volatility_20d FROM fact ORDER BY ALL",
    }
    found: dict[Contender, list[tuple[Any, ...]]] = {}
    with serving(market) as url:
        for contender, fact in facts.items():
            folder = tmp_path / contender.name.replace(" ", "-")
            folder.mkdir()
            for phase, to in (("first load", market.cut), ("incremental run", market.days[-1])):
                load(contender, market, market.symbols, url, folder, phase, to)
            (database,) = (folder / "work").glob("*.duckdb")
            with duckdb.connect(":memory:") as connection:
                connection.execute(f"ATTACH '{database}' AS loaded (READ_ONLY); USE loaded")
                found[contender] = connection.execute(fact).fetchall()
    ours, theirs = found[OURS], found[STRAIGHT]
    assert [row[:4] for row in ours] == [row[:4] for row in theirs]
    for place in (4, 5, 6):
        mine, their = [row[place] for row in ours], [row[place] for row in theirs]
        assert [value is None for value in mine] == [value is None for value in their]
        assert [v for v in mine if v is not None] == pytest.approx([v for v in their if v is not None], rel=1e-9)
    assert sum(row[6] is not None for row in ours) > 300


def test_a_contender_that_loses_rows_is_caught(tmp_path: Path) -> None:
    script = tmp_path / "losing.py"
    script.write_text(LOSING)
    command = shlex.join(["env", f"PYTHONPATH={ROOT}", sys.executable, str(script)])
    ended = bench(*TINY, "--contender", f"losing={command}", "--out", str(tmp_path / "latest.json"))
    assert ended.returncode == 1, ended.stderr
    assert "losing, first load: " in ended.stdout
    assert "T00002 with 15 instead of 16" in ended.stdout
    assert json.loads((tmp_path / "latest.json").read_text()) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"), [(["z"], "there is no part 'z'"), (["a", "--contender", "mine"], "NAME=COMMAND")]
)
def test_wrong_arguments_end_with_a_sentence(arguments: list[str], sentence: str) -> None:
    ended = bench(*arguments)
    assert ended.returncode == 2
    assert sentence in ended.stderr


def test_the_vendor_serves_what_the_truth_says() -> None:
    market = Market(30, 50)
    asked = 0
    with serving(market) as url:
        for first, to in ((market.first, market.cut), (market.cut, market.days[-1]), (date(1999, 1, 1), date(2000, 1, 1))):
            for symbol in market.symbols:
                with urllib.request.urlopen(f"{url}{PRICES}?symbol={symbol}&from={first}&to={to}&apikey=k") as answer:  # noqa: S310 - loopback
                    records = json.load(answer)
                days = [record["date"] for record in records]
                assert days == sorted(days, reverse=True)
                assert all(str(first) <= day <= str(to) for day in days)
                if first == market.first:
                    assert len(records) == market.truth(to).rows[symbol]
                asked += len(records)
            if first == market.first:
                assert asked == sum(market.truth(to).rows.values())
        assert counts(url) == {"requests": 90, "rows": asked}
    assert market.truth(market.days[-1]).rows["T00024"] == market.truth(market.cut).rows["T00024"] < 50 - market.new_days


def test_targets_are_put_beside_what_other_modules_measured() -> None:
    row = {"ours": 3.0, "other": 1.0, "ratio": 3.0, "unit": "ms"}
    less = "ledger: run summary vs an aggregate by run_id, which misses something"
    ledger, smaller, waits, kept, none = with_targets("d", [{**row, "name": n} for n in ("run summary", less)]) + with_targets(
        "e",
        [
            {**row, "name": "e. 8 writers, 0 readers: longest wait / mean wait"},
            {**row, "name": "e. something", "at_least": 2, "note": "kept"},
            {**row, "name": "e. something else"},
        ],
    )
    assert (ledger.name, ledger.target, ledger.reached) == ("d. run summary", "at most 1.5", False)
    assert (smaller.name, smaller.target) == (f"d. {less}", "")
    assert (waits.target, waits.reached) == ("at most 3", True)
    assert (kept.target, kept.reached, kept.row()["note"]) == ("at least 2", True, "kept")
    assert (none.target, none.reached) == ("", None)
    assert Figure("x", 0, 0, "failures", at_most=0).reached is True
    assert Figure("x", 1, 0, "failures", at_most=0).reached is False
