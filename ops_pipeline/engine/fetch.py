"""Fetching: requests under way at once, each answer stored raw the moment it is there.

Belongs here: concurrency, storing, and what a failed or stopped request leaves. Does not belong here: the ledger (`promote`), which request
is sent (`plan`), and a vendor's ways (`sources`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops_pipeline.bronze.paths import partition_folder
from ops_pipeline.clock import utc_now
from ops_pipeline.engine.context import steps
from ops_pipeline.engine.not_in_plan import Refused
from ops_pipeline.errors import UserError
from ops_pipeline.ops.ingestion import DatasetInjestion
from ops_pipeline.recipes.universe import PartitionKey
from ops_pipeline.sources import SourceError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from ops_pipeline.bronze.store import StoredFile
    from ops_pipeline.engine.context import Context
    from ops_pipeline.recipes.models import Recipe
    from ops_pipeline.sources import Answer, Request, Source
    from ops_pipeline.sources.large import LargeBody

log = logging.getLogger("ops_pipeline.engine")

STOPPED = "the run was stopped before this was answered; the next run asks again"
# Handing a body to a thread and back costs more than to pack and write a small one, as long as the disk takes it at once.
SMALL_BODY = 256 * 1024
SLOW_SECONDS = 0.005
# A client that pages without end would fill the disk: no real answer has so many parts.
MAX_PARTS = 10_000


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of a run.

    Attributes:
        recipe: its dataset's.
        request: what is sent.
        run_id: the run that sends it.
        plan: the source's plan in force; None where it has none.
        before: the row of the answer that the request asks to be told about only if it changed; None: it asks in any case.
    """

    recipe: Recipe
    request: Request
    run_id: str
    plan: str | None = None
    before: DatasetInjestion | None = None

    @property
    def partition(self) -> PartitionKey:
        """The partition that the request is about."""
        return PartitionKey(self.request.ticker, self.recipe.dataset_key)

    def open(self, part: int = 1) -> DatasetInjestion:
        """The ledger row of a part, as it is before the answer; made when it is needed, since thousands of requests wait at once."""
        return DatasetInjestion.open(self.request, self.run_id, part=part, plan=self.plan)


async def fetch_all(
    context: Context,
    asked: Sequence[Asked],
    deliver: Callable[[list[DatasetInjestion]], None],
    room: Callable[[], Awaitable[object]],
) -> None:
    """Sends every request, so many at once as the settings and its source allow.

    When it is cancelled, what is being stored is stored to the end and delivered; requests that were under way end as stopped.

    Args:
        context: the home.
        asked: requests whose rows are in the ledger.
        deliver: gets the rows of each request when it is complete, failed or stopped: one a part, not read and not recorded yet.
        room: is awaited before each request: it waits while what was delivered piles up.

    Raises:
        UserError: when a source cannot work at all, or bronze cannot be written; other requests are stopped.
    """
    by_source: dict[str, list[Asked]] = {}
    for one in asked:
        by_source.setdefault(one.recipe.source, []).append(one)
    slots = asyncio.Semaphore(context.settings.concurrency)
    refused, storing = Refused(), _Storing()
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        for name, mine in by_source.items():
            declaration = context.catalogue.sources[name]
            source = context.open_source(declaration, context.catalogue.recipes)
            stack.push_async_callback(_close, name, source)
            # A fixed number of workers a source, not a task a request: memory does not grow with the number of keys.
            work = iter(mine)
            for _ in range(min(declaration.concurrency, len(mine))):
                group.create_task(_worker(context, source, work, slots, deliver, room, refused, storing))


async def _close(name: str, client: object) -> None:
    """Lets a client, or one of its generators, go: one that cannot say goodbye costs nothing, every answer is stored by then."""
    try:
        await client.aclose()  # type: ignore[attr-defined]
    except AttributeError:
        return  # an iterator that is no generator has nothing to close
    except Exception as e:
        log.warning("the source %s raised %s when it was closed", name, type(e).__name__, exc_info=True)


async def _worker(
    context: Context,
    source: Source,
    work: Iterator[Asked],
    slots: asyncio.Semaphore,
    deliver: Callable[[list[DatasetInjestion]], None],
    room: Callable[[], Awaitable[object]],
    refused: Refused,
    storing: _Storing,
) -> None:
    for one in work:
        await room()
        async with slots:
            fetched = _Fetched(context, one, storing)
            try:
                await fetched.run(source, refused.why_not(one.recipe.dataset_key))
            except asyncio.CancelledError:
                deliver(fetched.end())
                raise
            rows = fetched.end()
            refused.told(one.request, next((row.bronze_error_kind for row in rows if row.bronze_error), None))
            deliver(rows)


