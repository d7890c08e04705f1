"""Keeping adjustment bases apart: what a restating answer waits for, and how the whole history replaces a partition.

Belongs here: the rules of `refetch_on_restatement` inside the commit's transaction. Does not belong here: merging (`commit`), and asking
the whole history again (`engine.refetch`).

After a split or a dividend a vendor scales every earlier adjusted price, and an answer shows it only where its days overlap with stored
ones. Merging that overlap would leave two bases in one series. So:

* an answer whose rows differ from stored ones is held: it is recorded as promoted with all its rows superseded, and merges nothing. Later
  answers of the partition are held behind it. The ledger's rows alone say so (`silver_hold`), so a process that dies forgets nothing;
* a partition with a held file is due in full. A complete request that asks for no less than every earlier one is the whole history: it
  replaces the partition in one transaction, rows that it lacks are deleted and counted, and what was held before it is released;
* an answer that arrives behind one already promoted (late) is not merged either: it may be of an older basis. It is superseded where the
  whole history came after it, else held.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from ops_pipeline.ops.ingestion import Hold
from ops_pipeline.recipes.models import TICKER_COLUMN
from ops_pipeline.silver.typing_sql import identifier

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date, datetime

    from ops_pipeline.ops.ingestion import DatasetInjestion, RowCounts
    from ops_pipeline.ops.repo import OpsRepo
    from ops_pipeline.recipes.universe import PartitionKey
    from ops_pipeline.silver.staged import Staged

# Of a whole history that shrinks below this share of what is stored: rather a cut answer than a delisting.
LEAST_SHARE = 0.5


class Bases:
    """One commit's files of a recipe that declares `refetch_on_restatement`.

    Attributes:
        released: ledger rows of earlier commits that the whole history has released.
        deleted_days: number of a whole history's last part -> first and last day of the rows that it deleted.
    """

    def __init__(self, repo: OpsRepo, staged: Staged, rows: Mapping[int, DatasetInjestion], late: set[int]) -> None:
        """Reads what the ledger holds of the rows' partitions. The rows are those to merge, by number; `late` ones are not in order."""
        self.repo, self.staged, self.rows, self.late = repo, staged, rows, late
        self.recipe = staged.recipe
        partitions = {row.partition for row in rows.values()}
        mine = {row.key for row in rows.values()}
        self.held: dict[PartitionKey, list[DatasetInjestion]] = defaultdict(list)
        for row in repo.held(partitions):
            if row.key not in mine:
                self.held[row.partition].append(row)
        self.last_whole = repo.last_whole(partitions) if late else {}
        self.whole = self._whole_requests()
        self.released: list[DatasetInjestion] = []
        self.deleted_days: dict[int, tuple[date, date]] = {}

    def _whole_requests(self) -> dict[int, list[int]]:
        """Number of a part -> all parts of its request in order, where the request asks for the whole history and is all here."""
        requests: dict[tuple[str, str], list[int]] = defaultdict(list)
        for number in sorted(self.rows, key=lambda n: self.rows[n].order):
            row = self.rows[number]
            if row.request_complete and number not in self.late:
                requests[row.origin[0], row.request_id].append(number)
        everything = self.repo.ask_everything([self.rows[n] for numbers in requests.values() for n in numbers])
        return {
            number: numbers
            for numbers in requests.values()
            if all(self.rows[n].key in everything for n in numbers)
            for number in numbers
        }

    def shrunken(self, good: Mapping[int, int]) -> dict[int, str]:
        """Parts of a whole history that holds far fewer rows than silver, with the sentence that refuses them."""
        if not self.whole:
            return {}
        stored = self._stored(self.rows[n].ticker for n in self.whole)
        refused = {}
        for number, parts in self.whole.items():
            brought, had = sum(good[n] for n in parts), stored.get(self.rows[number].ticker, 0)
            if brought < LEAST_SHARE * had:
                refused[number] = (
                    f"the whole history holds {brought} rows and silver {had}: rather a cut answer than a history; silver is as it was"
                )
        self.whole = {n: parts for n, parts in self.whole.items() if n not in refused}
        return refused

    def _stored(self, tickers: Iterable[str]) -> dict[str, int]:
        found = self.repo.connection.execute(
            f"SELECT {TICKER_COLUMN}, count(*) FROM {self.recipe.silver_table} WHERE {TICKER_COLUMN} IN (SELECT unnest(?)) GROUP BY ALL",
            [sorted(set(tickers))],
        )
        return dict(found.fetchall())

    def admitted(self, members: Sequence[int], restating: set[int], counts: Mapping[int, RowCounts]) -> list[int]:
        """Those of a round's files (one a partition) that may be merged; the others are held or superseded, and counted so."""
        left = []
        for number in members:
            row = self.rows[number]
            behind = self.last_whole.get(row.partition)
            if number in self.whole:
                self._release(row)
                row.silver_hold = Hold.WHOLE
                left.append(number)
            elif number in self.late and behind is not None and row.order < behind:
                counts[number].superseded += self.staged.profiles[number].good
            elif number in self.late or number in restating or self.held[row.partition]:
                counts[number].superseded += self.staged.profiles[number].good
                row.silver_hold = Hold.HELD
                self.held[row.partition].append(row)
            else:
                left.append(number)
        return left

    def _release(self, row: DatasetInjestion) -> None:
        mine = {r.key for r in self.rows.values()}
        for waiting in self.held.pop(row.partition, []):
            waiting.silver_hold = Hold.RELEASED
            if waiting.key not in mine:
                self.released.append(waiting)

    def delete_the_rest(self, members: Sequence[int], counts: Mapping[int, RowCounts], merged_at: datetime) -> None:
        """Deletes what the whole histories that end in this round lack, with a line in the history for each row."""
        ends = {n: self.whole[n] for n in members if n in self.whole and self.whole[n][-1] == n}
        if not ends:
            return
        parts = [n for numbers in ends.values() for n in numbers]
        good = self.staged.good
        keys = [identifier(n) for n in self.recipe.silver_key]
        same = " AND ".join(f"t.{k} = w.{k}" for k in keys)
        own = ", ".join(f"t.{identifier(n)}" for n, _ in self.recipe.silver_columns)
        day = identifier(self.recipe.date_column or "")
        connection = self.repo.connection
        connection.register("whole_rows", good.filter(pc.is_in(good["_file_no"], pa.array(parts, good["_file_no"].type))))
        rows = [self.rows[n] for n in ends]
        connection.register(
            "whole_files",
            pa.table(
                {
                    "_file_no": pa.array(list(ends), pa.int32()),
                    "ticker": pa.array([r.ticker for r in rows], pa.string()),
                    "bronze_file_id": pa.array([r.file_id for r in rows], pa.string()),
                    "run_id": pa.array([r.origin[0] for r in rows], pa.string()),
                    "known_at": pa.array([r.bronze_injest_end_time for r in rows], pa.timestamp("us", tz="UTC")),
                }
            ),
        )
        gone = f"""FROM {self.recipe.silver_table} t JOIN whole_files f ON f.ticker = t.{TICKER_COLUMN}
            WHERE NOT EXISTS (SELECT 1 FROM whole_rows w WHERE {same})"""
        found = connection.execute(
            f"SELECT f._file_no, count(*), min(t.{day}), max(t.{day}) {gone} GROUP BY f._file_no"
        ).fetchall()
        for number, count, *days in found:
            counts[number].deleted += count
            self.deleted_days[number] = (days[0], days[1])
        if found:
            connection.execute(
                f"""INSERT INTO {self.recipe.history_table} BY NAME SELECT {own}, f.bronze_file_id, f.run_id, f.known_at,
                    ?::TIMESTAMPTZ AS merged_at, ? AS recipe_hash, 'D' AS operation {gone}""",
                [merged_at, self.recipe.recipe_hash],
            )
            connection.execute(
                f"""DELETE FROM {self.recipe.silver_table} t WHERE t.{TICKER_COLUMN} IN (SELECT ticker FROM whole_files)
                AND NOT EXISTS (SELECT 1 FROM whole_rows w WHERE {same})"""
            )
        connection.unregister("whole_rows")
        connection.unregister("whole_files")
