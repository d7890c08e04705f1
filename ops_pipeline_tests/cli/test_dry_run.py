"""`run --dry-run` and `due`: what would be asked, with nothing sent and nothing written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ops_pipeline.ops.migrations import latest_version
from ops_pipeline.warehouse import Warehouse
from ops_pipeline_tests.cli.command import Answer, ok, refused, tree
from ops_pipeline_tests.cli.conftest import SECOND_STEP


def test_a_home_that_does_not_exist_is_not_made(tmp_path: Path) -> None:
    about = ("run", "--dry-run", "--home", tmp_path / "home", "--today", "2013-03-01")
    document = ok(*about, "--json").document
    assert len(document["requests"]) == 6
    (sample,) = document["sources"]
    assert (sample["source"], sample["requests"], sample["quotas"], sample["nights"]) == ("sample", 6, [], 1)
    assert {(r["from"], r["to"]) for r in document["requests"] if r["ticker"] == "-"} == {("1999-01-04", "2013-03-01")}
    table = ok(*about)
    assert all(ticker in table.out for ticker in ("AAPL", "FB", "GOOG", "IBM", "MSFT", "2000-03-01"))
    assert "nothing was sent or written" in table.err
    assert len(ok("due", "--home", tmp_path / "home", "--json").document["requests"]) == 6
    assert tree(tmp_path) == {}


def test_it_lists_what_the_run_then_asks(first_step: tuple[Path, Answer], copy_of: Callable[[Path], Path]) -> None:
    home = copy_of(first_step[0])
    before = tree(home)
    about = ("--home", home, "--today", SECOND_STEP, "--json")
    listed = ok("run", "--dry-run", *about).document
    due = ok("due", *about).document
    ok("due", *about[:-1])
    assert tree(home) == before
    assert listed["idle"] == listed["waiting"] == []
    assert due["requests"] == listed["requests"]
    asked = [file for outcome in ok("run", *about).document["outcomes"] for file in outcome["files"]]
    assert {(r["dataset"], r["ticker"], r["from"], r["to"]) for r in listed["requests"]} == {
        (f["dataset_key"], f["ticker"], f["requested_from_date"], f["requested_to_date"]) for f in asked
    }
    after = ok("run", "--dry-run", *about).document
    assert (after["requests"], {item["outcome"] for item in after["idle"]}) == ([], {"up_to_date"})
    assert ok("due", *about).document["requests"] == []


def test_an_empty_answer_is_asked_by_a_run_and_is_not_due(first_step: tuple[Path, Answer]) -> None:
    about = ("--home", first_step[0], "--today", "2010-06-30", "--json")
    assert [r["ticker"] for r in ok("run", "--dry-run", *about).document["requests"]] == ["FB"]
    assert ok("due", *about).document["requests"] == []


def test_every_key_has_a_verdict_and_its_reason(first_step: tuple[Path, Answer]) -> None:
    about = ("due", "--home", first_step[0], "--today", "2010-06-30")
    everything = ok(*about, "--json").document
    assert everything["verdicts"] == {"up_to_date": 6}
    reasons = {item["ticker"]: item["reason"] for item in everything["idle"]}
    assert reasons["IBM"] == "everything through 2010-06-30 is stored"
    assert reasons["FB"] == "answered through 2010-06-30; due when another session has settled"
    table = ok(*about)
    assert table.out.count("up to date") == 6
    assert "6 up to date; nothing is due" in table.err
    one = ok(*about, "--ticker", "IBM", "--dataset", "sample.eod-prices", "--json").document
    assert [item["ticker"] for item in one["idle"]] == ["IBM"]
    none = ok(*about, "--verdict", "due", "--json").document
    assert (none["idle"], none["requests"], none["verdicts"]) == ([], [], {"up_to_date": 6})
    assert "sample.none" in refused(*about, "--dataset", "sample.none")
    # What is due comes first.
    later = ok("due", "--home", first_step[0], "--today", "2010-07-01", "--limit", "1")
    assert "sample" in later.out
    assert "up to date" not in later.out


def test_stored_files_that_wait_are_listed(tmp_path: Path) -> None:
    about = ("--home", tmp_path / "home", "--today", "2001-01-31")
    ok("run", *about, "--layer", "bronze", "--ticker", "IBM")
    waiting = [{"dataset": "sample.eod-prices", "ticker": "IBM", "files": 1}]
    assert ok("run", "--dry-run", *about, "--ticker", "IBM", "--json").document["waiting"] == waiting
    assert ok("due", *about, "--json").document["waiting"] == waiting
    assert "1 stored file to promote" in ok("due", *about).out
    assert "and 5 more" in ok("due", *about, "--limit", "1").out


def test_pending_migrations_are_told(whole_home: Path, copy_of: Callable[[Path], Path]) -> None:
    home = copy_of(whole_home)
    with Warehouse(home / "ops.duckdb").transaction() as connection:
        connection.execute("DELETE FROM ops.schema_migrations WHERE version = ?", [latest_version()])
    before = tree(home)
    for command in (("run", "--dry-run"), ("due",), ("runs",), ("coverage",)):
        assert "ops-pipeline migrate --apply" in refused(*command, "--home", home)
    assert tree(home) == before
