"""`runs`, `show` and `coverage` on a ledger of three runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ops_pipeline.ops.columns import COLUMNS
from ops_pipeline_tests.cli.command import ok


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ledger") / "home"
    ok("run", "--home", folder, "--today", "2000-03-31", "--ticker", "AAPL", "--ticker", "FB")
    ok("run", "--home", folder, "--today", "2000-04-28", "--ticker", "AAPL")
    ok("run", "--home", folder, "--today", "2000-04-28", "--dataset", "sample.fx-rates", "--layer", "bronze")
    return folder


def runs(home: Path, *options: object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ok("runs", "--home", home, *options, "--json").document["runs"]
    return found


def test_runs_newest_first_and_filtered(home: Path) -> None:
    everything = runs(home)
    assert [run["files"] for run in everything] == [1, 1, 2]
    assert [run["run_id"] for run in runs(home, "--limit", "2")] == [run["run_id"] for run in everything[:2]]
    assert [run["run_id"] for run in runs(home, "--dataset", "sample.fx-rates")] == [everything[0]["run_id"]]
    assert [run["files"] for run in runs(home, "--ticker", "AAPL")] == [1, 1]
    assert runs(home, "--failed") == []
    today = everything[0]["started"][:10]
    assert len(runs(home, "--since", "2000-01-01", "--until", "2999-12-31")) == 3
    assert runs(home, "--since", "2999-01-01") == runs(home, "--until", "2000-01-01") == []
    table = ok("runs", "--home", home, "--limit", "2")
    assert table.out.count(today) == 2
    assert everything[0]["run_id"][:8] in table.out
    assert "--limit" in table.err
    assert "no run matches" in ok("runs", "--home", home, "--failed").err


def test_show_by_prefix_and_last(home: Path) -> None:
    newest, _, oldest = runs(home)
    assert ok("show", "last", "--home", home, "--json").document["run"]["run_id"] == newest["run_id"]
    document = ok("show", oldest["run_id"][:8], "--home", home, "--json").document
    assert document["run"] == oldest
    assert [(f["ticker"], f["status"], f["error"]) for f in document["files"]] == [
        ("AAPL", "promoted", None),
        ("FB", "empty", None),
    ]
    shown = ok("show", oldest["run_id"], "--home", home)
    assert oldest["run_id"] in shown.out
    assert "asked 2000-03-01 .. 2000-03-31" in shown.out  # FB had no row
    assert "2000-03-01 .. 2000-03-31" in shown.out


@pytest.mark.parametrize(
    ("options", "tickers"),
    [
        (("--ticker", "FB"), ["FB"]),
        (("--status", "empty"), ["FB"]),
        (("--status", "promoted"), ["AAPL"]),
        (("--stage", "silver"), ["AAPL"]),
        (("--stage", "bronze"), ["AAPL", "FB"]),
        (("--dataset", "sample.eod-prices", "--limit", "1"), ["AAPL"]),
        (("--dataset", "sample.fx-rates"), []),
        (("--failed",), []),
    ],
)
def test_show_filters_files(home: Path, options: tuple[str, ...], tickers: list[str]) -> None:
    oldest = runs(home)[-1]["run_id"]
    files = ok("show", oldest, "--home", home, *options, "--json").document["files"]
    assert [file["ticker"] for file in files] == tickers
    said = ok("show", oldest, "--home", home, *options)
    assert ("no file matches" in said.err) == (not tickers)


def test_a_file_has_every_column_of_the_ledger(home: Path) -> None:
    (file,) = ok("show", "last", "--home", home, "--json").document["files"]
    assert list(file) == ["dataset_key", "status", "error", *COLUMNS]
    assert file["status"] == "pending"


def test_coverage(home: Path) -> None:
    found = ok("coverage", "--home", home, "--json").document["coverage"]
    assert {(c["dataset"], c["ticker"]): (c["from_date"], c["to_date"], c["files"], c["pending_files"]) for c in found} == {
        ("sample.eod-prices", "AAPL"): ("2000-03-01", "2000-04-28", 2, 0),
        ("sample.eod-prices", "FB"): (None, None, 1, 0),
        ("sample.fx-rates", "-"): ("1999-01-04", "2000-04-28", 1, 1),
    }
    assert [c["ticker"] for c in ok("coverage", "--home", home, "--ticker", "FB", "--json").document["coverage"]] == ["FB"]
    one = ok("coverage", "--home", home, "--dataset", "sample.eod-prices", "--limit", "1")
    assert "AAPL" in one.out
    assert "FB" not in one.out
    assert "--limit" in one.err
    assert "nothing matches" in ok("coverage", "--home", home, "--ticker", "IBM").err
