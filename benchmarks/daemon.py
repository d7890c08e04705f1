"""One run per partition through a real dagster-daemon: what Dagster does with a backfill unless told otherwise.

Belongs here: the daemon's process, launching the runs, and their time. Does not belong here: anything else of part b (`with_dagster`).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import contender
from benchmarks.figures import WrongResultError
from benchmarks.processes import TAIL, end_group
from benchmarks.vendor import ROOT, Market
from benchmarks.with_dagster import check, make_instance_folder

if TYPE_CHECKING:
    from dagster import DagsterInstance, RunRecord

# The name of the job of `dagster_code`, whose import would load the definitions.
JOB = "one_partition"
CODE = ["-m", "benchmarks.dagster_code", "-d", str(ROOT)]
PATIENCE_SECONDS = 900.0
STOP_SECONDS = 60.0


def one_run_each(market: Market, url: str, folder: Path, sample: int) -> float:
    """Seconds per partition of a backfill with a run per partition, as many at once as dagster.yaml allows.

    Counted from the first run's creation to the last run's end: what the daemon needs to start and to notice the backfill is left out.

    Raises:
        WrongResultError: when a run failed or did not end, or a row is missing.
    """
    from dagster import DagsterInstance

    symbols = market.symbols[:sample]
    home, dagster_home = folder / "home", make_instance_folder(folder / "instance")
    contender.make_home(home, url, market.first, symbols)
    environment = os.environ | {
        "DAGSTER_HOME": str(dagster_home),
        "OPS_PIPELINE_HOME": str(home),
        "OPS_PIPELINE_TODAY": market.days[-1].isoformat(),
        contender.KEY: "k",
    }
    cells = [f"{contender.DATASET}|{symbol}" for symbol in symbols]
    log = folder / "daemon.log"
    with DagsterInstance.from_config(str(dagster_home)) as instance:
        instance.add_dynamic_partitions("tickers", symbols)
        instance.add_dynamic_partitions("datasets", [contender.DATASET])
        with _running("dagster._daemon", ["run"], environment, log):
            _launch(environment, cells, log)
            records = _ended(instance, len(cells), log)
    check(home, market, sample)
    began = min(record.create_timestamp.timestamp() for record in records)
    return (max(record.end_time or 0 for record in records) - began) / len(cells)


@contextmanager
def _running(
    module: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A command of Dagster's, and whatever it starts, for as long as the block lasts."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments, *CODE],
            cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        # Code servers and run workers are in the session too, and outlive their parents by up to a minute.
        end_group(process.pid)
        process.wait()


def _launch(environment: Mapping[str, str], cells: Sequence[str], log: Path) -> None:
    arguments = ["job", "backfill", "-j", JOB, "--partitions", ",".join(cells), "--noprompt"]
    with _running("dagster", arguments, environment, log) as process:
        if process.wait():
            raise WrongResultError(f"the backfill could not be launched: {_tail(log)}")


def _ended(instance: DagsterInstance, expected: int, log: Path) -> Sequence[RunRecord]:
    from dagster import DagsterRunStatus

    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        records = instance.get_run_records()
        if len(records) == expected and all(record.dagster_run.is_finished for record in records):
            failed = [record for record in records if record.dagster_run.status != DagsterRunStatus.SUCCESS]
            if failed:
                raise WrongResultError(f"{len(failed)} of {expected} runs through the daemon failed: {_tail(log)}")
            return records
        time.sleep(0.5)
    raise WrongResultError(f"the runs through the daemon did not end within {PATIENCE_SECONDS:g} s: {_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-TAIL:]
