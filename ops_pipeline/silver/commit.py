"""The one transaction that promotes files to silver.

Belongs here: `commit_promotion(connection, staged, run_id)`: merging staged rows in the order of their files, true counts, history,
rejects, and the ledger rows, all or nothing. Does not belong here: undoing merges and keeping rejects (`undo`), opening the database,
staging, gold.

The result always equals applying the files of a partition one by one in the order (known_at, run_id, file_id), whatever the batches,
retries and concurrent runs:

* files of one partition whose dates overlap are merged in successive rounds; all else shares a round;
* a file older than one already promoted takes the partition back to before it (the history tells how), and it and every later file are
  merged again, in order. Where a later one cannot be merged again, the older one is held back: merged rows never vanish for want of a file.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from ops_pipeline.clock import utc_now
from ops_pipeline.ops.drift import Drift, remember_drift
from ops_pipeline.ops.ingestion import DatasetInjestion, RowCounts, Stage
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.ops.wanted import registered
from ops_pipeline.recipes.universe import PartitionKey
from ops_pipeline.silver.basis import Bases
from ops_pipeline.silver.decisions import apply_decisions
from ops_pipeline.silver.tables import ShapeChangedError, ensure_tables
from ops_pipeline.silver.typing_sql import identifier
from ops_pipeline.silver.undo import replace_rejects, take_back

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import duckdb

    from ops_pipeline.silver.staged import FileProfile, Staged


@dataclass(slots=True)
class Promotion:
    """What a commit did.

    Attributes:
        rows: ledger rows as written, promoted or failed as a whole.
        incomplete: partitions left untouched because later files were promoted meanwhile: stage again with `files_to_stage`.
    """

    rows: list[DatasetInjestion] = field(default_factory=list)
    incomplete: list[PartitionKey] = field(default_factory=list)


def files_to_stage(repo: OpsRepo, pending: Iterable[DatasetInjestion]) -> list[DatasetInjestion]:
    """The pending files, and with each late one the promoted files of its partition that apply after it, in the order of application."""
    by_partition: dict[PartitionKey, list[DatasetInjestion]] = defaultdict(list)
    for row in pending:
        by_partition[row.partition].append(row)
    latest = repo.latest_promoted(by_partition)
    for partition, rows in by_partition.items():
        first = min(row.order for row in rows)
        if partition in latest and latest[partition] > first:
            rows.extend(repo.promoted_after(partition, first))
        rows.sort(key=lambda row: row.order)
    return [row for rows in by_partition.values() for row in rows]


def commit_promotion(connection: duckdb.DuckDBPyConnection, staged: Staged, run_id: str) -> Promotion:
    """Merges staged files into silver and writes their ledger rows.

    Args:
        connection: inside the caller's exclusive transaction.
        staged: typed rows of one dataset, with whole partitions: see `files_to_stage`.
        run_id: the run that promotes.

    Returns:
        the ledger rows as written, and the partitions that must be staged again.
    """
    return _Commit(connection, staged, run_id).run()


class _Commit:
    def __init__(self, connection: duckdb.DuckDBPyConnection, staged: Staged, run_id: str) -> None:
        self.connection, self.staged, self.run_id = connection, staged, run_id
        self.recipe = staged.recipe
        self.repo = OpsRepo(connection)
        self.now = utc_now()
        self.own = [identifier(n) for n, _ in self.recipe.silver_columns]
        self.keys = [identifier(n) for n in self.recipe.silver_key]
        self.values = [c for c in self.own if c not in self.keys]
        self.target, self.history = self.recipe.silver_table, self.recipe.history_table
        self.numbers = {row.key: number for number, row in enumerate(self.staged.files)}
        self.late: set[int] = set()
        self.bases: Bases | None = None

    def run(self) -> Promotion:
        promotion = Promotion()
        pending = self._pending()
        if not pending:
            return promotion
        try:
            ensure_tables(self.repo, self.recipe)
        except ShapeChangedError as e:
            # Files that are merged stay as they are: a late file must not undo what cannot be merged again.
            promotion.rows = [row for rows in pending.values() for row in rows]
            for row in promotion.rows:
                row.silver_started(self.recipe, self.run_id, self.now)
                row.silver_failed(str(e))
        else:
            rows, held = self._in_order(pending, promotion.incomplete)
            for row in rows.values():
                row.silver_started(self.recipe, self.run_id, self.now)
            self._merge(rows)
            promotion.rows = [*rows.values(), *held, *(self.bases.released if self.bases else [])]
        self.repo.remember_recipes([self.recipe])
        remember_drift(self.connection, self._drift())
        self.repo.upsert(promotion.rows, Stage.SILVER)
        return promotion

    def _drift(self) -> list[Drift]:
        """Fields that the files have and the recipe does not know."""
        firsts = [(unknown, self.staged.files[unknown.file_no]) for unknown in self.staged.unknown]
        return [
            Drift(
                self.recipe.dataset_key,
                unknown.field,
                unknown.example,
                row.origin[0],
                row.file_id,
                row.bronze_injest_end_time or self.now,
                self.recipe.recipe_hash,
            )
            for unknown, row in firsts
        ]

    def _pending(self) -> dict[PartitionKey, list[DatasetInjestion]]:
        """The staged files that still wait, as the ledger knows them now."""
        pending: dict[PartitionKey, list[DatasetInjestion]] = defaultdict(list)
        for row in self.repo.get(self.numbers).values():
            if row.bronze_can_promote:
                pending[row.partition].append(row)
        return pending

    def _in_order(
        self, pending: dict[PartitionKey, list[DatasetInjestion]], incomplete: list[PartitionKey]
    ) -> tuple[dict[int, DatasetInjestion], list[DatasetInjestion]]:
        """What is merged now, by number: waiting files, and promoted ones that apply after one of them, whose merges are undone here.

        The second result are the files that are held back; partitions that must be staged again are added to `incomplete`.
        """
        latest = self.repo.latest_promoted(pending)
        merged: dict[int, DatasetInjestion] = {}
        held: list[DatasetInjestion] = []
        for partition, rows in pending.items():
            # A file that is refused as a whole changes nothing, so nothing is undone for it.
            merged.update({self.numbers[row.key]: row for row in rows if self._refusal(row)})
            waiting = [row for row in rows if self.numbers[row.key] not in merged]
            if not waiting:
                continue
            first = min(row.order for row in waiting)
            if self.recipe.refetch_on_restatement and partition in latest:
                # No merge is taken back here: what comes late may be of another adjustment basis.
                self.late |= {self.numbers[row.key] for row in waiting if row.order < latest[partition]}
                merged.update({self.numbers[row.key]: row for row in waiting})
                continue
            again = self.repo.promoted_after(partition, first) if partition in latest and latest[partition] > first else []
            if any(row.key not in self.numbers for row in again):
                incomplete.append(partition)
                continue
            waiting, again, late = self._without_held_back(waiting, again)
            held += late
            merged.update({self.numbers[row.key]: row for row in [*waiting, *again]})
            if again:
                take_back(self.connection, self.recipe, partition, min(row.order for row in waiting))
        return merged, held

    def _without_held_back(
        self, waiting: Sequence[DatasetInjestion], again: Sequence[DatasetInjestion]
    ) -> tuple[list[DatasetInjestion], list[DatasetInjestion], list[DatasetInjestion]]:
        """Waiting files to merge, promoted ones to merge again, and waiting ones that stand before one that cannot be merged again."""
        lost = [(row, reason) for row in again if (reason := self._refusal(row))]
        if not lost:
            return list(waiting), list(again), []
        last, reason = max(lost, key=lambda pair: pair[0].order)
        held = [row for row in waiting if row.order < last.order]
        for row in held:
            # Not started with this recipe, so the next run tries again: the cause lies with the other file and may be mended.
            row.silver_failed(
                f"held back: file {last.file_id} of run {last.origin[0]} is newer and merged, and cannot be merged again: {reason}"
            )
        left = [row for row in waiting if row.order > last.order]
        first = min((row.order for row in left), default=None)
        return left, [row for row in again if first is not None and row.order > first], held

    def _merge(self, rows: dict[int, DatasetInjestion]) -> None:
        """Merges every file that may be merged, in rounds, and fills the rows' counts."""
        counts: dict[int, RowCounts] = {}
        refused = {number: refusal for number, row in rows.items() if (refusal := self._refusal(row))}
        decided = {number: row for number, row in rows.items() if row.is_decision}
        if self.recipe.refetch_on_restatement:
            answers = {n: row for n, row in rows.items() if n not in refused and n not in decided}
            self.bases = Bases(self.repo, self.staged, answers, self.late)
            refused |= self.bases.shrunken({n: self.staged.profiles[n].good for n in rows})
        for number, row in rows.items():
            profile = self.staged.profiles[number]
            if refusal := refused.get(number):
                row.silver_failed(refusal)
            else:
                counts[number] = RowCounts(
                    failed=profile.failed,
                    superseded=profile.superseded,
                    out_of_window=profile.out_of_window,
                )
        self._register_files({n: rows[n] for n in counts})
        try:
            for everything in self._rounds({n: rows[n] for n in counts}):
                members = [n for n in everything if n not in decided]
                if len(members) < len(everything):
                    mine = {n: decided[n] for n in everything if n in decided}
                    apply_decisions(self.connection, self.recipe, mine, counts, self.now)
                if self.bases:
                    merged = self.bases.admitted(members, self._restating(members), counts)
                    self._merge_round(merged, counts)
                    self.bases.delete_the_rest(merged, counts, self.now)
                else:
                    self._merge_round(members, counts)
            replace_rejects(self.connection, self.staged, rows, set(counts), self.now)
        finally:
            self.connection.unregister("staged_files")
        for number, count in counts.items():
            profile = self.staged.profiles[number]
            days = [d for d in (profile.from_date, profile.to_date) if d is not None]
            if self.bases:
                days += self.bases.deleted_days.get(number, ())
            rows[number].silver_finished(count, min(days, default=None), max(days, default=None), gold=self.recipe.gold_table)

    def _refusal(self, row: DatasetInjestion) -> str | None:
        """Why the whole file is refused, if it is."""
        profile = self.staged.profiles[self.numbers[row.key]]
        if profile.unreadable:
            return profile.unreadable
        if profile.rows != row.bronze_rows:
            return (
                f"the file holds {profile.rows} records now and held {row.bronze_rows} when it was recorded: "
                f"the recipe reads it differently since; `ops-pipeline replay --dataset {self.recipe.dataset_key}` takes it in"
            )
        return profile.refusal(self.recipe.max_reject_share)

    def _register_files(self, rows: dict[int, DatasetInjestion]) -> None:
        self.connection.register(
            "staged_files",
            pa.table(
                {
                    "_file_no": pa.array(list(rows), pa.int32()),
                    "bronze_file_id": pa.array([r.file_id for r in rows.values()], pa.string()),
                    "run_id": pa.array([r.origin[0] for r in rows.values()], pa.string()),
                    "known_at": pa.array(
                        [r.bronze_injest_end_time for r in rows.values()],
                        pa.timestamp("us", tz="UTC"),
                    ),
                }
            ),
        )

    def _rounds(self, rows: dict[int, DatasetInjestion]) -> list[list[int]]:
        """The files' numbers, grouped so that files of one partition that can touch one key stand in successive rounds, in order."""
        dated = self.recipe.date_column in self.recipe.silver_key and not self.recipe.refetch_on_restatement
        placed: dict[PartitionKey, list[tuple[int, FileProfile]]] = defaultdict(list)
        rounds: dict[int, list[int]] = defaultdict(list)
        for number in sorted(rows, key=lambda n: rows[n].order):
            profile = self.staged.profiles[number]
            earlier = placed[rows[number].partition]
            place = max(
                (r + 1 for r, other in earlier if not dated or _overlap(profile, other)),
                default=0,
            )
            earlier.append((place, profile))
            rounds[place].append(number)
        return [rounds[r] for r in sorted(rounds)]

    def _good_rows(self, members: list[int]) -> pa.Table:
        good = self.staged.good
        return (
            good
            if len(members) == len(self.staged.files)
            else good.filter(pc.is_in(good["_file_no"], pa.array(members, pa.int32())))
        )

    def _differs(self) -> str:
        if not self.values:
            return "false"
        return f"({', '.join(f's.{v}' for v in self.values)}) IS DISTINCT FROM ({', '.join(f't.{v}' for v in self.values)})"

    def _same(self) -> str:
        return " AND ".join(f"t.{k} = s.{k}" for k in self.keys)

    def _restating(self, members: list[int]) -> set[int]:
        """Those of the files that hold another value for a row that silver has."""
        good = self._good_rows(members)
        if good.num_rows == 0:
            return set()
        with registered(self.connection, "staged_rows", good):
            found = self.connection.execute(
                f"SELECT DISTINCT _file_no FROM staged_rows s JOIN {self._target_part(good)} t ON {self._same()} WHERE {self._differs()}"
            ).fetchall()
        return {number for (number,) in found}

    def _merge_round(self, members: list[int], counts: dict[int, RowCounts]) -> None:
        """Files that touch no key twice: created, updated and unchanged rows follow from one join with the target."""
        good = self._good_rows(members)
        if good.num_rows == 0:
            return
        self.connection.register("staged_rows", good)
        own, same, differs = ", ".join(self.own), self._same(), self._differs()
        lineage = "bronze_file_id, run_id, known_at"
        act = f"CASE WHEN t.ingested_at IS NULL THEN 'C' WHEN {differs} THEN 'U' ELSE 'N' END"
        staged = "FROM staged_rows s JOIN staged_files f USING (_file_no)"
        compared = f"{staged} LEFT JOIN {self._target_part(good)} t ON {same}"
        total: Counter[str] = Counter()
        for number, kind, count in self.connection.execute(
            f"SELECT _file_no, {act} AS _act, count(*) {compared} GROUP BY _file_no, _act"
        ).fetchall():
            setattr(counts[number], {"C": "created", "U": "updated", "N": "unchanged"}[kind], count)
            total[kind] += count
        if not total["U"] and not total["N"]:
            # All new, as always when days are added at the end: the rows are not copied once more before they are written.
            acts = f"(SELECT s.*, f.bronze_file_id, f.run_id, f.known_at, 'C' AS _act {staged})"
        else:
            acts = "acts"
            self.connection.execute(
                f"""CREATE OR REPLACE TEMP TABLE acts AS
                SELECT s.*, f.bronze_file_id, f.run_id, f.known_at, {act} AS _act {compared} WHERE {act} <> 'N'"""
            )
        if total["C"]:
            self.connection.execute(
                f"INSERT INTO {self.target} ({own}, {lineage}, ingested_at)"
                f" SELECT {own}, {lineage}, ?::TIMESTAMPTZ FROM {acts} WHERE _act = 'C'",
                [self.now],
            )
        if total["U"]:
            written = [*self.values, "bronze_file_id", "run_id", "known_at"]
            self.connection.execute(
                f"""MERGE INTO {self.target} t USING (SELECT * FROM {acts} WHERE _act = 'U') s ON {same}
                WHEN MATCHED THEN UPDATE SET {", ".join(f"{c} = s.{c}" for c in written)}, ingested_at = ?::TIMESTAMPTZ""",
                [self.now],
            )
        if total["C"] or total["U"]:
            self.connection.execute(
                f"""INSERT INTO {self.history} ({own}, {lineage}, merged_at, recipe_hash, operation)
                SELECT {own}, {lineage}, ?::TIMESTAMPTZ, ?, _act FROM {acts}""",
                [self.now, self.recipe.recipe_hash],
            )
        self.connection.execute("DROP TABLE IF EXISTS acts")
        self.connection.unregister("staged_rows")

    def _target_part(self, good: pa.Table) -> str:
        """The target's rows that can match: bounds on the date let DuckDB skip most of a long table."""
        if self.recipe.date_column is None or self.recipe.date_column not in self.recipe.silver_key:
            return self.target
        bounds = pc.min_max(good[self.recipe.date_column])
        day = identifier(self.recipe.date_column)
        low, high = bounds["min"].as_py(), bounds["max"].as_py()
        return f"(SELECT * FROM {self.target} WHERE {day} BETWEEN DATE '{low.isoformat()}' AND DATE '{high.isoformat()}')"


def _overlap(one: FileProfile, other: FileProfile) -> bool:
    if one.from_date is None or one.to_date is None or other.from_date is None or other.to_date is None:
        return False  # a file without good rows touches nothing
    return one.from_date <= other.to_date and other.from_date <= one.to_date
