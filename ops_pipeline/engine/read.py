"""A batch of answers on its way from the disk to the database.

Belongs here: the batch, and sorting its rows. Does not belong here: reading and committing it (`promote`).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ops_pipeline.ops.ingestion import DatasetInjestion
    from ops_pipeline.recipes.universe import PartitionKey
    from ops_pipeline.silver.staged import FileProfile, Staged

# Files that are read at once: with fewer, what a portion costs whatever it holds is the larger part.
READ_FILES = 250


@dataclass(slots=True)
class Read:
    """A batch of answers, typed and not recorded yet.

    Attributes:
        rows: their ledger rows, whole requests.
        staged: dataset key -> the typed rows of those answers that were read.
        repeated: rows whose answer seems to be the partition's latest file once more; they were not read.
    """

    rows: list[DatasetInjestion] = field(default_factory=list)
    staged: dict[str, list[Staged]] = field(default_factory=dict)
    repeated: list[DatasetInjestion] = field(default_factory=list)

    @property
    def weight(self) -> int:
        """About how much work it is to commit, in silver rows; a file costs as much as some 100 rows of it."""
        rows: int = sum(s.good.num_rows for batches in self.staged.values() for s in batches)
        return 100 * len(self.rows) + rows

    def add(self, other: Read) -> None:
        """Takes the other batch in, behind what is here."""
        self.rows += other.rows
        self.repeated += other.repeated
        for key, batches in other.staged.items():
            self.staged.setdefault(key, []).extend(batches)


def portion_files(files: int) -> int:
    """How many files are read at once where so many may be committed at once."""
    return min(files, READ_FILES)


def by_partition(rows: Iterable[DatasetInjestion]) -> dict[PartitionKey, list[DatasetInjestion]]:
    """The rows of each partition, in the order given."""
    grouped: dict[PartitionKey, list[DatasetInjestion]] = defaultdict(list)
    for row in rows:
        grouped[row.partition].append(row)
    return grouped


def by_dataset(rows: Iterable[DatasetInjestion]) -> dict[str, list[DatasetInjestion]]:
    """The rows of each dataset key, in the order given."""
    grouped: dict[str, list[DatasetInjestion]] = defaultdict(list)
    for row in rows:
        grouped[row.dataset_key].append(row)
    return grouped


def tell(row: DatasetInjestion, profile: FileProfile) -> None:
    """Tells a row what its file turned out to hold."""
    if row.is_decision:
        row.decision_repeated()
    elif profile.unreadable:
        row.bronze_failed(profile.unreadable)
    else:
        row.bronze_finished(profile.rows, profile.from_date, profile.to_date)
