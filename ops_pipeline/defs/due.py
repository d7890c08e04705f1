"""What is due, as run requests: one a source, so that a slow vendor does not hold the others.

Belongs here: splitting due keys by source, and which of them a run already has in hand. Does not belong here: when it is asked
(`automation`) and which keys are due (`engine.plan`).
"""

from __future__ import annotations

import logging
from datetime import UTC, timedelta
from typing import TYPE_CHECKING

from dagster import DagsterRunStatus, RunRequest, RunsFilter

from ops_pipeline.defs.batch import BatchConfig, read_keys, run_config
from ops_pipeline.defs.events import STEP
from ops_pipeline.engine.plan import RunOptions, due_keys
from ops_pipeline.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from dagster import DagsterInstance, DagsterRun

    from ops_pipeline.engine.context import Context
    from ops_pipeline.recipes.universe import PartitionKey

BATCH_TAGS = {"ops_pipeline/kind": "batch"}
"""What every run of the batch job carries."""

SOURCE_TAG = "ops_pipeline/source"
"""Only runs that a schedule or sensor launches carry it: dagster.yaml lets one of them run at a time for each source."""

DUE_TAG = "ops_pipeline/due"

_UNFINISHED = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]
_BROKEN = [DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
# More than this within a pause would mean that the pause does not work.
_MOST_RUNS = 100

log = logging.getLogger("ops_pipeline.defs")


def due_by_source(home: Context, moment: datetime) -> dict[str, list[PartitionKey]]:
    """Source -> its keys that are due as at a time.

    Raises:
        UserError: when the universe or the ledger cannot be read.
    """
    found: dict[str, list[PartitionKey]] = {}
    for key in due_keys(home, RunOptions(today=home.settings.today, now=moment)):
        found.setdefault(home.catalogue.recipes[key.dataset].source, []).append(key)
    return found


def run_request(home: Context, source: str, keys: list[PartitionKey], moment: datetime, run_key: str) -> RunRequest:
    """The run over a source's due keys, decided as at a time, also when it waits in the queue or is executed again."""
    return RunRequest(
        run_key=run_key,
        run_config=run_config(home.settings.runs_path / "keys", keys, moment),
        tags={SOURCE_TAG: source, DUE_TAG: str(len(keys))},
    )


def in_hand(home: Context, instance: DagsterInstance, moment: datetime) -> set[PartitionKey]:
    """Keys that must not be launched again yet.

    Those of a batch that waits or goes on, and those of a batch that failed or was cancelled less than the pause ago: what it did not get
    would fail again at once, or was stopped by someone who had a reason.
    """
    pause = timedelta(minutes=home.settings.retry_minutes)
    runs = instance.get_runs(RunsFilter(tags=BATCH_TAGS, statuses=_UNFINISHED), limit=_MOST_RUNS)
    broken = RunsFilter(tags=BATCH_TAGS, statuses=_BROKEN, updated_after=moment.astimezone(UTC) - pause)
    return {key for run in [*runs, *instance.get_runs(broken, limit=_MOST_RUNS)] for key in _keys_of(home, run)}


def _keys_of(home: Context, run: DagsterRun) -> Iterable[PartitionKey]:
    given = run.run_config.get("ops", {}).get(STEP, {}).get("config", {}) if isinstance(run.run_config, dict) else {}
    try:
        config = BatchConfig(**{name: given[name] for name in ("partitions", "partitions_file") if name in given})
        return read_keys(home.settings.runs_path / "keys", config)
    except UserError as e:
        log.warning("run %s: %s", run.run_id, e)  # its key list is gone: it cannot do anything either
        return []


def recently_failed(home: Context, moment: datetime) -> set[PartitionKey]:
    """Partitions that any run, of the command line too, tried in vain less than the pause ago."""
    since = moment - timedelta(minutes=home.settings.retry_minutes)
    return {failure.partition for failure in home.service.latest_failures() if failure.at > since}