class _Storing:
    """Where bodies are stored: small ones on the event loop, the others, and all where the disk is slow, in threads."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def at_once(self, body: bytes | LargeBody, work: Callable[[], StoredFile]) -> StoredFile | None:
        """Stores the body now, or gives None: then a thread should."""
        if not isinstance(body, bytes) or len(body) > SMALL_BODY or self._seconds > SLOW_SECONDS:
            return None
        started = time.monotonic()
        stored = work()
        # Of many, not of one: any may have waited for another thread's turn.
        self._seconds += (time.monotonic() - started - self._seconds) / 16
        return stored


class _Fetched:
    """One request being answered: its rows, one a part."""

    def __init__(self, context: Context, asked: Asked, storing: _Storing) -> None:
        self.context, self.asked, self.storing = context, asked, storing
        self.first = asked.open()
        self.rows: list[DatasetInjestion] = []
        self.complete = False

    async def run(self, source: Source, why_not: SourceError | None = None) -> None:
        """Asks, unless there is a reason why not, and stores; whatever goes wrong with the source fails these rows and nothing else."""
        if why_not is not None:
            self.rows.append(self.first)
            self.first.bronze_started()
            self.first.bronze_deferred(str(why_not), kind=why_not.kind)
            return
        try:
            await self._ask(source)
        except SourceError as e:
            await self._fail(e)
        except UserError:
            raise  # the rows stay as asked: the next run finds what is on disk
        except asyncio.CancelledError as e:
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                await self._fail_unknown(e)  # the source's own doing
                return
            if not self.complete:
                await self._fail(SourceError(STOPPED, kind="transient"))
            raise
        except Exception as e:  # noqa: BLE001 - a source may be a user's own code: whatever it raises fails its key, never the others
            await self._fail_unknown(e)

    def end(self) -> list[DatasetInjestion]:
        """The rows, ready to be recorded."""
        for row in self.rows:
            row.request_complete = self.complete
        return self.rows

    async def _ask(self, source: Source) -> None:
        self.first.bronze_started()
        steps.debug("asking %s", self.first.file_id)
        answers = source.fetch(self.asked.request)
        try:
            async for answer in answers:
                part = len(self.rows) + 1
                if answer.part != part:
                    raise SourceError(f"the source gave part {answer.part} where part {part} was due", kind="permanent")
                if part > MAX_PARTS:
                    raise SourceError(f"the answer has no end: it was given up after {MAX_PARTS} parts", kind="permanent")
                self.rows.append(self._row(part))
                if answer.not_modified:
                    self._not_modified(self.rows[-1])
                    return
                self.rows[-1].bronze_redacted = answer.redacted
                self.rows[-1].bronze_validators = answer.validators.text if answer.validators else None
                await self._store(self.rows[-1], answer.body, answer.status_code, answer=answer)
                if answer.last:
                    return
        finally:
            # A generator that is left early would keep its connection until the loop ends.
            await _close(self.asked.request.source, answers)
        raise SourceError("the answer ended before its last part; it is asked again with the next run", kind="transient")

    def _not_modified(self, row: DatasetInjestion) -> None:
        before = self.asked.before
        if before is None or row.request_part != 1:
            raise SourceError(
                "the source says that its answer is the one that stands here, which it was not asked", kind="permanent"
            )
        row.bronze_not_modified(before)
        self.complete = True

    def _row(self, part: int) -> DatasetInjestion:
        return self.first if part == 1 else self.asked.open(part)

    async def _store(
        self, row: DatasetInjestion, body: bytes | LargeBody, status_code: int | None, *, answer: Answer | None = None
    ) -> None:
        """Stores a body and tells the row; an error's body when there is no answer. A cancelled task does it all the same."""

        def work() -> StoredFile:
            if answer and not answer.last:
                self.context.leases.note_next_part(row.run_id, row.file_id, self.asked.request.file_id(answer.part + 1))
            return self.context.store.store(
                folder=partition_folder(row.domain, row.source, row.dataset, row.discriminator, row.ticker),
                file_id=row.file_id,
                body=body,
                extension=self.asked.recipe.answer.format,
                run_id=row.run_id,
                error=answer is None,
            )

        steps.debug("storing %s", row.file_id)
        # That another part follows is kept durably first, and waiting for that would keep all others waiting.
        stored = self.storing.at_once(body, work) if answer is None or answer.last else None
        if stored is None:
            storing = asyncio.ensure_future(asyncio.to_thread(work))
            try:
                await asyncio.shield(storing)
            except asyncio.CancelledError:
                # No thread can be stopped: without waiting, the file would be there and no row would name it.
                await asyncio.wait({storing})
                if storing.exception() is None:
                    self._received(row, storing.result(), status_code, answer)
                raise
            stored = storing.result()
        self._received(row, stored, status_code, answer)
        steps.debug("stored %s", row.file_id)

    def _received(self, row: DatasetInjestion, stored: StoredFile, status_code: int | None, answer: Answer | None) -> None:
        # An answer that was stored before has the time of its first storing; this run knows it since now.
        reused = row.bronze_injest_start_time is not None and stored.stored_at < row.bronze_injest_start_time
        row.bronze_received(
            filename=stored.filename,
            payload_hash=stored.payload_hash,
            size=stored.size,
            stored_at=utc_now() if reused else stored.stored_at,
            status_code=status_code,
        )
        self.complete = answer is not None and answer.last

    async def _fail_unknown(self, error: BaseException) -> None:
        """The text of an exception that is not ours may hold a secret: the ledger gets its name only."""
        name = type(error).__name__
        log.warning("%s: the source raised %s", self.asked.partition, name, exc_info=error)
        await self._fail(SourceError(f"the source failed with {name}; the log has the details", kind="permanent"))

    async def _fail(self, error: SourceError) -> None:
        """Ends the request's last part as failed or deferred, keeping the body that came with the error; good parts stay as they are."""
        self.complete = False
        if not self.rows or self.rows[-1].bronze_filename:
            self.rows.append(self._row(len(self.rows) + 1))
        last = self.rows[-1]
        try:
            if error.body:
                last.bronze_redacted = error.redacted
                await self._store(last, error.body, error.status_code)
        finally:
            if error.kind == "deferred":
                last.bronze_deferred(str(error), error.status_code)
            else:
                last.bronze_failed(str(error), error.status_code, kind=error.kind)
