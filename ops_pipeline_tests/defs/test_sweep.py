"""Runs whose process is gone: killed for real, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.events import DagsterEvent
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.test_utils import create_run_for_test

from ops_pipeline.defs.sweep import fail_dead_runs, fail_unbegun_runs, step_lease
from ops_pipeline.engine.context import Context
from ops_pipeline.engine.plan import RunOptions
from ops_pipeline.engine.run import new_run_id, run_batch
from ops_pipeline_tests.defs import targets
from ops_pipeline_tests.defs.homes import Lake, make_home

ROOT = Path(__file__).parents[2]
STARTED, CANCELING = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        yield instance


@pytest.fixture
def home(tmp_path: Path) -> Context:
    return make_home(tmp_path / "home")


@pytest.fixture
def worker(tmp_path: Path, home: Context, instance: dg.DagsterInstance) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A run worker that waits for an answer, and its run's id."""
    folder = home.settings.home
    (folder / targets.SLOW).write_text("IBM")
    process = subprocess.Popen(
        [sys.executable, "-m", "ops_pipeline_tests.defs.run_and_wait", str(tmp_path / "dagster")],
        env=os.environ | {targets.HOME: str(folder), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        asked = folder / targets.ASKED
        while not (asked.exists() and "IBM" in asked.read_text()):
            assert process.poll() is None
            time.sleep(0.1)
        [run] = instance.get_runs()
        yield process, run.run_id
    finally:
        process.kill()
        process.wait()


def status(instance: dg.DagsterInstance, run_id: str) -> str:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status.value


def test_a_killed_run_is_failed_and_a_living_one_is_not(
    home: Context, instance: dg.DagsterInstance, worker: tuple[subprocess.Popen[bytes], str]
) -> None:
    process, run_id = worker
    assert fail_dead_runs(home, instance, grace_seconds=0) == []
    assert status(instance, run_id) == "STARTED"
    process.kill()
    process.wait()
    assert status(instance, run_id) == "STARTED", "nobody else tells Dagster"
    assert fail_dead_runs(home, instance, grace_seconds=3600) == [], "it may have ended a moment ago"
    # Other runs remove what the engine knows of a dead run; the sweep must not need it.
    list(run_batch(home, list(home.universe()), RunOptions(), run_id=new_run_id()))
    assert fail_dead_runs(home, instance, grace_seconds=0) == [run_id]
    assert status(instance, run_id) == "FAILURE"
    assert fail_dead_runs(home, instance, grace_seconds=0) == []
    assert list((home.settings.runs_path / "steps").glob("*.lease")) == []


def test_the_next_run_ends_it(home: Context, instance: dg.DagsterInstance, worker: tuple[subprocess.Popen[bytes], str]) -> None:
    process, run_id = worker
    process.kill()
    process.wait()
    lease = home.settings.runs_path / "steps" / f"{run_id}.lease"
    os.utime(lease, (0, 0))  # as if it had died long ago
    assert Lake(home, instance).batch(partitions=["sample.eod-prices|AAPL"]).success
    assert status(instance, run_id) == "FAILURE"


def test_a_run_that_was_being_cancelled_ends_as_cancelled(
    home: Context, instance: dg.DagsterInstance, worker: tuple[subprocess.Popen[bytes], str]
) -> None:
    process, run_id = worker
    run = instance.get_run_by_id(run_id)
    assert run is not None
    instance.report_run_canceling(run)
    process.kill()
    process.wait()
    assert fail_dead_runs(home, instance, grace_seconds=0) == [run_id]
    assert status(instance, run_id) == "CANCELED"


@pytest.mark.parametrize("state", [dg.DagsterRunStatus.STARTING, STARTED, CANCELING, dg.DagsterRunStatus.NOT_STARTED])
def test_a_run_without_a_lease_here_is_left_alone(
    home: Context, instance: dg.DagsterInstance, state: dg.DagsterRunStatus
) -> None:
    run = create_run_for_test(instance, job_name="batch", status=state)
    assert fail_dead_runs(home, instance, grace_seconds=0) == []
    assert status(instance, run.run_id) == state.value, "it may live on another machine, or not have come to its step"


def test_a_run_that_died_before_its_step_is_failed_and_one_that_began_elsewhere_is_not(
    home: Context, instance: dg.DagsterInstance
) -> None:
    """The event log that all machines share tells which runs have come to their step."""

    def started(location: str = "here") -> dg.DagsterRun:
        code = GrpcServerCodeLocationOrigin("localhost", port=1, location_name=location)
        origin = RemoteJobOrigin(RemoteRepositoryOrigin(code, "__repository__"), "batch")
        run = create_run_for_test(instance, job_name="batch", status=dg.DagsterRunStatus.STARTING, remote_job_origin=origin)
        event = DagsterEvent(dg.DagsterEventType.RUN_START.value, "batch", message="Started execution of run.")
        instance.report_dagster_event(event, run.run_id)
        assert status(instance, run.run_id) == "STARTED"
        return run

    def sweep(location: str | None = "here", seconds: float | None = 0) -> list[str]:
        return fail_unbegun_runs(home, instance, location, seconds=seconds)

    dead, elsewhere, began_here, foreign = started(), started(), started(), started("another project's")
    began = DagsterEvent(dg.DagsterEventType.STEP_START.value, "batch", step_key="bronze_silver_gold")
    instance.report_dagster_event(began, elsewhere.run_id)
    with step_lease(home, began_here.run_id):
        assert sweep(seconds=None) == [], "it may come to its step yet"
        assert sweep(location=None) == []
        assert sweep() == [dead.run_id]
        assert sweep() == []
    assert sweep() == [], "what began here is told by its lease"
    assert [status(instance, run.run_id) for run in (dead, elsewhere, began_here, foreign)] == ["FAILURE", *["STARTED"] * 3]


def test_run_monitoring_ends_what_never_starts() -> None:
    """Dagster's own, which nothing here repeats."""
    monitoring = yaml.safe_load((ROOT / "dagster.yaml").read_text())["run_monitoring"]
    assert monitoring["enabled"] is True
    assert 60 <= monitoring["start_timeout_seconds"] <= 600
    assert monitoring["start_timeout_seconds"] <= monitoring["cancel_timeout_seconds"] <= 900
    assert monitoring["max_resume_run_attempts"] == 0


def test_what_ended_in_order_leaves_no_file_behind_the_next_sweep(home: Context, instance: dg.DagsterInstance) -> None:
    lake = Lake(home, instance)
    result = lake.batch()
    assert result.success
    steps = home.settings.runs_path / "steps"
    assert [p.stem for p in steps.glob("*.lease")] == [result.run_id]
    with step_lease(home, "another instance's run"):
        pass
    assert fail_dead_runs(home, instance, grace_seconds=0) == []
    assert len(list(steps.glob("*.lease"))) == 1, "the sweep of the other instance will need it"
    assert lake.instance.get_run_by_id(result.run_id).status.value == "SUCCESS"


def test_the_sensor_says_what_it_ended(home: Context, instance: dg.DagsterInstance) -> None:
    run = create_run_for_test(instance, job_name="batch", status=STARTED)
    sensor = Lake(home, instance).defs.resolve_sensor_def("dead_runs")

    def said() -> str:
        with dg.build_sensor_context(instance=instance) as context:
            return str(sensor.evaluate_tick(context).skip_message)

    assert said() == "every run's process is alive"
    with step_lease(home, run.run_id):
        assert said() == "every run's process is alive"
    os.utime(home.settings.runs_path / "steps" / f"{run.run_id}.lease", (0, 0))
    assert said() == f"failed {run.run_id}: the process was gone"


def test_a_home_that_never_ran(home: Context, instance: dg.DagsterInstance) -> None:
    assert fail_dead_runs(home, instance) == []
