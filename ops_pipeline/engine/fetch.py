"""Fetching: requests under way at once, each answer stored raw the moment it is there.

Belongs here: concurrency, storing, and what a failed request leaves. Does not belong here: the ledger (`promote`), which request is sent
(`plan`), and a vendor's ways (`sources`).
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops_pipeline.bronze.paths import partition_folder
from ops_pipeline.clock import utc_now
from ops_pipeline.engine.context import steps
from ops_pipeline.errors import DamagedFileError, UserError
from ops_pipeline.ops.ingestion import DatasetInjestion
from ops_pipeline.sources import SourceError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ops_pipeline.bronze.store import StoredFile
    from ops_pipeline.engine.context import Context
    from ops_pipeline.recipes.models import Recipe
    from ops_pipeline.sources import Request, Source

log = logging.getLogger("ops_pipeline.engine")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request with the ledger row that says it was asked."""

    recipe: Recipe
    request: Request
    row: DatasetInjestion


async def fetch_all(
    context: Context,
    run_id: str,
    asked: Sequence[Asked],
    deliver: Callable[[list[DatasetInjestion]], Awaitable[None]],
) -> None:
    """Sends every request, so many at once as the settings and its source allow.

    Args:
        context: the home.
        run_id: the run that asks.
        asked: requests whose rows are in the ledger.
        deliver: gets the rows of each request when it is complete or failed: one a part, stored or failed, not read and not recorded yet.

    Raises:
        UserError: when a source cannot work at all, or bronze cannot be written; other requests are stopped.
    """
    by_source: dict[str, list[Asked]] = {}
    for one in asked:
        by_source.setdefault(one.recipe.source, []).append(one)
    slots = asyncio.Semaphore(context.settings.concurrency)
    async with AsyncExitStack() as stack:
        async with asyncio.TaskGroup() as group:
            for name, mine in by_source.items():
                declaration = context.catalogue.sources[name]
                source = context.open_source(declaration.client)
                stack.push_async_callback(source.aclose)
                # A fixed number of workers a source, not a task a request: memory does not grow with the number of keys.
                work = iter(mine)
                for _ in range(min(declaration.concurrency, len(mine))):
                    group.create_task(_worker(context, run_id, source, work, slots, deliver))


async def _worker(
    context: Context,
    run_id: str,
    source: Source,
    work: object,
    slots: asyncio.Semaphore,
    deliver: Callable[[list[DatasetInjestion]], Awaitable[None]],
) -> None:
    for one in work:  # type: ignore[attr-defined]
        async with slots:
            rows = await _fetch(context, run_id, source, one)
        await deliver(rows)


async def _fetch(context: Context, run_id: str, source: Source, asked: Asked) -> list[DatasetInjestion]:
    """The rows of one request, one a part; whatever goes wrong with the source fails these rows and nothing else."""
    row, rows, complete = asked.row, [], False
    row.bronze_started()
    steps.debug("asking %s", row.file_id)
    try:
        async for answer in source.fetch(asked.request):
            row = asked.row if answer.part == 1 else DatasetInjestion.open(asked.request, run_id, part=answer.part)
            rows.append(row)
            stored = await _store(context, asked, row, answer.body)
            _received(row, stored, answer.status_code)
            complete = answer.last
        if not complete:
            raise SourceError(
                "the answer ended before its last part; it is asked again with the next run",
                kind="transient",
            )
    except SourceError as e:
        await _fail(context, asked, rows, e)
    except DamagedFileError as e:
        await _fail(context, asked, rows, SourceError(str(e), kind="permanent"))
    except UserError:
        raise
    except Exception as e:  # noqa: BLE001 - a source may be a user's own code: whatever it raises fails its key, never the others
        log.warning(
            "%s: the source raised %s",
            asked.row.partition,
            type(e).__name__,
            exc_info=True,
        )
        await _fail(
            context,
            asked,
            rows,
            SourceError(
                f"the source failed with {type(e).__name__}; the log has the details",
                kind="permanent",
            ),
        )
    for done in rows:
        done.request_complete = complete and all(r.bronze_error is None for r in rows)
    return rows


def _received(row: DatasetInjestion, stored: StoredFile, status_code: int | None) -> None:
    # An answer that was stored before has the time of its first storing; this run knows it since now.
    reused = row.bronze_injest_start_time is not None and stored.stored_at < row.bronze_injest_start_time
    row.bronze_received(
        filename=stored.filename,
        payload_hash=stored.payload_hash,
        size=stored.size,
        stored_at=utc_now() if reused else stored.stored_at,
        status_code=status_code,
    )


async def _store(
    context: Context,
    asked: Asked,
    row: DatasetInjestion,
    body: bytes,
    *,
    error: bool = False,
) -> StoredFile:
    stored = await asyncio.to_thread(
        context.store.store,
        folder=partition_folder(row.domain, row.source, row.dataset, row.discriminator, row.ticker),
        file_id=row.file_id,
        body=body,
        extension=asked.recipe.answer.format,
        run_id=row.run_id,
        error=error,
    )
    steps.debug("stored %s", row.file_id)
    return stored


async def _fail(context: Context, asked: Asked, rows: list[DatasetInjestion], error: SourceError) -> None:
    """Ends the request's last part as failed or deferred, keeping the body that came with the error; good parts stay as they are."""
    last = rows[-1] if rows else None
    if last is None or last.bronze_filename:
        last = asked.row if last is None else DatasetInjestion.open(asked.request, asked.row.run_id, part=last.request_part + 1)
        rows.append(last)
    if error.body:
        _received(
            last,
            await _store(context, asked, last, error.body, error=True),
            error.status_code,
        )
    if error.kind == "deferred":
        last.bronze_deferred(str(error))
    else:
        last.bronze_failed(str(error), error.status_code)
