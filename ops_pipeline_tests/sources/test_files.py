"""A folder of existing files as a source: imported once, again when they change, and never written to.

Belongs here: `client: files` through whole runs, and which files a template means. Does not belong here: how Parquet is typed
(`silver.test_parquet`).
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pytest

from ops_pipeline.engine import own_files
from ops_pipeline.engine.context import Context
from ops_pipeline.errors import RecipeError
from ops_pipeline.recipes.own import FilesSource
from ops_pipeline.sources.files import Listing
from ops_pipeline_tests.sources.own_home import RECIPE, make_home, rows, run

CSV: dict[str, Any] = {"mode": "snapshot", "last_date": None, "first_date": None, "answer": {"format": "csv"}}
ONE, TWO = "date,close\n2024-01-02,1\n", "date,close\n2024-01-02,1\n2024-01-03,2\n"


@pytest.fixture(autouse=True)
def _clocks_that_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a test are a moment old: the allowance for lagging clocks would have all of them looked at twice."""
    monkeypatch.setattr(own_files, "_LAG_SECONDS", 0.0)


def archive(home: Path, template: str = "{ticker}.csv", *, tickers: tuple[str, ...] = ("AAA",), **recipe: Any) -> Context:
    return make_home(
        home, {"client": "files", "files": {"folder": "archive"}}, CSV | {"files": template} | recipe, tickers=tickers
    )


def put(home: Path, name: str, text: str | bytes) -> Path:
    path = home / "archive" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_files_are_imported_once_and_again_when_they_change(tmp_path: Path) -> None:
    path = put(tmp_path, "AAA.csv", ONE)
    put(tmp_path, "BBB.csv", TWO)
    context = archive(tmp_path, tickers=("AAA", "BBB", "NONE"))
    first = run(context)
    assert {t: o.kind for t, o in first.items()} == {"AAA": "promoted", "BBB": "promoted", "NONE": "failed"}
    assert first["NONE"].reason.endswith("archive/NONE.csv is not there: put it there, or correct `files` of the recipe.")
    columns = "bronze_from_date::TEXT, bronze_to_date::TEXT, bronze_rows, bronze_filename"
    (row,) = rows(context, f"SELECT {columns} FROM ops.file_ingestions WHERE ticker = 'BBB'")
    assert row[:3] == ("2024-01-02", "2024-01-03", 2)
    assert gzip.decompress((context.settings.bronze_path / row[3]).read_bytes()) == TWO.encode()

    assert {t: o.kind for t, o in run(context).items()} == {"AAA": "up_to_date", "BBB": "up_to_date", "NONE": "failed"}
    path.touch()
    assert run(context)["AAA"].kind == "unchanged"
    before = path.stat().st_mtime
    path.write_text(TWO)
    os.utime(path, (before - 86_400, before - 86_400))  # as a copy that keeps an old time
    assert run(context)["AAA"].kind == "promoted"
    assert rows(context, "SELECT count(*) FROM gold.fact_eod") == [(4,)]
    path.unlink()
    assert run(context)["AAA"].kind == "up_to_date"
    assert [o.kind for o in run(context, full=True).values()] == ["failed", "unchanged", "failed"]
    assert (tmp_path / "archive" / "BBB.csv").read_text() == TWO


def test_a_folder_of_daily_files_is_one_partition(tmp_path: Path) -> None:
    put(tmp_path, "2024/01/a.csv", "symbol,date,close\nX,2024-01-02,1\nY,2024-01-02,5\n")
    put(tmp_path, "2024/01/b.csv", "symbol,date,close\nX,2024-01-03,2\nX,2024-01-02,9\n")
    put(tmp_path, "2024/01/.c.csv", "half a file")
    columns = [{"name": "symbol", "type": "text", "required": True}, *RECIPE["columns"]]
    context = archive(tmp_path, "2024/**/*.csv", per_ticker=False, columns=columns, key=["symbol", "date"], gold=None)
    assert run(context)["-"].kind == "promoted"
    query = "SELECT symbol, date::TEXT, close FROM silver.own_prices ORDER BY ALL"
    # Of two files with the same key, the one with the later name wins.
    expected = [("X", "2024-01-02", 9.0), ("X", "2024-01-03", 2.0), ("Y", "2024-01-02", 5.0)]
    assert rows(context, query) == expected
    put(tmp_path, "2024/02/d.csv", "symbol,date,close\nX,2024-02-01,3\n")
    assert run(context)["-"].reason is not None
    assert rows(context, query) == [*expected[:2], ("X", "2024-02-01", 3.0), expected[2]]
    files = rows(context, "SELECT count(*), count(DISTINCT file_id) FROM ops.file_ingestions")
    assert files == [(3, 3)], "a file that did not change was imported again"


