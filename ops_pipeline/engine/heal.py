"""Finishing what dead runs left.

Belongs here: answers that were stored but not recorded, requests that never got an answer, temporary files and leases. Does not belong
here: promotions that wait, which every run does for its own keys (`plan`).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ops_pipeline.bronze.paths import partition_folder
from ops_pipeline.engine.context import steps
from ops_pipeline.errors import DamagedFileError
from ops_pipeline.ops.repo import OpsRepo

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ops_pipeline.bronze.store import StoredFile
    from ops_pipeline.engine.context import Context
    from ops_pipeline.engine.promote import Promoter
    from ops_pipeline.ops.ingestion import DatasetInjestion

log = logging.getLogger("ops_pipeline.engine")

NEVER_ANSWERED = "the run ended before an answer was stored; the next run asks again"


def heal(context: Context, run_id: str, promoter: Promoter) -> int:
    """Settles the rows of dead runs, whatever their keys, and removes their temporary files and leases.

    Returns:
        how many rows were settled.
    """
    with context.warehouse.reading() as connection:
        asked = OpsRepo(connection).asked()
    # Rows of this very run are an earlier attempt's: Dagster retries a step under the same run id.
    dead = context.leases.dead({row.run_id for row in asked}) | context.leases.left_behind() | {run_id}
    rows = [row for row in asked if row.run_id in dead]
    if rows:
        log.info("settling %d requests of runs that died", len(rows))
        _settle(context, rows)
        for start in range(0, len(rows), context.settings.batch_files):
            promoter.record(rows[start : start + context.settings.batch_files])
    for run in dead - {run_id}:
        context.store.discard_temporary(run)
    context.leases.forget(dead - {run_id})
    steps.debug("healed %d rows", len(rows))
    return len(rows)


def _settle(context: Context, rows: Iterable[DatasetInjestion]) -> None:
    """Each row gets the answer that was stored for it and that no other row names, or ends as failed."""
    found = {row.key: _on_disk(context, row) for row in rows}
    with context.warehouse.reading() as connection:
        taken = OpsRepo(connection).known_filenames(file.filename for files in found.values() for file in files)
    for row in rows:
        candidates = [file for file in found[row.key] if file.filename not in taken]
        if not candidates:
            row.bronze_failed(NEVER_ANSWERED)
            continue
        stored = candidates[-1]
        taken.add(stored.filename)
        row.bronze_received(
            filename=stored.filename,
            payload_hash=stored.payload_hash,
            size=stored.size,
            stored_at=stored.stored_at,
            status_code=None,
        )
        if stored.is_error:
            row.bronze_failed("the source answered with an error, and the run ended before it was recorded; the body is kept")
        else:
            row.request_complete = True


def _on_disk(context: Context, row: DatasetInjestion) -> list[StoredFile]:
    try:
        return context.store.find(
            partition_folder(row.domain, row.source, row.dataset, row.discriminator, row.ticker),
            row.file_id,
        )
    except DamagedFileError as e:
        log.warning("%s", e)
        return []
