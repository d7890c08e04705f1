"""Reading what was fetched, recording it, and promoting it.

Belongs here: one batch of stored answers through reading (outside the lock) and then the ledger, silver and gold (one opening
of the database, a transaction each). Does not belong here: SQL of the layers (`silver`, `gold`), sending (`fetch`), threads
(`pipeline`).
"""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING

import duckdb

from ops_pipeline.clock import utc_now
from ops_pipeline.engine.context import steps
from ops_pipeline.engine.plan import retryable
from ops_pipeline.engine.read import Read, by_dataset, by_partition, portion_files, tell
from ops_pipeline.errors import BronzeError, UserError
from ops_pipeline.gold.build import VALUE_ERRORS, commit_gold
from ops_pipeline.ops.ingestion import Stage
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.recipes.bulk import gold_from
from ops_pipeline.silver.commit import Promotion, commit_promotion, files_to_stage
from ops_pipeline.silver.decisions import staged_decisions
from ops_pipeline.silver.staged import Staged, joined
from ops_pipeline.silver.staging import stage, staging_connection

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ops_pipeline.engine.context import Context
    from ops_pipeline.ops.ingestion import DatasetInjestion
    from ops_pipeline.recipes.models import Recipe
    from ops_pipeline.recipes.universe import PartitionKey

log = logging.getLogger("ops_pipeline.engine")

# Staging again because another run promoted a later file meanwhile; each round means that the other run made progress.
_ROUNDS = 20

# Folding the log after each batch took a fifth of a first load, and a fold takes a third of a second once thousands of tickers are stored;
# replaying this much at every opening takes a tenth.
LOG_BYTES = 2 * 1024 * 1024
# Up to here the last batch folds in its own opening, which spares another one that would replay the log first. A longer one is of a run
# whose batches keep the database long enough by themselves.
LOG_BYTES_TOGETHER = LOG_BYTES // 2
# What a run leaves in the log is replayed at every opening, four times by the next run alone; of 500 new files it would be 0.8 MB and 45 ms
# each time. Folding it costs less.
LOG_BYTES_LEFT = 256 * 1024


