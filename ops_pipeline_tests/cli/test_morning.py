"""`ops-pipeline morning`: what it says and how it ends."""

from __future__ import annotations

import shlex
from pathlib import Path

from ops_pipeline_tests.cli.command import ok, ops, refused
from ops_pipeline_tests.cli.conftest import THE_END
from ops_pipeline_tests.cli.test_retry import failing


def test_all_is_well_after_a_whole_run(whole_home: Path) -> None:
    answer = ok("morning", "--home", whole_home, "--today", THE_END)
    assert not {"failed", "stale", "unpublished"} & set(answer.out.split())
    assert "cost: 6 requests" in answer.out


def test_the_commands_that_it_names_repair_what_it_names(tmp_path: Path) -> None:
    home = tmp_path / "home"
    failing("IBM", "run", "--home", home, "--dataset", "sample.eod-prices", "--today", "2010-06-30")
    answer = ops("morning", "--home", home, "--today", "2010-06-30", "--json")
    assert answer.status == 1
    problems = [p for p in answer.document["problems"] if p["kind"] != "doubtful"]
    assert [(p["kind"], p["dataset"], p["tickers"]) for p in problems] == [
        ("failed", "sample.eod-prices", ["IBM"]),
        ("stale", "sample.fx-rates", []),
    ]
    shown = ops("morning", "--home", home, "--today", "2010-06-30")
    assert shown.status == 1
    assert "the vendor does not answer for IBM" in shown.out
    for problem in problems:
        words = shlex.split(problem["repair"])
        ok(*words[words.index("ops_pipeline") + 1 :], env={"OPS_PIPELINE_TODAY": "2010-06-30"})
    assert ok("morning", "--home", home, "--today", "2010-06-30", "--json").document["well"]


def test_without_a_database_it_says_what_to_do(tmp_path: Path) -> None:
    assert "ops-pipeline run" in refused("morning", "--home", tmp_path / "nothing")
