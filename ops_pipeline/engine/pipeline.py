"""The stages of a run, each busy while the others are: fetching, reading, committing, telling.

Belongs here: the stages' threads, what passes between them, and stopping. Does not belong here: what a stage does with it (`fetch`,
`promote`), how much waits between them (`queues`), and the course of a run (`run`).

One thread runs an event loop that fetches, one reads answers, one commits, and the caller's takes outcomes. Every queue is bounded, so
memory does not grow with the number of keys: a slow stage makes the ones before it wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ops_pipeline.clock import utc_now
from ops_pipeline.engine.conditional import with_validators
from ops_pipeline.engine.context import steps
from ops_pipeline.engine.fetch import STOPPED, Asked, fetch_all
from ops_pipeline.engine.outcome import Outcome, outcome_of
from ops_pipeline.engine.promote import LOG_BYTES
from ops_pipeline.engine.queues import Inbox, Reads
from ops_pipeline.engine.read import Read
from ops_pipeline.engine.turns import in_turn
from ops_pipeline.ops.ingestion import DatasetInjestion
from ops_pipeline.ops.repo import OpsRepo

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ops_pipeline.engine.context import Context
    from ops_pipeline.engine.plan import PlannedKey
    from ops_pipeline.engine.promote import Promoter
    from ops_pipeline.recipes.universe import PartitionKey

log = logging.getLogger("ops_pipeline.engine")

# Ledger rows that are made at once before anything is sent.
ASK_ROWS = 1_000
# Outcomes that the caller has not taken yet.
TOLD = 2_000


@dataclass(slots=True)
class _KeyState:
    """How far a key is: its outcome is told when nothing is open."""

    open: int
    files: dict[tuple[str, str], DatasetInjestion] = field(default_factory=dict)


class Pipeline:
    """One run's work under way."""

    def __init__(
        self, context: Context, run_id: str, layers: frozenset[str], promoter: Promoter, work: Sequence[PlannedKey]
    ) -> None:
        """Takes the planned keys that have requests or wait for a promotion; starts nothing yet."""
        self.context, self.run_id, self.layers, self.promoter = context, run_id, layers, promoter
        self.states = {p.key: _KeyState(len(p.requests) + bool(p.pending)) for p in work}
        self.waiting = [p.key for p in work if p.pending]
        sources = context.catalogue.sources
        self.asked = [Asked(p.recipe, r, run_id, sources[r.source].plan) for p in work if p.recipe for r in p.requests]
        batch = context.settings.batch_files
        self.inbox, self.reads = Inbox(batch), Reads(batch)
        self.told: queue.Queue[Outcome | None] = queue.Queue(TOLD)
        self.error: BaseException | None = None
        self.stopping = threading.Event()
        self.fetching: asyncio.Task[None] | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self._reader = ThreadPoolExecutor(1, "ops-pipeline-read")
        self._committer = ThreadPoolExecutor(1, "ops-pipeline-commit")

    def outcomes(self) -> Iterator[Outcome]:
        """Starts the work and gives the outcomes; stops the work when the caller does not want more."""
        self._ask()
        worker = threading.Thread(target=self._work, name="ops-pipeline-run")
        worker.start()
        try:
            while (item := self.told.get()) is not None:
                yield item
        finally:
            if worker.is_alive():
                self._stop()
            _join(worker)
            if self.error is not None:
                raise self.error

    def _ask(self) -> None:
        """Every request has its row before anything is sent; the rows are made again when they are needed, and not kept."""
        self.asked = with_validators(self.context, in_turn(self.context, self.asked, utc_now()))
        recipes = {a.recipe.recipe_hash: a.recipe for a in self.asked}
        if self.asked:
            with self.context.warehouse.connection(log_bytes=math.inf, threads="half"), self.context.warehouse.transaction():
                self.promoter.expect(asked.partition for asked in self.asked)
                for start in range(0, len(self.asked), ASK_ROWS):
                    self.context.service.ask([a.open() for a in self.asked[start : start + ASK_ROWS]], recipes.values())
            self.promoter.fold(LOG_BYTES)
        steps.debug("asked %d requests", len(self.asked))

    def _stop(self) -> None:
        self.stopping.set()
        loop, fetching = self.loop, self.fetching
        if loop is not None and fetching is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nothing is under way
                loop.call_soon_threadsafe(fetching.cancel)

    def _work(self) -> None:
        try:
            with self._reader, self._committer:
                asyncio.run(self._drive())
        except BaseException as e:  # noqa: BLE001 - carried to the caller's thread, which raises it
            self.error = e
        finally:
            self._tell(None)

    def _tell(self, outcome: Outcome | None) -> None:
        """Waits for room while the caller takes outcomes; a caller that wants no more gets none."""
        while not self.stopping.is_set():
            with contextlib.suppress(queue.Full):
                self.told.put(outcome, timeout=0.2)
                return

    async def _drive(self) -> None:
        self.loop = asyncio.get_running_loop()
        # Large bodies, and all on a slow disk, are stored in threads: as many at once as there are requests.
        self.loop.set_default_executor(ThreadPoolExecutor(self.context.settings.concurrency, "ops-pipeline-store"))
        fetching = self.fetching = asyncio.create_task(fetch_all(self.context, self.asked, self.inbox.put, self.inbox.room.wait))
        if self.stopping.is_set():
            fetching.cancel()
        reading, committing = asyncio.create_task(self._read_all()), asyncio.create_task(self._commit_all())
        await asyncio.wait({fetching, reading, committing}, return_when=asyncio.FIRST_COMPLETED)
        # The later stages end before the first one only when they fail: then there is no point in asking on.
        fetching.cancel()
        await asyncio.wait({fetching})
        self.inbox.close()
        await asyncio.wait({reading, committing}, return_when=asyncio.FIRST_COMPLETED)
        if committing.done():
            self.reads.abandon()
        await asyncio.wait({reading, committing})
        errors = [error for task in (fetching, reading, committing) if (error := _error(task)) is not None]
        if errors:
            raise errors[0]
        if self.stopping.is_set():
            await asyncio.to_thread(self._mark_unanswered)

    async def _read_all(self) -> None:
        """Types what is fetched, portion by portion, while more is fetched."""
        loop = asyncio.get_running_loop()
        try:
            while (rows := await self.inbox.take()) and not self.reads.abandoned:
                read = await loop.run_in_executor(self._reader, self.promoter.read, rows)
                await self.reads.put(read, last=self.inbox.ended)
        finally:
            self.reads.close()

    async def _commit_all(self) -> None:
        """Commits what is read, in few and short transactions; what waited from earlier runs comes first."""
        loop = asyncio.get_running_loop()
        if self.waiting and not self.stopping.is_set():
            await loop.run_in_executor(self._committer, self._take, Read(), self.waiting)
        while (read := await self.reads.take()) is not None:
            await loop.run_in_executor(self._committer, self._take, read, [], self.reads.ended)
            self.reads.committed(read.weight, self.promoter.held_seconds)

    def _take(self, read: Read, waiting: Sequence[PartitionKey], last: bool = False) -> None:
        """One batch through the layers; tells the outcome of every key that has nothing open afterwards."""
        if self.stopping.is_set():
            self.promoter.record(read)
            return
        moved = self.promoter.take(read, waiting, last=last)
        requests = {(row.partition, row.request_id) for row in read.rows}
        for key in [*(partition for partition, _ in requests), *waiting]:
            self.states[key].open -= 1
        for key, files in moved.items():
            state = self.states[key]
            state.files.update({file.key: file for file in files})
            if state.open == 0:
                del self.states[key]
                self._tell(outcome_of(key, list(state.files.values()), self.layers))
        self.promoter.fold(LOG_BYTES)

    def _mark_unanswered(self) -> None:
        """Ends the rows of requests that were asked and never delivered."""
        with self.context.warehouse.reading() as connection:
            left = OpsRepo(connection).asked(self.run_id)
        for row in left:
            row.bronze_unanswered(STOPPED)
        self.context.service.record_file_ingestions(left)
        log.warning("stopped with %d requests unanswered", len(left))


def _join(worker: threading.Thread) -> None:
    """Waits until the thread has flushed what it holds; an interrupt while waiting is kept for afterwards."""
    interrupt: BaseException | None = None
    while worker.is_alive():
        try:
            worker.join()
        except BaseException as e:  # noqa: BLE001 - raised again below: leaving the thread behind would leave its lease without an owner
            interrupt = e
    if interrupt is not None:
        raise interrupt


def _error(task: asyncio.Task[None]) -> BaseException | None:
    """What the task raised: of a group, the first, since one sentence is what the user can act on; None for a cancelled one."""
    error = None if task.cancelled() else task.exception()
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
