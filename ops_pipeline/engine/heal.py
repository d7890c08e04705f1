"""Finishing what dead runs left.

Belongs here: answers that were stored but not recorded, requests that never got an answer, temporary files and leases. Does not belong
here: promotions that wait, which every run does for its own keys (`plan`).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops_pipeline.bronze.paths import partition_folder
from ops_pipeline.engine.context import steps
from ops_pipeline.engine.read import portion_files
from ops_pipeline.errors import DamagedFileError
from ops_pipeline.ops.repo import OpsRepo

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ops_pipeline.bronze.store import StoredFile
    from ops_pipeline.engine.context import Context
    from ops_pipeline.engine.promote import Promoter
    from ops_pipeline.ops.ingestion import DatasetInjestion

log = logging.getLogger("ops_pipeline.engine")

NEVER_ANSWERED = "the run ended before an answer was stored; the next run asks again"
CUT_SHORT = "the run ended before the last part of this request was stored; the next run asks again"


@dataclass(frozen=True, slots=True)
class Left:
    """What dead runs left.

    Attributes:
        runs: the dead ones, and the one that looks: its rows are an earlier attempt's, since Dagster retries a step under the same run id.
        rows: their requests that have no end.
    """

    runs: set[str]
    rows: list[DatasetInjestion]


def left_by_dead(context: Context, run_id: str) -> Left:
    """What there is to heal; writes nothing."""
    # In this order: a run that dies in between is left to the next run, with the lease that tells about it.
    left = context.leases.left_behind()
    with context.warehouse.reading() as connection:
        asked = OpsRepo(connection).asked()
    dead = left | context.leases.dead({row.run_id for row in asked}) | {run_id}
    return Left(dead, [row for row in asked if row.run_id in dead])


def heal(context: Context, run_id: str, promoter: Promoter, left: Left | None = None) -> int:
    """Settles the rows of dead runs, whatever their keys, and removes their temporary files and leases.

    Args:
        context: the home.
        run_id: the run that heals.
        promoter: its promoter.
        left: where the caller has looked already; None: it is looked up here.

    Returns:
        how many requests were settled.
    """
    left = left or left_by_dead(context, run_id)
    rows, dead = left.rows, left.runs
    if rows:
        log.info("settling %d requests of runs that died", len(rows))
        for batch in _batches(_settle(context, rows), portion_files(context.settings.batch_files)):
            steps.debug("settling %d rows", len(batch))
            promoter.record(promoter.read(batch))
    for run in dead:
        context.store.discard_temporary(run)
    context.leases.forget(dead - {run_id})
    steps.debug("healed %d requests", len(rows))
    return len(rows)


def _batches(requests: Iterable[list[DatasetInjestion]], size: int) -> Iterator[list[DatasetInjestion]]:
    """About so many rows a batch; the parts of a request stay together, since they are all recorded or none is."""
    batch: list[DatasetInjestion] = []
    for parts in requests:
        batch += parts
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch


def _settle(context: Context, rows: Sequence[DatasetInjestion]) -> Iterator[list[DatasetInjestion]]:
    """The rows of each request: with the answers that were stored for it and that no other row names, or ended as failed."""
    following = {run: context.leases.next_parts(run) for run in {row.run_id for row in rows}}
    requests = [list(_parts(context, row, following[row.run_id])) for row in rows]
    names = [file.filename for parts in requests for _, files in parts for file in files]
    with context.warehouse.reading() as connection:
        taken = OpsRepo(connection).known_filenames(names)
    for parts in requests:
        yield _settled(context, parts, taken)


def _parts(
    context: Context, row: DatasetInjestion, following: dict[str, str]
) -> Iterator[tuple[DatasetInjestion, list[StoredFile]]]:
    """The row and one for each later part that its run was about to store, with what is on disk for them."""
    part = row
    while True:
        files = _on_disk(context, part)
        yield part, files
        following_id = following.get(part.file_id)
        if not files or following_id is None:
            return
        part = row.model_copy(update={"file_id": following_id, "request_part": part.request_part + 1})


def _settled(
    context: Context, parts: Sequence[tuple[DatasetInjestion, list[StoredFile]]], taken: set[str]
) -> list[DatasetInjestion]:
    whole = True
    for row, files in parts:
        candidates = [file for file in files if file.filename not in taken]
        if not candidates:
            row.bronze_unanswered(NEVER_ANSWERED)
            whole = False
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
            row.bronze_failed(
                "the source answered with an error, and the run ended before it was recorded; the body is kept", kind="transient"
            )
            whole = False
        elif row.dataset_key not in context.catalogue.recipes:
            row.bronze_failed(f"no recipe declares the dataset {row.dataset_key} any more; the body is kept")
            whole = False
    rows = [row for row, _ in parts]
    for row in rows:
        row.request_complete = whole
        if not whole and row.bronze_error is None:
            row.bronze_failed(CUT_SHORT, kind="transient")
    return rows


def _on_disk(context: Context, row: DatasetInjestion) -> list[StoredFile]:
    try:
        return context.store.find(
            partition_folder(row.domain, row.source, row.dataset, row.discriminator, row.ticker),
            row.file_id,
        )
    except DamagedFileError as e:
        log.warning("%s", e)
        return []
