"""Ctrl-C and SIGTERM in the middle of a run."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops_pipeline_tests.cli.command import HANGS_SECONDS, PROJECT, assert_no_lock_is_held, contents, environment, ok, rows

TODAY = ("--today", "2000-06-30")


@contextmanager
def running(mode: str, *options: object) -> Iterator[subprocess.Popen[str]]:
    """A run whose request for IBM is under way and gets no answer."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ops_pipeline_tests.cli.slow_source", mode, "run", *map(str, options)],
        cwd=PROJECT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        while line := process.stderr.readline():
            if line == "IBM is asked\n":
                break
        assert line, "the run ended before it asked for IBM"
        yield process
    finally:
        process.kill()
        process.wait(HANGS_SECONDS)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_stopped_run_flushes_what_it_has_and_the_next_one_goes_on(tmp_path: Path, number: signal.Signals, status: int) -> None:
    home = tmp_path / "home"
    with running("waits", "--home", home, *TODAY) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=HANGS_SECONDS)
        assert process.returncode == status, err
    assert "Traceback" not in err
    assert f"stopped by {number.name}" in err
    assert out == ""
    assert_no_lock_is_held(home)
    assert list((home / "bronze" / ".tmp").rglob("*.*")) == []

    ledger = {row["ticker"]: row for row in rows(home, "SELECT * FROM ops.file_ingestions")}
    assert set(ledger) == {"AAPL", "FB", "GOOG", "IBM", "MSFT", "-"}
    assert not [ticker for ticker, row in ledger.items() if row["bronze_outcome"] == "asked"]
    assert ledger["IBM"]["bronze_outcome"] == "failed"
    assert "stopped" in ledger["IBM"]["bronze_error"]
    assert ledger["AAPL"]["bronze_outcome"] == "stored"
    assert (home / "bronze" / ledger["AAPL"]["bronze_filename"]).is_file()

    after = ok("run", "--home", home, *TODAY, "--json").document
    assert {o["ticker"]: o["outcome"] for o in after["outcomes"]}["IBM"] == "promoted"
    undisturbed = tmp_path / "undisturbed"
    ok("run", "--home", undisturbed, *TODAY)
    assert contents(home) == contents(undisturbed)


def test_a_stopped_run_in_json_is_still_one_document(tmp_path: Path) -> None:
    with running("waits", "--home", tmp_path / "home", *TODAY, "--json") as process:
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=HANGS_SECONDS)
    document = json.loads(out)
    assert document["error"] == "stopped by SIGTERM"
    assert document["summary"] is None


def test_the_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with running("hangs", "--home", home, *TODAY) as process:
        process.send_signal(signal.SIGINT)
        # Within a second the second one counts as the first, which some launchers send twice.
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.2)
        # Where the first one was handled late, the third counts as the first too.
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1.2)
        _, err = process.communicate(timeout=HANGS_SECONDS)
        assert process.returncode == 130, err
    assert "stopped at once" in err
    assert_no_lock_is_held(home)
    assert ok("run", "--home", home, *TODAY, "--json").document["keys"]["promoted"] >= 1
    assert rows(home, "SELECT ticker FROM ops.file_ingestions WHERE bronze_outcome = 'asked'") == []


def test_an_ignored_hangup_stays_ignored() -> None:
    """As under nohup, which ends when its program does and not before."""
    script = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    script += "from ops_pipeline.cli.interrupt import StopSignals\n"
    script += "with StopSignals(print) as stop: signal.raise_signal(signal.SIGHUP)\n"
    script += "print(stop.received, stop.exit_status)"
    done = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=False)
    assert done.stdout == "None 0\n", done.stderr
