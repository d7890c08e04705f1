"""`ops-pipeline checks`: what a run left, making them now, and how it ends; and what else tells of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ops_pipeline.dashboard.repository import Repository
from ops_pipeline.engine.context import build_context
from ops_pipeline.engine.morning import look
from ops_pipeline.settings import load_settings
from ops_pipeline_tests.cli.command import ok, ops, refused
from ops_pipeline_tests.cli.conftest import THE_END


def test_a_run_leaves_results_and_an_error_ends_the_command_with_one(whole_home: Path, copy_of: Callable[[Path], Path]) -> None:
    home = copy_of(whole_home)
    left = ok("checks", "--home", home, "--json").document["checks"]
    assert {c["dataset_key"] for c in left} == {"sample.eod-prices", "sample.fx-rates"}
    assert all(c["passed"] and c["run_id"] and c["partitions"] is None for c in left)
    context = build_context(load_settings(home=home))
    with context.warehouse.transaction() as connection:
        connection.execute("UPDATE silver.sample_eod_prices SET low = high + 1 WHERE ticker = 'IBM' AND date = DATE '2012-01-03'")
    wrong = ops("checks", "--home", home, "--dataset", "sample.eod-prices", "--run", "--today", THE_END)
    assert wrong.status == 1
    assert "low_and_high_enclose_open_and_close:\n  IBM 2012-01-03: low " in wrong.out
    [told] = [p for p in look(context).problems if p.repair == "checks --dataset sample.eod-prices"]
    assert (told.kind, "IBM 2012-01-03: low " in told.reason) == ("doubtful", True)
    first = Repository(load_settings(home=home)).quality().data_checks[0]
    assert (first.check_name, first.passed, first.findings) == ("low_and_high_enclose_open_and_close", False, 1)


def test_without_a_database_it_says_what_to_do(tmp_path: Path) -> None:
    assert "ops-pipeline run" in refused("checks", "--home", tmp_path / "nothing")
