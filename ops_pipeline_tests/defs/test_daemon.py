"""Dagster's own scheduler and queue over the project's dagster.yaml: missed ticks, and runs of one source that wait for each other.

Only the start of a run's process is left out: a run that was launched stays in its place until the test ends it.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.scheduler.scheduler import DagsterDaemonScheduler
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from dagster._scheduler.scheduler import launch_scheduled_runs

from ops_pipeline_tests.defs import targets

ROOT = Path(__file__).parents[2]
LOG = logging.getLogger("test")
LAUNCHER = "\nrun_launcher: {module: dagster._core.test_utils, class: MockedRunLauncher}\n"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text() + LAUNCHER)
    monkeypatch.setenv(targets.HOME, str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(folder)
    target = ModuleTarget("ops_pipeline_tests.defs.two_source_definitions", "defs", str(ROOT), "lake")
    with (
        dg.DagsterInstance.from_config(str(folder)) as instance,
        create_test_daemon_workspace_context(target, instance) as context,
    ):
        yield context
    shutil.rmtree(folder)


def ticks(workspace: Any, moment: datetime) -> None:
    """One pass of the scheduler at a time, with the settings that dagster.yaml gives it."""
    scheduler = workspace.instance.scheduler
    assert isinstance(scheduler, DagsterDaemonScheduler)
    for error in launch_scheduled_runs(workspace, LOG, moment, {}, max_catchup_runs=scheduler.max_catchup_runs):
        assert error is None, error


def launch(workspace: Any) -> None:
    """One pass of the queue."""
    with QueuedRunCoordinatorDaemon(interval_seconds=1) as daemon:
        for error in daemon.run_iteration(workspace):
            assert error is None, error


def runs(instance: dg.DagsterInstance) -> list[tuple[str, str, str]]:
    """(source, day as of which it decides, status) of every run, oldest first."""
    found = [
        (
            run.tags["ops_pipeline/source"],
            str(run.run_config["ops"]["lake"]["config"]["as_of"])[:10],  # type: ignore[index]
            run.status.value,
        )
        for run in instance.get_runs()
    ]
    return sorted(found, key=lambda it: (it[1], it[0]))


def end(instance: dg.DagsterInstance, source: str) -> None:
    for run in instance.get_runs(dg.RunsFilter(tags={"ops_pipeline/source": source}, statuses=[dg.DagsterRunStatus.STARTING])):
        instance.report_run_failed(run)


def test_one_run_a_source_catches_up_and_runs_of_one_source_wait_for_each_other(workspace: Any) -> None:
    instance = workspace.instance
    ticks(workspace, datetime(2026, 1, 5, 12, tzinfo=UTC))
    assert runs(instance) == [], "the schedule begins now"

    # Four evenings of 22:00 in New York have passed while the machine slept; the newest is 03:00 UTC on the ninth.
    ticks(workspace, datetime(2026, 1, 9, 12, tzinfo=UTC))
    assert runs(instance) == [("other", "2026-01-09", "QUEUED"), ("sample", "2026-01-09", "QUEUED")]
    ticks(workspace, datetime(2026, 1, 9, 12, 1, tzinfo=UTC))
    assert len(runs(instance)) == 2, "a tick is not repeated"

    launch(workspace)
    assert {status for _, _, status in runs(instance)} == {"STARTING"}, "two sources run side by side"
    ticks(workspace, datetime(2026, 1, 10, 12, tzinfo=UTC))
    launch(workspace)
    assert runs(instance)[2:] == [("other", "2026-01-10", "QUEUED"), ("sample", "2026-01-10", "QUEUED")]

    end(instance, "sample")
    launch(workspace)
    assert runs(instance)[2:] == [("other", "2026-01-10", "QUEUED"), ("sample", "2026-01-10", "STARTING")], (
        "a slow source holds only itself"
    )
