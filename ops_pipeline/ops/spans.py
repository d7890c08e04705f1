"""The covered days of many partitions at once.

Belongs here: `watermark.islands` for a whole universe: one scan of the ledger and arithmetic on whole columns, since 100,000 partitions are
planned at the start of a run. Does not belong here: the rule itself (`watermark`), and any other query (`repo`, `queries`).

All partitions lie on one line of days: a partition's number, shifted by 22 bits, and the ordinal of the day. A row is then three integers,
one sort brings every partition's spans together in order, and no text is grouped, sorted or returned.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from ops_pipeline.ops.sql import HEALED_SQL, LEDGER, SAME_PARTITION
from ops_pipeline.ops.wanted import partition_table, registered
from ops_pipeline.ops.watermark import Span
from ops_pipeline.recipes.keys import split_dataset_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import duckdb

    from ops_pipeline.recipes.universe import PartitionKey

_BITS = 22
_DAY = (1 << _BITS) - 1  # more than the ordinal of the last day of the year 9999, so that no two partitions touch

_ORDINAL = "({} - DATE '0000-12-31')"

# Only these datasets have requests of more than one row.
_PAGED = f"SELECT DISTINCT source, dataset, discriminator FROM {LEDGER} WHERE request_part <> 1"


def _span(begin: str, end: str, data_from: str) -> str:
    line = f"(w.number << {_BITS}) + "
    return (
        f"{line}{_ORDINAL.format(begin)} AS span_begin, {line}{_ORDINAL.format(end)} AS span_end, "
        f"{_ORDINAL.format(data_from)} AS data_from"
    )


# A request is a row: no grouping. (The same rule as `watermark.good_spans`.)
_GOOD_ROWS = f"""SELECT ticker, source, dataset, discriminator, requested_from_date, bronze_to_date, bronze_from_date FROM {LEDGER}
    WHERE promotion_kind = 'first' AND bronze_outcome = 'stored' AND bronze_error IS NULL AND request_complete
        AND bronze_from_date IS NOT NULL AND bronze_to_date >= requested_from_date"""
_SPANS_OF_ROWS = f"""
SELECT {_span("f.requested_from_date", "f.bronze_to_date", "f.bronze_from_date")}
FROM (
    {_GOOD_ROWS} AND silver_errors IS NULL{{narrow}}
    UNION ALL {_GOOD_ROWS} AND silver_errors IS NOT NULL{{narrow}} AND (run_id, file_id) IN ({HEALED_SQL})
) f JOIN wanted w ON {SAME_PARTITION} ORDER BY span_begin"""

SPANS_OF_ROWS = _SPANS_OF_ROWS.format(narrow="")
# Of few partitions their tickers are looked at first: on a million rows, 52 ms of processor time instead of 128 for 20 partitions and 74
# instead of 122 for 500; for all of 100,000 it would cost 789 instead of 675.
SPANS_OF_FEW_ROWS = _SPANS_OF_ROWS.format(narrow=" AND ticker IN (SELECT ticker FROM wanted)")
FEW_PARTITIONS = 1000

# A request may be several rows, and one bad row spoils them all.
SPANS_OF_REQUESTS = f"""
WITH requests AS (
    SELECT w.number, any_value(f.requested_from_date) AS asked, max(f.bronze_to_date) FILTER (f.bronze_outcome = 'stored') AS last_good,
        min(f.bronze_from_date) FILTER (f.bronze_outcome = 'stored') AS first_good
    FROM {LEDGER} f JOIN wanted w ON {SAME_PARTITION}
    WHERE f.promotion_kind = 'first'
    GROUP BY w.number, f.run_id, f.request_id
    HAVING bool_and(f.bronze_outcome IN ('stored', 'unchanged', 'empty') AND f.bronze_error IS NULL AND f.request_complete
        AND (f.silver_errors IS NULL OR (f.run_id, f.file_id) IN ({HEALED_SQL})))
)
SELECT {_span("w.asked", "w.last_good", "w.first_good")} FROM requests w
WHERE w.first_good IS NOT NULL AND w.last_good >= w.asked ORDER BY span_begin"""


def islands_of(connection: duckdb.DuckDBPyConnection, partitions: Iterable[PartitionKey]) -> dict[PartitionKey, list[Span]]:
    """The covered days of each partition, joined and in order; a partition that covers none is left out."""
    several = set(connection.execute(_PAGED).fetchall())
    groups: dict[bool, list[PartitionKey]] = {False: [], True: []}
    paged: dict[str, bool] = {}
    for partition in dict.fromkeys(partitions):
        key = partition.dataset
        if key not in paged:
            paged[key] = split_dataset_key(key) in several
        groups[paged[key]].append(partition)
    found: dict[PartitionKey, list[Span]] = {}
    of_rows = SPANS_OF_FEW_ROWS if len(groups[False]) <= FEW_PARTITIONS else SPANS_OF_ROWS
    for sql, mine in ((of_rows, groups[False]), (SPANS_OF_REQUESTS, groups[True])):
        if mine:
            with registered(connection, "wanted", partition_table(mine)):
                spans = connection.execute(sql).to_arrow_table()
            with _collector_paused():
                _join(spans, mine, found)
    return found


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Hundreds of thousands of new tuples and lists, none of them garbage: collecting meanwhile took two thirds of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _join(spans: pa.Table, partitions: Sequence[PartitionKey], found: dict[PartitionKey, list[Span]]) -> None:
    """Joins spans that overlap or touch (the same rule as `watermark.islands`); they come in the order of their begin."""
    count = len(spans)
    if not count:
        return
    begin, end, data_from = (spans[name].combine_chunks() for name in ("span_begin", "span_end", "data_from"))
    reached = pc.cumulative_max(end)
    apart = pc.greater(begin.slice(1), pc.add(reached.slice(0, count - 1), 1))
    last = pa.concat_arrays([pc.indices_nonzero(apart).cast(pa.int64()), pa.array([count - 1], pa.int64())])
    first = pa.concat_arrays([pa.array([0], pa.int64()), pc.add(last.slice(0, len(last) - 1), 1)])
    # The smallest of each island is the largest of what is left of the line, counted island after island.
    place = pc.cumulative_sum(pa.concat_arrays([pa.array([0], pa.int64()), apart.cast(pa.int64())]))
    earliest = pc.cumulative_max(pc.add(pc.shift_left(place, _BITS), pc.subtract(_DAY, data_from)))
    begins, ends, days = begin.take(first), reached.take(last), earliest.take(last)
    numbers = _integers(pc.shift_right(begins, _BITS))
    from_days, to_days = _dates(pc.bit_wise_and(begins, _DAY)), _dates(pc.bit_wise_and(ends, _DAY))
    data_days = _dates(pc.subtract(_DAY, pc.bit_wise_and(days, _DAY)))
    islands = map(Span._make, zip(from_days, to_days, data_days, strict=True))
    previous = -1
    for number, island in zip(numbers, islands, strict=True):
        if number == previous:
            found[partitions[number]].append(island)
        else:
            found[partitions[number]] = [island]
            previous = number


def _integers(array: pa.Array) -> list[int]:
    """The values of an array of 64-bit integers without nulls, several times as fast as `to_pylist`."""
    values: list[int] = memoryview(array.buffers()[1]).cast("q")[array.offset : array.offset + len(array)].tolist()
    return values


def _dates(ordinals: pa.Array) -> list[date]:
    numbers = _integers(ordinals)
    known = {number: date.fromordinal(number) for number in set(numbers)}
    return [known[number] for number in numbers]
