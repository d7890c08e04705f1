"""A run: many keys through bronze, silver and gold.

Belongs here: `run_batch`, the generator that plans, fetches, promotes and tells each key's outcome as soon as it is known. Does not belong
here: any of these steps' own work, Dagster, the terminal.

One thread fetches (an event loop) and hands batches to a second that records and promotes; the caller's thread only takes outcomes. So
requests go on while rows are merged, and merging goes on while the caller writes its events or draws its progress bar.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ops_pipeline.engine.context import steps
from ops_pipeline.engine.fetch import STOPPED, Asked, fetch_all
from ops_pipeline.engine.heal import heal
from ops_pipeline.engine.outcome import Outcome, outcome_of
from ops_pipeline.engine.plan import PlannedKey, RunOptions, plan
from ops_pipeline.engine.promote import Promoter
from ops_pipeline.errors import UserError
from ops_pipeline.ops.ingestion import DatasetInjestion

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from ops_pipeline.engine.context import Context
    from ops_pipeline.recipes.universe import PartitionKey

log = logging.getLogger("ops_pipeline.engine")

# A batch is recorded when it is full or this old, whichever comes first.
BATCH_SECONDS = 2.0
# Answers that wait to be recorded while the database is busy: small objects, their bodies are on disk.
INBOX = 10_000


def new_run_id() -> str:
    """An id for a run that Dagster did not start."""
    return str(uuid.uuid4())


def run_batch(
    context: Context, keys: Sequence[PartitionKey], options: RunOptions, *, run_id: str
) -> Generator[Outcome, None, None]:
    """Runs the keys and gives one outcome a key, as soon as it is known.

    Closing the generator, or raising into it, stops the run: what is fetched is recorded, what is not is marked, and no lock is left.

    Args:
        context: the home; its migrations must be applied.
        keys: the partitions; repeated ones count once.
        options: what may and must be done.
        run_id: the ledger's run id.

    Raises:
        UserError: when the run as a whole cannot go on (full disk, database held by a foreign process for too long); what was stored by
            then is finished by the next run.
    """
    # A retry under the same run id goes on where its earlier attempt ended.
    options = replace(options, after_runs=options.after_runs | {run_id})
    with context.leases.held(run_id):
        steps.debug("started")
        promoter = Promoter(context, run_id, options.layers)
        heal(context, run_id, promoter)
        planned = plan(context, keys, options)
        work = [p for p in planned if p.verdict is None]
        for item in planned:
            if item.verdict is not None:
                yield Outcome(item.key, item.verdict, item.reason)
        if work:
            try:
                yield from _Run(context, run_id, options, promoter, work).outcomes()
            finally:
                _tidy(context, run_id)
            _fold(context)
        steps.debug("finished")


def _tidy(context: Context, run_id: str) -> None:
    try:
        context.store.discard_temporary(run_id)
    except UserError as e:
        log.warning("%s", e)  # what went wrong with the disk is told by what could not be stored


def _fold(context: Context) -> None:
    steps.debug("folding the log")
    try:
        context.warehouse.checkpoint()
    except UserError as e:
        log.warning("the database's log was not folded: %s", e)  # everything is committed and told


@dataclass(slots=True)
class _KeyState:
    """How far a key is: its outcome is told when nothing is open."""

    open: int
    files: dict[tuple[str, str], DatasetInjestion] = field(default_factory=dict)


_END = object()


class _Run:
    def __init__(
        self,
        context: Context,
        run_id: str,
        options: RunOptions,
        promoter: Promoter,
        work: Sequence[PlannedKey],
    ) -> None:
        self.context, self.options, self.promoter = context, options, promoter
        self.states = {p.key: _KeyState(len(p.requests) + bool(p.pending)) for p in work}
        self.waiting = [p.key for p in work if p.pending]
        self.asked = [Asked(p.recipe, r, DatasetInjestion.open(r, run_id)) for p in work if p.recipe for r in p.requests]
        self.inbox: asyncio.Queue[list[DatasetInjestion] | None] = asyncio.Queue()
        self.room = asyncio.Event()
        self.told: queue.SimpleQueue[Outcome | object] = queue.SimpleQueue()
        self.error: BaseException | None = None
        self.stopping = threading.Event()
        self.fetching: asyncio.Task[None] | None = None
        self.loop: asyncio.AbstractEventLoop | None = None

    def outcomes(self) -> Iterator[Outcome]:
        """Starts the work and gives the outcomes; stops the work when the caller does not want more."""
        recipes = {a.recipe.recipe_hash: a.recipe for a in self.asked}
        self.context.service.ask([a.row for a in self.asked], recipes.values())
        steps.debug("asked %d requests", len(self.asked))
        worker = threading.Thread(target=self._work, name="ops-pipeline-run")
        worker.start()
        try:
            while isinstance(item := self.told.get(), Outcome):
                yield item
        finally:
            if worker.is_alive():
                self._stop()
            _join(worker)
            if self.error is not None:
                raise self.error

    def _stop(self) -> None:
        self.stopping.set()
        loop, fetching = self.loop, self.fetching
        if loop is not None and fetching is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nothing is under way
                loop.call_soon_threadsafe(fetching.cancel)

    def _work(self) -> None:
        try:
            asyncio.run(self._drive())
        except BaseException as e:  # noqa: BLE001 - carried to the caller's thread, which raises it
            self.error = e
        finally:
            self.told.put(_END)

    async def _drive(self) -> None:
        self.room.set()
        self.loop = asyncio.get_running_loop()
        self.fetching = asyncio.create_task(fetch_all(self.context, self.asked, self._deliver, self.room.wait))
        if self.stopping.is_set():
            self.fetching.cancel()
        promoting = asyncio.create_task(self._promote_all())
        await asyncio.wait({self.fetching, promoting}, return_when=asyncio.FIRST_COMPLETED)
        if promoting.done():  # before the fetching ended: recording failed, so there is no point in asking on
            self.fetching.cancel()
            await asyncio.wait({self.fetching})
        self.inbox.put_nowait(None)
        await asyncio.wait({promoting})
        if self.stopping.is_set() and promoting.exception() is None:
            await asyncio.to_thread(self._mark_unanswered)
        errors = [error for error in (_error(self.fetching), _error(promoting)) if error is not None]
        if errors:
            raise errors[0]

    def _deliver(self, rows: list[DatasetInjestion]) -> None:
        if rows:
            self.inbox.put_nowait(rows)
        if self.inbox.qsize() >= INBOX:
            self.room.clear()

    async def _promote_all(self) -> None:
        """Takes what is fetched in batches; promotes what waited from earlier runs first."""
        if self.waiting and not self.stopping.is_set():
            await asyncio.to_thread(self._take, [], self.waiting)
        if self.asked:
            await asyncio.to_thread(self.promoter.expect, [asked.row.partition for asked in self.asked])
        ended = False
        while not ended:
            batch: list[list[DatasetInjestion]] = []
            deadline: float | None = None
            while len(batch) < self.context.settings.batch_files:
                timeout = None if deadline is None else max(0.0, deadline - asyncio.get_running_loop().time())
                try:
                    rows = await asyncio.wait_for(self.inbox.get(), timeout)
                except TimeoutError:
                    break
                if self.inbox.qsize() < INBOX:
                    self.room.set()
                if rows is None:
                    ended = True
                    break
                batch.append(rows)
                deadline = deadline or asyncio.get_running_loop().time() + BATCH_SECONDS
            if batch:
                await asyncio.to_thread(self._take, batch, [])

    def _take(self, requests: list[list[DatasetInjestion]], waiting: Sequence[PartitionKey]) -> None:
        """One batch through the layers; tells the outcome of every key that has nothing open afterwards."""
        rows = [row for request in requests for row in request]
        if self.stopping.is_set():
            self.promoter.record(rows)
            return
        moved = self.promoter.take(rows, waiting)
        done = [*(request[0].partition for request in requests), *waiting]
        for key in done:
            self.states[key].open -= 1
        for key, files in moved.items():
            state = self.states[key]
            state.files.update({file.key: file for file in files})
            if state.open == 0:
                self.told.put(outcome_of(key, list(state.files.values()), self.options.layers))

    def _mark_unanswered(self) -> None:
        """Ends the rows of requests that were asked and never delivered."""
        left = [a.row for a in self.asked if a.row.bronze_outcome == "asked"]
        for row in left:
            row.bronze_failed(STOPPED)
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
