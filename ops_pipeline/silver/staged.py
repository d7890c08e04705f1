"""Typed rows of a batch, on their way from staging to the transaction that merges them.

Belongs here: what staging hands over, and joining batches. Does not belong here: making it (`staging`) and merging it (`commit`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from ops_pipeline.ops.ingestion import DatasetInjestion
    from ops_pipeline.recipes.models import Recipe


@dataclass(frozen=True, slots=True)
class FileProfile:
    """What one answer holds.

    Attributes:
        rows: records that the recipe reads from it.
        good: records to merge (after the last of equal keys won).
        failed: refused records.
        out_of_window: records outside the requested dates.
        superseded: good records that a later one with the same key in the same file replaced.
        from_date: date of the first good record; None without good records or without date column.
        to_date: date of the last good record.
        unreadable: why the whole answer cannot be read; None when it can.
        first_reason: why the first refused record was refused.
        lacking: a sentence that names the required column which no record has; None where each is there.
    """

    rows: int = 0
    good: int = 0
    failed: int = 0
    out_of_window: int = 0
    superseded: int = 0
    from_date: date | None = None
    to_date: date | None = None
    unreadable: str | None = None
    first_reason: str | None = None
    lacking: str | None = None

    def refusal(self, max_reject_share: float) -> str | None:
        """Why the file fails as a whole where so great a share of refused records is borne; None when it can be merged."""
        if self.unreadable or self.lacking:
            return self.unreadable or self.lacking
        if self.failed and self.failed > max_reject_share * self.rows:
            return (
                f"{self.failed} of {self.rows} records refused, more than the declared share of "
                f"{max_reject_share:.0%}; the first: {self.first_reason}"
            )
        return None


@dataclass(frozen=True, slots=True)
class UnknownField:
    """A field of a vendor's records that the recipe does not name.

    Attributes:
        field: its name, or its position in records that are arrays.
        file_no: a file of the batch that has it, the first where they were read in order.
        example: the beginning of one of its values; bronze, from which it comes, holds no secret.
    """

    field: str
    file_no: int
    example: str | None


REJECTS_SCHEMA = pa.schema(
    [("file_no", pa.int32()), ("row_position", pa.int64()), ("raw_text", pa.string()), ("reason", pa.string())]
)


@dataclass(slots=True)
class Staged:
    """Typed rows of a batch of files of one dataset, ready for one transaction.

    Attributes:
        recipe: the recipe that they were read by.
        files: the batch; a file's number is its place in this list.
        profiles: one a file, in the same order.
        good: _file_no, [ticker], the declared columns; one row a key and file.
        rejects: file_no, row_position (from 1), raw_text, reason.
        unknown: fields that no column takes and the recipe does not declare as ignored, once each.
    """

    recipe: Recipe
    files: list[DatasetInjestion]
    profiles: list[FileProfile]
    good: pa.Table
    rejects: pa.Table = field(default_factory=REJECTS_SCHEMA.empty_table)
    unknown: list[UnknownField] = field(default_factory=list)


def joined(batches: Sequence[Staged]) -> Staged:
    """Batches of one dataset and recipe as one, in the order given; whole partitions each, or parts that belong together.

    Raises:
        ValueError: no batch is given.
    """
    if not batches:
        raise ValueError("nothing to join")
    if len(batches) == 1:
        return batches[0]
    firsts = accumulate((len(b.files) for b in batches), initial=0)
    good, rejects, unknown = [], [], dict[str, UnknownField]()
    for batch, first in zip(batches, firsts, strict=False):
        for found in batch.unknown:
            unknown.setdefault(found.field, replace(found, file_no=found.file_no + first))
        good.append(_renumbered(batch.good, "_file_no", first))
        rejects.append(_renumbered(batch.rejects, "file_no", first))
    return Staged(
        batches[0].recipe,
        [file for b in batches for file in b.files],
        [profile for b in batches for profile in b.profiles],
        pa.concat_tables(good),
        pa.concat_tables(rejects),
        list(unknown.values()),
    )


def _renumbered(table: pa.Table, column: str, first: int) -> pa.Table:
    if not first:
        return table
    number = table.schema.field(column)
    moved = pc.add(table[column], pa.scalar(first, number.type))
    return table.set_column(table.schema.get_field_index(column), number, moved)
