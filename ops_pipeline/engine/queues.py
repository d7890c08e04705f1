"""What waits between the stages of a run, and how much of it is taken at once.

Belongs here: the two bounded queues of `pipeline`, on its event loop. Does not belong here: what is done with what is taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING

from ops_pipeline.engine.read import Read, portion_files

if TYPE_CHECKING:
    from ops_pipeline.ops.ingestion import DatasetInjestion

# Answers that wait to be read: small objects, their bodies are on disk.
INBOX = 2_000
# A portion is read when it is full, or its first answer this old: while it is read, the next ones are fetched.
READ_SECONDS = 0.25
READ_BYTES = 6 * 1024 * 1024
# A batch is committed when it is full, or its first portion this old. A run's first one is hardly waited for: until then nobody commits,
# and what comes after it is committed sooner; of a long run it is one more of hundreds. So much lets a short run's two portions be one.
BATCH_SECONDS = 2.0
FIRST_SECONDS = 0.2
# A commit keeps the database for about so long, since others wait meanwhile.
HOLD_SECONDS = 0.7
# Below this (`Read.weight`: 300 files of a year of days) a smaller batch is hardly faster: what a transaction costs whatever it holds is
# the larger part. A run begins with it.
LEAST_WEIGHT = 100_000
# Above this a larger one is hardly faster either, and what DuckDB needs to merge it grows: memory stays flat whatever the number of keys.
MOST_WEIGHT = 200_000
# What is read and waits to be committed is in memory: at most so much and a portion, or two batches. Twice that took 50 MB more.
WAITING_WEIGHT = 200_000


class Inbox:
    """Answers that are stored and not read yet, request by request.

    Attributes:
        room: set while more may be fetched.
    """

    def __init__(self, files: int) -> None:
        """A portion has about so many files, and not more than are worth reading at once (`portion_files`)."""
        self.room = asyncio.Event()
        self._files = portion_files(files)
        self._waiting: deque[list[DatasetInjestion]] = deque()
        self._bytes = 0
        self._since = 0.0  # when the first of those that wait came
        self._any, self._full = asyncio.Event(), asyncio.Event()
        self._closed = False
        self._tell()

    def put(self, rows: list[DatasetInjestion]) -> None:
        """Takes in the rows of one request, one a part."""
        if rows:
            if not self._waiting:
                self._since = time.monotonic()
            self._waiting.append(rows)
            self._bytes += _bytes(rows)
            self._tell()

    def close(self) -> None:
        """Nothing comes any more."""
        self._closed = True
        self._tell()

    @property
    def ended(self) -> bool:
        """Whether everything is taken and nothing comes any more."""
        return self._closed and not self._waiting

    async def take(self) -> list[DatasetInjestion]:
        """The next portion, whole requests; waits for it, and is empty when nothing comes any more."""
        await self._any.wait()
        await _until(self._full, self._since + READ_SECONDS)
        portion: list[DatasetInjestion] = []
        size = 0
        while self._waiting and len(portion) < self._files and size < READ_BYTES:
            rows = self._waiting.popleft()
            size += _bytes(rows)
            portion += rows
        self._bytes -= size
        self._since = time.monotonic()
        self._tell()
        return portion

    def _tell(self) -> None:
        full = len(self._waiting) >= self._files or self._bytes >= READ_BYTES
        _set(self._any, self._closed or bool(self._waiting))
        _set(self._full, self._closed or full)
        _set(self.room, self._closed or len(self._waiting) < INBOX)


class Reads:
    """Portions that are read and not committed yet, joined to batches that keep the database for about `HOLD_SECONDS`."""

    def __init__(self, files: int) -> None:
        """A batch has about so many files, or as many as the time of the earlier ones allows."""
        self.abandoned = False
        self._files, self._capacity, self._seconds = files, float(LEAST_WEIGHT), FIRST_SECONDS
        self._waiting: deque[Read] = deque()
        self._weight = self._count = 0
        self._since = 0.0  # when the first of those that wait came
        self._any, self._full, self._room = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._closed = False
        self._tell()

    async def put(self, read: Read, *, last: bool = False) -> None:
        """Takes a portion in, and waits while too much is waiting; closes with the last one, so that its batch is known as the last."""
        if not self._waiting:
            self._since = time.monotonic()
        self._closed = self._closed or last
        self._waiting.append(read)
        self._weight += read.weight
        self._count += len(read.rows)
        self._tell()
        await self._room.wait()

    def close(self) -> None:
        """Nothing comes any more."""
        self._closed = True
        self._tell()

    def abandon(self) -> None:
        """Nothing is taken any more."""
        self.abandoned = True
        self._tell()

    @property
    def ended(self) -> bool:
        """Whether everything is taken and nothing comes any more."""
        return self._closed and not self._waiting

    async def take(self) -> Read | None:
        """The next batch; waits for it, and is None when nothing comes any more."""
        await self._any.wait()
        await _until(self._full, self._since + self._seconds)
        self._seconds = BATCH_SECONDS
        if not self._waiting:
            return None
        batch, weight = Read(), 0
        while self._waiting and (not weight or weight + self._waiting[0].weight <= self._capacity):
            read = self._waiting.popleft()
            weight += read.weight
            self._count -= len(read.rows)
            batch.add(read)
        self._weight -= weight
        self._since = time.monotonic()
        self._tell()
        return batch

    def committed(self, weight: int, seconds: float) -> None:
        """Learns from the last batch how much the next one may be: at most twice and at least half as much as before."""
        fitting = weight * HOLD_SECONDS / max(seconds, 1e-3)
        self._capacity = min(max(fitting, self._capacity / 2, LEAST_WEIGHT), self._capacity * 2, MOST_WEIGHT)

    def _tell(self) -> None:
        over = self._closed or self.abandoned
        _set(self._any, over or bool(self._waiting))
        _set(self._full, over or self._count >= self._files or self._weight >= self._capacity)
        _set(self._room, self.abandoned or self._weight < WAITING_WEIGHT)


async def _until(event: asyncio.Event, at: float) -> None:
    """Waits for the event, but not longer than until that time of the monotonic clock."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), max(0.0, at - time.monotonic()))


def _bytes(rows: list[DatasetInjestion]) -> int:
    return sum(row.bronze_bytes or 0 for row in rows)


def _set(event: asyncio.Event, on: bool) -> None:
    if on:
        event.set()
    else:
        event.clear()