def test_what_is_no_file_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text(ONE)
    put(tmp_path, "GZ.csv", gzip.compress(ONE.encode()))
    (tmp_path / "archive" / "DIR.csv").mkdir()
    (tmp_path / "archive" / "OUT.csv").symlink_to(tmp_path / "secret.csv")
    (tmp_path / "archive" / "LOOP.csv").symlink_to(tmp_path / "archive" / "LOOP.csv")
    tickers = ("GZ", "DIR", "OUT", "LOOP", "../secret", "A/B")
    told = run(archive(tmp_path, tickers=tickers))
    assert {outcome.kind for outcome in told.values()} == {"failed"}
    assert "is compressed: unpack it first" in told["GZ"].reason
    assert "is no file" in told["DIR"].reason
    assert all("leads out of" in told[t].reason or "is not there" in told[t].reason for t in ("OUT", "../secret", "A/B"))
    assert "leads out of" in told["OUT"].reason


@pytest.mark.parametrize(
    ("template", "ticker", "found"),
    [
        ("{ticker}.csv", "A", ["A.csv"]),
        ("*/{ticker}.csv", "A", ["x/A.csv", "y/A.csv"]),
        ("**/{ticker}.csv", "A", ["A.csv", "x/A.csv", "x/z/A.csv", "y/A.csv"]),
        ("{ticker}/*.csv", "x", ["x/A.csv", "x/B.csv"]),
        ("{ticker}/**/?.csv", "x", ["x/A.csv", "x/B.csv", "x/z/A.csv"]),
        ("*.csv", "-", ["A.csv", "[1].csv"]),
        ("{ticker}/{ticker}.*", "y", []),
        ("*/{ticker}.csv", "*", []),
        ("**/{ticker}.csv", "[1]", ["[1].csv"]),
    ],
)
def test_which_files_a_template_means(tmp_path: Path, template: str, ticker: str, found: list[str]) -> None:
    for name in ("A.csv", "[1].csv", "x/A.csv", "x/B.csv", "x/z/A.csv", "y/A.csv", "y/A.txt"):
        put(tmp_path, name, ONE)
    assert Listing(FilesSource(folder="archive", home=tmp_path)).of(template, ticker) == found


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        ({"files": "../{ticker}.csv"}, "write a path below the source's folder"),
        ({"files": "/etc/{ticker}"}, "write a path below the source's folder"),
        ({"files": "{date}.csv"}, "only {ticker} can be filled in"),
        ({"files": "a**/{ticker}.csv"}, "** stands for whole folders"),
        ({"files": None}, "missing; say where below the folder its files are"),
        ({"files": "all.csv"}, "{ticker} stands in it where per_ticker is true"),
        ({"mode": "window", "first_date": "2024-01-01"}, "files are read whole; write `mode: snapshot`"),
    ],
)
def test_a_template_that_cannot_be_right_is_refused(tmp_path: Path, recipe: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RecipeError) as refused:
        archive(tmp_path, **{"template": "{ticker}.csv"} | {("template" if k == "files" else k): v for k, v in recipe.items()})
    assert sentence in str(refused.value)


def test_a_source_that_is_no_folder_takes_no_files(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="the source own is no folder of files; leave it out"):
        make_home(tmp_path, {"client": "python", "python": {"call": "own.py:fetch"}}, {"files": "{ticker}.csv"})