class Promoter:
    """Takes batches of fetched rows to the ledger, to silver and to gold, on behalf of one run.

    `read` may go on in one thread while `take` goes on in another; neither may be called by two threads at once.

    Attributes:
        held_seconds: for how long the last batch kept the database.
    """

    def __init__(self, context: Context, run_id: str, layers: frozenset[str]) -> None:
        """Promotes as far as the layers say."""
        self.context, self.run_id, self.layers = context, run_id, layers
        self.latest: dict[PartitionKey, tuple[str | None, str]] = {}
        self.held_seconds = 0.0
        self._reading: duckdb.DuckDBPyConnection | None = None
        self._reading_again: duckdb.DuckDBPyConnection | None = None

    def expect(self, partitions: Iterable[PartitionKey]) -> None:
        """Notes which answer each partition last got, so that one that repeats it need not be read again."""
        hashes = {key: recipe.recipe_hash for key, recipe in self.context.catalogue.recipes.items()}
        with self.context.warehouse.reading() as connection:
            self.latest.update(OpsRepo(connection).latest_payloads(partitions, hashes))

    # --- reading: outside the lock --------------------------------------------------------------------------------------------

    def read(self, rows: Sequence[DatasetInjestion]) -> Read:
        """Types the stored answers and tells each row what its file holds."""
        self.context.store.sync()  # before a row names a file, a power cut must not lose the file's name
        received = [row for row in rows if (row.bronze_filename or row.is_decision) and row.bronze_error is None]
        repeated = [row for row in received if self.latest.get(row.partition) == row.payload_identity and row.request_complete]
        skip = {row.key for row in repeated}
        if self._reading is None:
            self._reading = staging_connection()
        found = Read(list(rows), self._typed([row for row in received if row.key not in skip], self._reading), repeated)
        steps.debug("read %d answers", len(received) - len(repeated))
        return found

    def _typed(self, rows: Sequence[DatasetInjestion], connection: duckdb.DuckDBPyConnection) -> dict[str, list[Staged]]:
        staged: dict[str, list[Staged]] = {}
        for key, mine in by_dataset(rows).items():
            batch = self._stage(self.context.catalogue.recipes[key], mine, connection)
            staged[key] = [batch]
            for row, profile in zip(batch.files, batch.profiles, strict=True):
                tell(row, profile)
        return staged

    def _stage(self, recipe: Recipe, rows: Sequence[DatasetInjestion], connection: duckdb.DuckDBPyConnection) -> Staged:
        decided = [row for row in rows if row.is_decision]
        answers = [row for row in rows if not row.is_decision] if decided else rows
        paths = {row.key: self.context.store.path(row.bronze_filename or "") for row in answers}
        staged = stage(recipe, answers, paths, connection=connection)
        if decided:
            staged = joined([staged, staged_decisions(recipe, decided, staged.good)])
        root = self.context.settings.bronze_path
        if any(profile.unreadable for profile in staged.profiles) and not root.is_dir():
            # An unmounted disk is not the answers' fault: as failed, they would all be asked again.
            raise BronzeError(f"The bronze folder {root} is not there, or no folder: put it back in its place and run again.")
        return staged

    # --- the database ---------------------------------------------------------------------------------------------------------

    def record(self, read: Read) -> None:
        """Records a batch, and promotes nothing."""
        self._commit(read, promote=False)

    def take(
        self, read: Read, waiting: Iterable[PartitionKey] = (), *, last: bool = False
    ) -> dict[PartitionKey, list[DatasetInjestion]]:
        """Records a batch and promotes it, together with what waits in the `waiting` partitions.

        Args:
            read: the batch.
            waiting: partitions of which earlier files wait.
            last: whether no batch follows, and the log is to be folded.

        Returns:
            the files of each partition as they now are in the ledger.
        """
        left = list(waiting)
        partitions = dict.fromkeys([*(r.partition for r in read.rows), *left])
        moved: dict[tuple[str, str], DatasetInjestion] = {row.key: row for row in read.rows}
        if read.rows:
            together = last and not left and self.context.warehouse.log_size() <= LOG_BYTES_TOGETHER
            written, behind = self._commit(read, log_bytes=LOG_BYTES_LEFT if together else math.inf)
            moved.update({row.key: row for row in written})
            left += behind
        if left:
            for promote in (self._silver, self._gold):
                moved.update({row.key: row for row in promote(left)})
        elsewhere = [row.key for row in moved.values() if self._left(row)]
        if elsewhere:  # another run was faster, and has promoted them with its own
            with self.context.warehouse.reading() as connection:
                moved.update(OpsRepo(connection).get(elsewhere))
        result: dict[PartitionKey, list[DatasetInjestion]] = {p: [] for p in partitions}
        for row in moved.values():
            result[row.partition].append(row)
        return result

    def fold(self, longest: int) -> None:
        """Folds the database's log where it is longer than so many bytes, in an opening of its own: nobody waits for a batch and a fold."""
        try:
            if self.context.warehouse.log_size() > longest:
                steps.debug("folding the log")
                with self.context.warehouse.connection(log_bytes=longest, threads="half"):
                    pass
                steps.debug("folded the log")
        except UserError as e:
            log.warning("the database's log was not folded: %s", e)  # everything is committed

    def _left(self, row: DatasetInjestion) -> bool:
        """Whether the row says that something is left to do which this run should have done."""
        silver = "silver" in self.layers and row.bronze_can_promote and row.silver_errors is None
        return silver or ("gold" in self.layers and row.silver_can_promote)

    def _commit(
        self, read: Read, *, promote: bool = True, log_bytes: float = math.inf
    ) -> tuple[list[DatasetInjestion], list[PartitionKey]]:
        """The batch's transactions, one a layer, in one opening of the database: opening costs more than most of them.

        Returns:
            ledger rows as promoted, and partitions in which something waits for silver that this batch has not read.
        """
        while True:
            with self.context.warehouse.connection(log_bytes=log_bytes, threads="half"):
                started = time.monotonic()
                doubted = self._record(read)
                if not doubted:
                    promoted = self._promote(read) if promote else ([], [])
                    self.held_seconds = time.monotonic() - started
            if not doubted:
                steps.debug("committed %d files", len(read.rows))
                return promoted
            # Read after all, without the lock.
            known = {row.key for row in doubted}
            read.repeated = [row for row in read.repeated if row.key not in known]
            for key, more in self._typed(doubted, self._second_reading()).items():
                read.staged.setdefault(key, []).extend(more)

    def _record(self, read: Read) -> list[DatasetInjestion]:
        """Writes the batch's bronze columns; writes nothing, and returns the rows, where some `repeated` ones turn out not to be."""
        with self.context.warehouse.transaction() as connection:
            repo = OpsRepo(connection)
            # Another run may have recorded a file since planning: only the ledger under the lock tells what the latest is now.
            doubted = self._unchanged(read.repeated, repo) if read.repeated else []
            if doubted:
                return doubted
            repo.upsert(read.rows, Stage.BRONZE)
            steps.debug("recording %d files", len(read.rows))
        steps.debug("recorded %d files", len(read.rows))
        return []

    def _unchanged(self, repeated: Sequence[DatasetInjestion], repo: OpsRepo) -> list[DatasetInjestion]:
        """Marks rows whose answer repeats the partition's latest file; returns those of which it is not true."""
        latest, doubted = repo.latest_files({row.partition for row in repeated}), []
        for row in repeated:
            before = latest.get(row.partition)
            if before is not None and before.order < row.order and self._repeats(row, before):
                row.bronze_unchanged(before.bronze_rows)
            else:
                doubted.append(row)
        return doubted

    def _repeats(self, row: DatasetInjestion, before: DatasetInjestion) -> bool:
        """Whether the answer is the partition's latest file once more: same bytes, same request, same recipe, fully promoted.

        A part of a request that never got its last part does not count: it moved no watermark, and as `unchanged` it never would.
        """
        if before.payload_identity != row.payload_identity:
            return False
        if not before.fully_promoted or not before.request_complete or not row.request_complete:
            return False
        return before.silver_recipe_hash == self.context.catalogue.recipes[row.dataset_key].recipe_hash

    def _promote(self, read: Read) -> tuple[list[DatasetInjestion], list[PartitionKey]]:
        """Promotes what was read, inside the caller's opening."""
        written: list[DatasetInjestion] = []
        behind: list[PartitionKey] = []
        partitions = {row.partition for row in read.rows}
        if "silver" in self.layers:
            for batches in read.staged.values():
                written += self._merge(joined(batches)).rows
            with self.context.warehouse.reading() as connection:
                waiting = retryable(self.context, OpsRepo(connection), Stage.SILVER, partitions)
            behind = list({row.partition for row in waiting})
        return written + self._gold(partitions - set(behind), together=True), behind

    # --- silver ---------------------------------------------------------------------------------------------------------------

    def _merge(self, ready: Staged) -> Promotion:
        with self.context.warehouse.transaction() as connection:
            promotion = commit_promotion(connection, ready, self.run_id)
            steps.debug("merging %d files", len(promotion.rows))
        steps.debug("merged %d files", len(promotion.rows))
        return promotion

    def _silver(self, partitions: Iterable[PartitionKey]) -> list[DatasetInjestion]:
        """Promotes everything of these partitions that waits for silver: read again, in batches, with what a late file must re-merge."""
        if "silver" not in self.layers:
            return []
        reading = self._second_reading()
        written: list[DatasetInjestion] = []
        left = list(partitions)
        for _ in range(_ROUNDS):
            with self.context.warehouse.reading() as connection:
                repo = OpsRepo(connection)
                waiting = retryable(self.context, repo, Stage.SILVER, left)
                files = files_to_stage(repo, waiting)
            left = []
            for key, mine in by_dataset(files).items():
                for batch in self._batches(mine):
                    ready = self._stage(self.context.catalogue.recipes[key], batch, reading)
                    steps.debug("staged %d files", len(batch))
                    promotion = self._merge(ready)
                    written += promotion.rows
                    left += promotion.incomplete
            if not left:
                return written
        log.warning(
            "%d partitions are being promoted by another run; it or the next run finishes them",
            len(left),
        )
        return written

    def _second_reading(self) -> duckdb.DuckDBPyConnection:
        """A connection to read with in the thread that commits, while another thread reads on the first one."""
        if self._reading_again is None:
            self._reading_again = staging_connection()
        return self._reading_again

    def _batches(self, files: Sequence[DatasetInjestion]) -> Iterable[list[DatasetInjestion]]:
        """Whole partitions, together about as many files as are read at once."""
        batch: list[DatasetInjestion] = []
        most = portion_files(self.context.settings.batch_files)
        for mine in by_partition(files).values():
            if batch and len(batch) + len(mine) > most:
                yield batch
                batch = []
            batch += mine
        if batch:
            yield batch

    # --- gold -----------------------------------------------------------------------------------------------------------------

    def _gold(self, partitions: Iterable[PartitionKey], *, together: bool = False) -> list[DatasetInjestion]:
        """Builds gold from everything of these partitions that waits for it, in batches or, inside the caller's opening, all `together`."""
        if "gold" not in self.layers:
            return []
        with self.context.warehouse.reading() as connection:
            files = OpsRepo(connection).promotable(Stage.GOLD, partitions)
        written: list[DatasetInjestion] = []
        for key, mine in by_dataset(files).items():
            recipe = self.context.catalogue.recipes.get(key)
            if recipe is None or recipe.gold is None:
                continue
            for batch in [mine] if together else self._batches(mine):
                written += self._build(recipe, batch, current=together)
        return written

    def _build(self, recipe: Recipe, files: Sequence[DatasetInjestion], *, current: bool) -> list[DatasetInjestion]:
        """One transaction over the files; values that a formula cannot take fail the partition that holds them, not the others.

        `current` tells that the files were looked up in the opening that goes on.
        """
        recipes = self.context.catalogue.recipes
        leading, bulk = gold_from(recipe, recipes)
        try:
            with self.context.warehouse.transaction() as connection:
                written = commit_gold(connection, leading, files, self.run_id, bulk=bulk, current=current)
                steps.debug("building gold from %d files", len(files))
        except VALUE_ERRORS as e:
            groups = by_partition(files)
            if len(groups) > 1:
                # The rows in memory have begun what was rolled back.
                return [row for mine in groups.values() for row in self._build(recipe, mine, current=False)]
            return self._fail_gold(recipe, files, str(e).partition("\n")[0])
        steps.debug("built gold from %d files", len(files))
        return written

    def _fail_gold(self, recipe: Recipe, files: Sequence[DatasetInjestion], error: str) -> list[DatasetInjestion]:
        with self.context.warehouse.transaction() as connection:
            repo = OpsRepo(connection)
            rows = [row for row in repo.get(file.key for file in files).values() if row.silver_can_promote]
            for row in rows:
                row.gold_started(recipe, self.run_id, utc_now())
                row.gold_failed(f"{recipe.gold_table} cannot be built from these values: {error}")
            repo.upsert(rows, Stage.GOLD)
        return rows
