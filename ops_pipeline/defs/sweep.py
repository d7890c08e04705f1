"""Failing runs whose process is gone.

Belongs here: which of Dagster's unfinished runs are dead, and telling it so. Does not belong here: what such a run left in the ledger
(`engine.heal`).

Dagster's default launcher has no health check: a run whose process was killed stays STARTED and holds its place in the queue for ever. Each
step therefore holds a lease, a locked file in the data folder, for its whole length; the operating system drops the lock with the process.
The file stays when the step ends in order, and only the sweep removes it, so that "no file" always means "not known here": such a run may
live on another machine, or not have come to its step yet.

A run that dies before its step begins leaves no file. Until it says that it has started, Dagster's own run monitoring ends it
(`start_timeout_seconds`); from then on its step begins within a moment, wherever it lives, and the event log that all share tells.
So a run that has started longer ago than that time allows for starting, and whose log has no step, is dead as well.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from dagster import DagsterEventType, DagsterRunStatus, RunsFilter

from ops_pipeline.ops.leases import Leases

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from dagster import DagsterInstance, DagsterRun

    from ops_pipeline.engine.context import Context

# Between its step's end and its own, a run writes a handful of events.
GRACE_SECONDS = 60.0
# A file of a run that this instance does not know: of an instance elsewhere that shares the data folder, or that was removed.
_FORGET_SECONDS = 30 * 86_400.0

# More runs at once than anybody has.
_MOST_STARTED = 100

_IN_PROGRESS = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]


def _steps(home: Context) -> Leases:
    return Leases(home.settings.runs_path / "steps")


def step_lease(home: Context, run_id: str) -> AbstractContextManager[None]:
    """Held for the length of a run's step.

    Raises:
        UserError: when the data folder cannot be written.
    """
    return _steps(home).held(run_id, keep=True)


def fail_dead_runs(home: Context, instance: DagsterInstance, *, grace_seconds: float = GRACE_SECONDS) -> list[str]:
    """Reports unfinished runs whose process is gone as failed, or as cancelled where that was asked.

    A run is dead when its step began on this machine and nobody holds its lease any more since the grace period.

    Returns:
        ids of the runs that were ended.
    """
    leases = _steps(home)
    # The leases first: a run that begins its step in between is not among them.
    released = leases.released()
    if not released:
        return []
    now = time.time()
    unfinished = {run.run_id: run for run in instance.get_runs(RunsFilter(run_ids=list(released), statuses=_IN_PROGRESS))}
    ended = [run for run_id, run in unfinished.items() if now - released[run_id] > grace_seconds]
    for run in ended:
        _end(instance, run)
    known = {run.run_id for run in instance.get_runs(RunsFilter(run_ids=list(released)))}
    over = [
        run_id
        for run_id, since in released.items()
        if (run_id in known and run_id not in unfinished) or (run_id not in known and now - since > _FORGET_SECONDS)
    ]
    leases.forget([*over, *(run.run_id for run in ended)])
    return [run.run_id for run in ended]


def fail_unbegun_runs(
    home: Context, instance: DagsterInstance, location: str | None, *, seconds: float | None = None
) -> list[str]:
    """Reports runs as failed that said that they had started, and never began their step.

    Args:
        home: whose leases tell which runs have come to their step here.
        instance: Dagster's.
        location: the code location whose runs are ours; None: it is not known, so nothing is done.
        seconds: how long ago a run must have started; default: what the instance's run monitoring allows for starting.

    Returns:
        ids of the runs that were ended.
    """
    allowed = instance.run_monitoring_start_timeout_seconds if seconds is None else seconds
    now = time.time()
    # In order of age, so that the oldest are among them where there are more.
    records = instance.get_run_records(RunsFilter(statuses=[DagsterRunStatus.STARTED]), limit=_MOST_STARTED, ascending=True)
    old = [r.dagster_run for r in records if r.start_time is not None and now - r.start_time > allowed]
    ours = [
        run for run in old if location is not None and run.remote_job_origin and run.remote_job_origin.location_name == location
    ]
    steps = _steps(home)
    ended = []
    for run in ours:
        if steps.knows(run.run_id) or instance.event_log_storage.get_logs_for_run(
            run.run_id, of_type=DagsterEventType.STEP_START, limit=1
        ):
            continue
        present = instance.get_run_by_id(run.run_id)
        if present is not None and present.status is DagsterRunStatus.STARTED:
            _end(instance, present)
            ended.append(run.run_id)
    return ended


def _end(instance: DagsterInstance, run: DagsterRun) -> None:
    message = "The run's process is gone: it was killed, or the machine went down. What it fetched is finished by the next run; "
    if run.status is DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, message + "it was being cancelled.")
    else:
        instance.report_run_failed(run, message + "re-execute it to do what is left.")
