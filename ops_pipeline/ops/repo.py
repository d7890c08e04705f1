"""`OpsRepo`: the SQL on the ledger that runs need.

Belongs here: reading and writing `ops.file_ingestions`, `ops.recipes` and `ops.silver_tables` on an open connection. Does not belong here:
opening the database (`warehouse`), rules about rows (`ingestion`, `watermark`), and figures for people (`queries`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from ops_pipeline.clock import utc_now
from ops_pipeline.ops.columns import COLUMNS, from_arrow, stage_columns, to_arrow, values
from ops_pipeline.ops.ingestion import DatasetInjestion, Stage
from ops_pipeline.ops.spans import islands_of
from ops_pipeline.ops.sql import FULLY_PROMOTED_SQL, LEDGER, SAME_PARTITION, UNPACKED_NAME
from ops_pipeline.ops.wanted import dicts, partition_table, registered, whole_rows
from ops_pipeline.recipes.keys import split_dataset_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    import duckdb

    from ops_pipeline.ops.watermark import Span
    from ops_pipeline.recipes.models import Recipe
    from ops_pipeline.recipes.universe import PartitionKey

T = TypeVar("T")

_COLUMNS = ", ".join(COLUMNS)
_INSERT = f"INSERT ({', '.join(COLUMNS)}) VALUES ({', '.join(f's.{c}' for c in COLUMNS)})"
_ORDER = "{'at': f.bronze_injest_end_time, 'run': f.run_id, 'file': f.file_id}"
_ANSWERED = f"""FROM {LEDGER} f JOIN wanted w ON {SAME_PARTITION}
    WHERE f.promotion_kind = 'first' AND f.bronze_outcome IN ('stored', 'unchanged', 'empty') AND f.bronze_injest_end_time IS NOT NULL"""
# What applies in the order of files: answers, and decisions about rows of theirs.
_APPLIES = "f.promotion_kind IN ('first', 'decision')"
# Rows of so few runs are looked up one run after the other, by its id: DuckDB then unpacks the file ids of that run alone, and for several
# runs those of all (1,000 rows of three runs among ten million: 0.26 s, and 0.77 together).
_FEW_RUNS = 4


def _update(columns: Iterable[str]) -> str:
    return ", ".join(f"{c} = s.{c}" for c in columns)


def _run_by_run(items: Sequence[T], run_of: Callable[[T], str]) -> list[tuple[Sequence[T], str, list[str]]]:
    """The items by their run, each with the condition on `t` and `s` that makes a row the same, and its parameters."""
    runs: dict[str, list[T]] = {}
    for item in items:
        runs.setdefault(run_of(item), []).append(item)
    if len(runs) > _FEW_RUNS:
        return [(items, "t.run_id = s.run_id AND t.file_id = s.file_id", [])]
    return [(mine, "t.run_id = ? AND t.file_id = s.file_id", [run]) for run, mine in runs.items()]


class OpsRepo:
    """The ledger on one open connection. Methods neither open transactions nor commit: their caller does."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Wraps a connection of the warehouse."""
        self.connection = connection

    # --- writing --------------------------------------------------------------------------------------------------------------

    def ask(self, rows: Sequence[DatasetInjestion]) -> None:
        """Inserts the rows of requests about to be sent. A row of the same run that already holds an answer is left alone."""
        self._merge(
            rows,
            f"WHEN MATCHED AND t.bronze_outcome IN ('asked', 'failed', 'deferred') THEN UPDATE SET {_update(stage_columns(Stage.BRONZE))}",
        )

    def upsert(self, rows: Sequence[DatasetInjestion], stage: Stage) -> None:
        """Inserts rows that are new and writes the stage's own columns of those that exist; idempotent.

        Bronze writes only rows that still owe their answer: two runs that settle a dead run's row at once must not undo its promotion.
        """
        guard = "AND t.bronze_outcome = 'asked' " if stage is Stage.BRONZE else ""
        self._merge(rows, f"WHEN MATCHED {guard}THEN UPDATE SET {_update(stage_columns(stage))}")

    def correct(self, rows: Sequence[DatasetInjestion], stage: Stage) -> None:
        """Writes the stage's own columns of rows that exist, whatever they say: for repairs while no run goes on."""
        self._merge(rows, f"WHEN MATCHED THEN UPDATE SET {_update(stage_columns(stage))}")

    def _merge(self, rows: Sequence[DatasetInjestion], matched: str) -> None:
        for some, same, run in _run_by_run(rows, lambda row: row.run_id):
            with registered(self.connection, "ledger_rows", to_arrow(some)):
                self.connection.execute(
                    f"MERGE INTO {LEDGER} t USING ledger_rows s ON {same} {matched} WHEN NOT MATCHED THEN {_INSERT}", run
                )

    def remember_recipes(self, recipes: Iterable[Recipe]) -> None:
        """Keeps the recipes' texts by hash, so that a row's recipe can always be read back."""
        for recipe in recipes:
            self.connection.execute(
                "INSERT INTO ops.recipes SELECT ?, ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM ops.recipes WHERE recipe_hash = ?)",
                [recipe.recipe_hash, recipe.dataset_key, recipe.text, utc_now(), recipe.recipe_hash],
            )

    # --- reading --------------------------------------------------------------------------------------------------------------

    def get(self, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], DatasetInjestion]:
        """The rows of the given primary keys; a key without row is left out."""
        numbers: list[int] = []
        for some, same, run in _run_by_run(list(keys), lambda key: key[0]):
            runs, files = zip(*some, strict=True)
            table = pa.table({"run_id": pa.array(runs, pa.string()), "file_id": pa.array(files, pa.string())})
            with registered(self.connection, "wanted_rows", table):
                found = self.connection.execute(f"SELECT t.rowid FROM {LEDGER} t SEMI JOIN wanted_rows s ON {same}", run)
                numbers += [number for (number,) in found.fetchall()]
        return {row.key: row for row in self._whole(numbers)}

    def islands(self, partitions: Iterable[PartitionKey]) -> dict[PartitionKey, list[Span]]:
        """The covered days of each partition, joined and in order; a partition that covers none is left out."""
        return islands_of(self.connection, partitions)

    def latest_files(self, partitions: Iterable[PartitionKey]) -> dict[PartitionKey, DatasetInjestion]:
        """Each partition's latest answered file (by the order in which files apply), whatever the answer was.

        An unchanged file has the recipe hash of the file that it repeats: by that recipe its bytes stand in silver.
        """
        with self._wanted(partitions):
            found = self.connection.execute(
                f"""SELECT arg_max(f.rowid, {_ORDER}), arg_max(f.silver_recipe_hash, {_ORDER})
                {_ANSWERED}
                GROUP BY w.number"""
            ).fetchall()
        rows = self._whole([number for number, _ in found])
        for row, (_, recipe_hash) in zip(rows, found, strict=True):
            row.silver_recipe_hash = recipe_hash
        return {row.partition: row for row in rows}

    def with_validators(self, partitions: Iterable[PartitionKey]) -> list[PartitionKey]:
        """Those of the partitions that ever got an answer which can be asked for conditionally."""
        wanted = list(dict.fromkeys(partitions))
        with self._wanted(wanted):
            found = self.connection.execute(
                f"SELECT DISTINCT w.number FROM {LEDGER} f JOIN wanted w ON {SAME_PARTITION} WHERE f.bronze_validators IS NOT NULL"
            ).fetchall()
        return [wanted[number] for (number,) in found]

    def latest_payloads(
        self, partitions: Iterable[PartitionKey], recipe_hashes: Mapping[str, str]
    ) -> dict[PartitionKey, tuple[str, str]]:
        """(payload hash, file id) of each partition's latest answered file, where it was fully promoted by the dataset's present recipe.

        The same rule as `latest_files`, without the other columns: a run asks it for all its keys at once.

        Args:
            partitions: the partitions.
            recipe_hashes: dataset key -> hash of the recipe in force.
        """
        wanted = list(dict.fromkeys(partitions))
        answer = f"[f.bronze_payload_hash, f.file_id, CASE WHEN {FULLY_PROMOTED_SQL} AND f.request_complete THEN 'whole' END]"
        with self._wanted(wanted):
            found = self.connection.execute(
                f"SELECT w.number, arg_max({answer}, {_ORDER}), arg_max(f.silver_recipe_hash, {_ORDER}) {_ANSWERED} GROUP BY w.number"
            ).fetchall()
        return {
            wanted[number]: (payload_hash, file_id)
            for number, (payload_hash, file_id, whole), recipe_hash in found
            if whole and recipe_hash == recipe_hashes.get(wanted[number].dataset)
        }

    def last_answers(self, partitions: Iterable[PartitionKey]) -> dict[PartitionKey, datetime]:
        """When each partition last got an answer that was no error."""
        wanted = list(dict.fromkeys(partitions))
        with self._wanted(wanted):
            found = self.connection.execute(
                f"SELECT w.number, max(f.bronze_injest_end_time) {_ANSWERED} GROUP BY w.number"
            ).to_arrow_table()
        return {wanted[number]: latest for number, latest in zip(*(values(c) for c in found.columns), strict=True)}

    def last_requests(self, partitions: Iterable[PartitionKey]) -> dict[str, datetime]:
        """Request id -> when a request of these partitions that got its whole answer was sent last."""
        with self._wanted(partitions):
            found = self.connection.execute(
                f"SELECT f.request_id, max(f.bronze_injest_start_time) {_ANSWERED} AND f.request_complete GROUP BY f.request_id"
            ).to_arrow_table()
        return dict(zip(*(values(c) for c in found.columns), strict=True))

    def promotable(
        self, stage: Stage, partitions: Iterable[PartitionKey], recipe_hashes: Mapping[str, str] | None = None
    ) -> list[DatasetInjestion]:
        """Files of the partitions that are ready for silver or for gold, in the order in which they apply.

        Args:
            stage: silver or gold.
            partitions: the partitions.
            recipe_hashes: dataset key -> hash of the recipe in force. Given, files that silver refused as a whole by it are left out: it
                would refuse them again, and of a large ledger's many refused files no run then reads more than their numbers.
        """
        flag = {Stage.SILVER: "bronze_can_promote", Stage.GOLD: "silver_can_promote"}[stage]
        refused = (
            ""
            if recipe_hashes is None
            else "AND (f.silver_errors IS NULL OR f.silver_recipe_hash IS DISTINCT FROM w.recipe_hash)"
        )
        with self._wanted(partitions, recipe_hashes):
            found = self.connection.execute(
                f"""SELECT f.rowid FROM {LEDGER} f JOIN wanted w ON {SAME_PARTITION} {refused}
                WHERE f.{flag} ORDER BY f.bronze_injest_end_time, coalesce(f.origin_run_id, f.run_id), f.file_id"""
            ).fetchall()
        return self._whole([number for (number,) in found])

    def promoted_after(self, partition: PartitionKey, order: tuple[datetime, str, str]) -> list[DatasetInjestion]:
        """Rows of a partition that apply after `order` and are promoted, or unchanged, decisions too: what a late file must re-merge."""
        source, dataset, discriminator = split_dataset_key(partition.dataset)
        return self._rows(
            f"""SELECT {_COLUMNS} FROM {LEDGER} f
            WHERE f.ticker = ? AND f.dataset = ? AND f.source = ? AND f.discriminator = ? AND {_APPLIES}
                AND (f.bronze_outcome = 'unchanged' OR (f.bronze_outcome = 'stored' AND NOT f.bronze_can_promote))
                AND f.silver_errors IS NULL AND (f.bronze_injest_end_time, f.run_id, f.file_id) > (?, ?, ?)
            ORDER BY f.bronze_injest_end_time, f.run_id, f.file_id""",
            [partition.ticker, dataset, source, discriminator, *order],
        )

    def latest_promoted(self, partitions: Iterable[PartitionKey]) -> dict[PartitionKey, tuple[datetime, str, str]]:
        """The order of each partition's last file that is already promoted or unchanged."""
        wanted = list(dict.fromkeys(partitions))
        with self._wanted(wanted):
            found = self.connection.execute(
                f"""SELECT w.number, unnest(max({_ORDER})) FROM {LEDGER} f JOIN wanted w ON {SAME_PARTITION}
                WHERE {_APPLIES} AND f.silver_errors IS NULL
                    AND (f.bronze_outcome = 'unchanged' OR (f.bronze_outcome = 'stored' AND NOT f.bronze_can_promote))
                GROUP BY w.number"""
            ).to_arrow_table()
        numbers, *order = (values(column) for column in found.columns)
        return {wanted[number]: latest for number, latest in zip(numbers, zip(*order, strict=True), strict=True)}

    def held(self, partitions: Iterable[PartitionKey]) -> list[DatasetInjestion]:
        """Files of the partitions that wait for the whole history, in the order in which they apply."""
        with self._wanted(partitions):
            found = self.connection.execute(
                f"""SELECT f.rowid FROM {LEDGER} f SEMI JOIN wanted w ON {SAME_PARTITION} WHERE f.silver_hold = 'held'
                ORDER BY f.bronze_injest_end_time, coalesce(f.origin_run_id, f.run_id), f.file_id"""
            ).fetchall()
        return self._whole([number for (number,) in found])

    def last_whole(self, partitions: Iterable[PartitionKey]) -> dict[PartitionKey, tuple[datetime, str, str]]:
        """The order of the file by which each partition was last replaced as a whole."""
        with self._wanted(partitions):
            found = self.connection.execute(
                f"""SELECT arg_max(f.rowid, {_ORDER}) FROM {LEDGER} f JOIN wanted w ON {SAME_PARTITION}
                WHERE f.silver_hold = 'whole' GROUP BY w.number"""
            ).fetchall()
        return {row.partition: row.order for row in self._whole([number for (number,) in found])}

    def ask_everything(self, rows: Sequence[DatasetInjestion]) -> set[tuple[str, str]]:
        """Those of the rows whose request asks for no less than every earlier stored one of their partition: its whole history."""
        about = [
            (r.run_id, r.file_id, r.request_id, r.requested_from_date, r.requested_to_date, r.bronze_injest_end_time)
            for r in rows
        ]
        names = ("run_id", "file_id", "request_id", "asked_from", "asked_to", "known_at")
        kinds = (pa.string(), pa.string(), pa.string(), pa.date32(), pa.date32(), pa.timestamp("us", tz="UTC"))
        columns = list(zip(*about, strict=True)) or [()] * len(names)
        table = partition_table([r.partition for r in rows])
        for name, kind, column in zip(names, kinds, columns, strict=True):
            table = table.append_column(name, pa.array(column, kind))
        with registered(self.connection, "wanted", table):
            found = self.connection.execute(
                f"""SELECT w.run_id, w.file_id FROM wanted w LEFT JOIN {LEDGER} f ON {SAME_PARTITION} AND f.promotion_kind = 'first'
                    AND f.bronze_outcome IN ('stored', 'unchanged') AND f.bronze_injest_end_time < w.known_at
                    AND NOT (f.run_id = w.run_id AND f.request_id = w.request_id)
                WHERE w.asked_from IS NOT NULL AND w.asked_to IS NOT NULL GROUP BY w.run_id, w.file_id, w.asked_from, w.asked_to
                HAVING coalesce(min(f.requested_from_date) >= w.asked_from AND max(f.requested_to_date) <= w.asked_to, true)"""
            ).fetchall()
        return set(found)

    def completed_requests(self, run_ids: Iterable[str]) -> set[str]:
        """Requests that one of the runs completed: every part answered without error and not refused by silver."""
        listed = list(run_ids)
        if not listed:
            return set()
        rows = dicts(
            self.connection,
            f"""SELECT request_id FROM {LEDGER} WHERE run_id IN (SELECT unnest(?::VARCHAR[])) AND promotion_kind = 'first'
            GROUP BY run_id, request_id
            HAVING bool_and(bronze_outcome IN ('stored', 'unchanged', 'empty') AND request_complete AND silver_errors IS NULL)""",
            [listed],
        )
        return {row["request_id"] for row in rows}

    def asked(self, run_id: str | None = None) -> list[DatasetInjestion]:
        """Rows of requests that got no answer yet, of one run or of all: of runs that go on, or that died."""
        asked = f"FROM {LEDGER} WHERE bronze_outcome = 'asked' AND {'true' if run_id is None else 'run_id = ?'}"
        given = [run_id] if run_id else []
        # Nearly always there is none, and sixty columns take ten times as long to ask for as one.
        if self.connection.execute(f"SELECT 1 {asked} LIMIT 1", given).fetchone() is None:
            return []
        return self._rows(f"SELECT {_COLUMNS} {asked} ORDER BY run_id, file_id", given)

    def known_filenames(self, filenames: Iterable[str]) -> set[str]:
        """Those of the bronze file names that some row names, also as a member of a container into which the file was packed."""
        with registered(self.connection, "wanted_names", pa.table({"name": pa.array(list(filenames), pa.string())})):
            found = dicts(
                self.connection,
                f"SELECT DISTINCT s.name FROM {LEDGER} t JOIN wanted_names s ON {UNPACKED_NAME} = s.name",
            )
        return {row["name"] for row in found}

    # --- silver tables --------------------------------------------------------------------------------------------------------

    def silver_columns_hash(self, table: str) -> str | None:
        """The shape that a silver table was made with; None when there is no such table."""
        found = self.connection.execute(
            "SELECT columns_hash FROM ops.silver_tables WHERE silver_tablename = ?", [table]
        ).fetchone()
        return None if found is None else str(found[0])

    def remember_silver_table(self, recipe: Recipe) -> None:
        """Records which recipe a silver table was last merged with."""
        self.connection.execute("DELETE FROM ops.silver_tables WHERE silver_tablename = ?", [recipe.silver_table])
        self.connection.execute(
            "INSERT INTO ops.silver_tables VALUES (?, ?, ?, ?, ?)",
            [recipe.silver_table, recipe.dataset_key, recipe.recipe_hash, recipe.columns_hash, utc_now()],
        )

    def forget_silver_table(self, recipe: Recipe) -> None:
        """Forgets the shape of a silver table that is about to be made anew."""
        self.connection.execute("DELETE FROM ops.silver_tables WHERE silver_tablename = ?", [recipe.silver_table])

    # --- plumbing -------------------------------------------------------------------------------------------------------------

    def _wanted(
        self, partitions: Iterable[PartitionKey], recipe_hashes: Mapping[str, str] | None = None
    ) -> AbstractContextManager[None]:
        return registered(self.connection, "wanted", partition_table(list(dict.fromkeys(partitions)), recipe_hashes))

    def _whole(self, row_numbers: Sequence[int]) -> list[DatasetInjestion]:
        return whole_rows(self.connection, row_numbers)

    def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[DatasetInjestion]:
        return from_arrow(self.connection.execute(sql, list(parameters)).to_arrow_table().columns)
