"""Forgetting old runs, so that Dagster's event log does not grow for ever.

Belongs here: which of Dagster's runs nobody needs any more, and removing them. Does not belong here: the ledger, which keeps every row, and
bronze files (`maintenance.packing`).

The state of a partition in the UI is that of the newest event about it: the run that wrote it stays, however old it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster import AssetKey, DagsterEventType, DagsterRunStatus, EventRecordsFilter, RunsFilter

from ops_pipeline.engine.outcome import LAYERS

if TYPE_CHECKING:
    from datetime import datetime

    from dagster import DagsterInstance

# Each is some statements on a file of its own: a sensor has a minute.
MOST_RUNS = 200
# SQLite refuses more values in one statement.
_AT_ONCE = 500

# What the UI takes a partition's state from.
_TELLING = (DagsterEventType.ASSET_MATERIALIZATION, DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
_ENDED = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]


def forget_old_runs(instance: DagsterInstance, before: datetime) -> list[str]:
    """Removes runs that ended before a time, with their events, but for those that wrote the newest event of some partition.

    Args:
        instance: Dagster's.
        before: runs that were updated later stay.

    Returns:
        ids of the runs that were removed, the oldest ones; at most `MOST_RUNS` at once.
    """
    old = instance.get_run_records(
        RunsFilter(statuses=_ENDED, updated_before=before), ascending=True, order_by="create_timestamp"
    )
    if not old:
        return []
    needed = _needed_runs(instance)
    removed = [record.dagster_run.run_id for record in old if record.dagster_run.run_id not in needed][:MOST_RUNS]
    for run_id in removed:
        instance.delete_run(run_id)
    return removed


def _needed_runs(instance: DagsterInstance) -> set[str]:
    """Runs that wrote the newest event of its kind about some partition of a layer."""
    storage = instance.event_log_storage
    needed: set[str] = set()
    for layer in LAYERS:
        for kind in _TELLING:
            ids = sorted(storage.get_latest_storage_id_by_partition(AssetKey(layer), kind).values())
            for start in range(0, len(ids), _AT_ONCE):
                chosen = EventRecordsFilter(event_type=kind, asset_key=AssetKey(layer), storage_ids=ids[start : start + _AT_ONCE])
                needed.update(record.run_id for record in storage.get_event_records(chosen))
    return needed
