"""`retry`: what is left of a run, with the days that were asked then."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from ops_pipeline_tests.cli.command import HANGS_SECONDS, PROJECT, contents, environment, ok, ops, refused, rows
from ops_pipeline_tests.cli.conftest import FIRST_STEP, SECOND_STEP

WINDOWS = "SELECT ticker, requested_from_date::VARCHAR AS f, requested_to_date::VARCHAR AS t FROM ops.file_ingestions"


def failing(tickers: str, *arguments: object) -> dict[str, Any]:
    """Runs the command with a source that fails for some tickers; gives its JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "ops_pipeline_tests.cli.failing_source", tickers, *map(str, arguments), "--json"],
        cwd=PROJECT, env=environment(), capture_output=True, text=True, timeout=HANGS_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def outcomes(document: dict[str, Any]) -> dict[str, str]:
    return {o["ticker"]: o["outcome"] for o in document["outcomes"]}


def asked_by(home: Path, run_id: str) -> set[tuple[str, str, str]]:
    return {(r["ticker"], r["f"], r["t"]) for r in rows(home, f"{WINDOWS} WHERE run_id = '{run_id}'")}


def test_over_two_generations_only_what_is_left_is_asked_for_the_original_days(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = failing("IBM,MSFT", "run", "--home", home, "--today", FIRST_STEP)
    assert {t for t, o in outcomes(first).items() if o == "failed"} == {"IBM", "MSFT"}
    second = failing("MSFT", "retry", first["run_id"][:8], "--home", home)
    assert outcomes(second) == {"IBM": "promoted", "MSFT": "failed"}
    assert second["run_id"] != first["run_id"]
    dry = ok("retry", "last", "--dry-run", "--home", home, "--json").document
    assert [(r["ticker"], r["to"]) for r in dry["requests"]] == [("MSFT", FIRST_STEP)]
    third = ok("retry", "last", "--home", home, "--json").document
    assert outcomes(third) == {"MSFT": "promoted"}
    assert asked_by(home, third["run_id"]) < asked_by(home, first["run_id"])

    undisturbed = tmp_path / "undisturbed"
    ok("run", "--home", undisturbed, "--today", FIRST_STEP)
    assert contents(home) == contents(undisturbed)
    said = ok("retry", first["run_id"], "--home", home)
    assert "nothing is left of run" in said.err
    assert said.out == ""
    assert ok("retry", first["run_id"], "--home", home, "--json").document["outcomes"] == []


def test_what_a_later_run_got_is_not_asked_again(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = failing("IBM", "run", "--home", home, "--today", FIRST_STEP)
    ok("run", "--home", home, "--today", SECOND_STEP)
    assert "nothing is left of run" in ok("retry", first["run_id"], "--home", home).err


def test_a_span_that_was_asked_by_name_is_asked_again(tmp_path: Path) -> None:
    home = tmp_path / "home"
    ok("run", "--home", home, "--today", FIRST_STEP)
    span = failing("IBM", "run", "--home", home, "--today", FIRST_STEP, "--from", "2010-06-01", "--to", "2010-06-10")
    again = ok("retry", span["run_id"], "--home", home, "--json").document
    assert asked_by(home, again["run_id"]) == {("IBM", "2010-06-01", "2010-06-10")}
    assert outcomes(again) == {"IBM": "unchanged"}


def test_files_that_wait_are_promoted_without_asking(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = ok("run", "--home", home, "--today", FIRST_STEP, "--layer", "bronze", "--json").document
    again = ok("retry", first["run_id"], "--home", home, "--json").document
    assert set(outcomes(again).values()) == {"promoted"}
    assert asked_by(home, again["run_id"]) == set()


def test_a_killed_run_is_finished_and_a_living_one_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    process = subprocess.Popen(
        [sys.executable, "-m", "ops_pipeline_tests.cli.slow_source", "waits", "run", "--home", str(home), "--today", FIRST_STEP],
        cwd=PROJECT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        assert any("IBM is asked" in line for line in process.stderr)
        assert "still going on" in refused("retry", "last", "--home", home)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    again = ok("retry", "last", "--home", home, "--json").document
    assert outcomes(again)["IBM"] == "promoted"
    undisturbed = tmp_path / "undisturbed"
    ok("run", "--home", undisturbed, "--today", FIRST_STEP)
    assert contents(home) == contents(undisturbed)


def test_a_run_that_there_is_not(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert "run `ops-pipeline run` first" in refused("retry", "last", "--home", home)
    ok("run", "--home", home, "--today", FIRST_STEP)
    assert "no run begins with 'zzz'" in refused("retry", "zzz", "--home", home)
    assert "Usage" in ops("retry", "--home", home).err


def test_what_it_proposes_after_a_failure(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ops_pipeline_tests.cli.failing_source", "IBM", "run", "--home", "home", "--today", FIRST_STEP],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=HANGS_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert " retry --home home " in done.stdout
