"""What is taken at once between the stages, and what waits.

Belongs here: the two queues alone. Does not belong here: the stages around them (`test_pipeline`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_pipeline.engine import queues
from ops_pipeline.engine.queues import HOLD_SECONDS, INBOX, LEAST_WEIGHT, MOST_WEIGHT, READ_BYTES, Inbox, Reads
from ops_pipeline.engine.read import Read
from ops_pipeline.ops.ingestion import DatasetInjestion
from ops_pipeline.silver.staged import FileProfile, Staged
from ops_pipeline.sources import Request
from ops_pipeline_tests.lake import price_recipe


def answers(number: int, *, parts: int = 1, size: int = 100) -> list[DatasetInjestion]:
    """The rows of one request."""
    request = Request("equities", "vendor", "prices", "-", f"T{number}", None, None)
    rows = [DatasetInjestion.open(request, "run", part=part + 1) for part in range(parts)]
    for row in rows:
        row.bronze_bytes = size
    return rows


def portion(number: int, rows: int) -> Read:
    """One file that was read, with so many rows to merge."""
    (row,) = answers(number)
    good = pa.table({"_file_no": pa.array([0] * rows, pa.int32())})
    return Read([row], {"vendor.prices": [Staged(price_recipe(), [row], [FileProfile(rows, rows)], good)]})


def test_a_portion_is_whole_requests_up_to_its_size() -> None:
    async def scenario() -> list[list[str]]:
        inbox = Inbox(3)
        for number, parts in enumerate((1, 1, 2, 1)):
            inbox.put(answers(number, parts=parts))
        inbox.put([])
        inbox.close()
        taken = []
        while rows := await inbox.take():
            taken.append([row.ticker for row in rows])
        return taken

    assert asyncio.run(scenario()) == [["T0", "T1", "T2", "T2"], ["T3"]]


def test_a_portion_ends_with_its_bytes() -> None:
    async def scenario() -> list[int]:
        inbox = Inbox(100)
        for number in range(5):
            inbox.put(answers(number, size=READ_BYTES // 2))
        inbox.close()
        return [len(await inbox.take()) for _ in range(4)]

    assert asyncio.run(scenario()) == [2, 2, 1, 0]


def test_what_is_there_is_read_when_no_more_comes_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "READ_SECONDS", 0.01)

    async def scenario() -> int:
        inbox = Inbox(100)
        inbox.put(answers(0))
        return len(await inbox.take())

    assert asyncio.run(scenario()) == 1


def test_a_full_inbox_makes_the_fetching_wait() -> None:
    async def scenario() -> list[bool]:
        inbox = Inbox(100)
        room = [inbox.room.is_set()]
        for number in range(INBOX):
            inbox.put(answers(number))
        room.append(inbox.room.is_set())
        await inbox.take()
        room.append(inbox.room.is_set())
        return room

    assert asyncio.run(scenario()) == [True, False, True]


def test_the_first_batch_is_committed_when_its_files_are_there() -> None:
    async def scenario() -> list[str]:
        reads = Reads(2)
        await reads.put(portion(0, 10))
        waiting = asyncio.create_task(reads.take())
        await asyncio.sleep(0)
        assert not waiting.done()
        await reads.put(portion(1, 10))
        batch = await waiting
        assert batch is not None
        return [row.ticker for row in batch.rows]

    assert asyncio.run(scenario()) == ["T0", "T1"]


def test_the_last_batch_is_known_as_such() -> None:
    async def scenario() -> list[bool]:
        reads = Reads(1)
        for number, rows in enumerate((10, LEAST_WEIGHT)):  # the second one does not fit into the batch of the first
            await reads.put(portion(number, rows))
        reads.close()
        ended = [reads.ended]
        while await reads.take():
            ended.append(reads.ended)
        return ended

    assert asyncio.run(scenario()) == [False, False, True]


def test_a_last_portion_that_fills_a_batch_makes_it_the_last() -> None:
    async def scenario() -> bool:
        reads = Reads(1)
        waiting = asyncio.create_task(reads.take())
        await asyncio.sleep(0)
        await reads.put(portion(0, 10), last=True)
        await waiting
        return reads.ended

    assert asyncio.run(scenario())


def test_an_inbox_has_ended_when_its_last_portion_is_taken() -> None:
    async def scenario() -> list[bool]:
        inbox = Inbox(1)
        for number in range(2):
            inbox.put(portion(number, 10).rows)
        inbox.close()
        ended = [inbox.ended]
        while await inbox.take():
            ended.append(inbox.ended)
        return ended

    assert asyncio.run(scenario()) == [False, False, True]


def test_the_first_batch_is_not_waited_for_as_long_as_later_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "FIRST_SECONDS", 0.01)

    async def scenario() -> bool:
        reads = Reads(500)
        for number in range(2):
            await reads.put(portion(number, 10))
            later = asyncio.create_task(reads.take())
            await asyncio.wait({later}, timeout=None if number == 0 else 0.2)
        waits = not later.done()
        later.cancel()
        return waits

    assert asyncio.run(scenario())


async def _all(reads: Reads) -> list[list[str]]:
    batches = []
    while (batch := await reads.take()) is not None:
        batches.append([row.ticker for row in batch.rows])
    return batches


@given(sizes=st.lists(st.integers(0, 400_000), max_size=12), seconds=st.floats(0.0001, 20))
def test_batches_hold_every_portion_once_in_order_and_no_more_than_fits(sizes: list[int], seconds: float) -> None:
    async def scenario() -> None:
        reads = Reads(200)
        reads.committed(100_000, seconds)
        fits = max(LEAST_WEIGHT, min(2 * LEAST_WEIGHT, 100_000 * HOLD_SECONDS / seconds))
        for number, size in enumerate(sizes):
            task = asyncio.create_task(reads.put(portion(number, size)))
            await asyncio.sleep(0)
            task.cancel()  # what waits for room is in all the same
        reads.close()
        batches = await _all(reads)
        assert [ticker for batch in batches for ticker in batch] == [f"T{n}" for n in range(len(sizes))]
        for batch in batches:
            weight = sum(sizes[int(ticker[1:])] + 100 for ticker in batch)
            assert len(batch) == 1 or weight <= fits

    asyncio.run(scenario())


def test_batches_stop_growing_however_fast_they_are_committed() -> None:
    async def scenario() -> list[list[str]]:
        reads = Reads(200)
        for _ in range(20):
            reads.committed(100_000, 0.0001)
        for number in range(12):
            asyncio.get_running_loop().create_task(reads.put(portion(number, MOST_WEIGHT // 4)))
        await asyncio.sleep(0)
        reads.close()
        return await _all(reads)

    batches = asyncio.run(scenario())
    assert sum(map(len, batches)) == 12
    assert max(map(len, batches)) == 3


def test_a_portion_waits_for_room_until_it_is_taken_or_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "WAITING_WEIGHT", 1_000)

    async def scenario(release: Callable[[Reads], Coroutine[Any, Any, object]]) -> list[bool]:
        reads = Reads(1)
        putting = asyncio.create_task(reads.put(portion(0, 5_000)))
        await asyncio.sleep(0.01)
        states = [putting.done()]
        await release(reads)
        await asyncio.wait_for(putting, 10)
        return [*states, reads.abandoned]

    async def abandon(reads: Reads) -> None:
        reads.abandon()

    assert asyncio.run(scenario(lambda reads: reads.take())) == [False, False]
    assert asyncio.run(scenario(abandon)) == [False, True]
