"""Recording what was fetched, and promoting it.

Belongs here: one batch of stored answers through reading, recording, silver and gold, with as few transactions as possible. Does not
belong here: SQL of the layers (`silver`, `gold`), sending (`fetch`), the order of a run (`run`).
"""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import TYPE_CHECKING

import duckdb

from ops_pipeline.clock import utc_now
from ops_pipeline.engine.context import steps
from ops_pipeline.engine.plan import retryable
from ops_pipeline.errors import BronzeError
from ops_pipeline.gold.build import commit_gold
from ops_pipeline.ops.ingestion import DatasetInjestion, Stage
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.silver.commit import commit_promotion, files_to_stage
from ops_pipeline.silver.staging import FileProfile, Staged, stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ops_pipeline.engine.context import Context
    from ops_pipeline.recipes.models import Recipe
    from ops_pipeline.recipes.universe import PartitionKey

log = logging.getLogger("ops_pipeline.engine")

# Staging again because another run promoted a later file meanwhile; each round means that the other run made progress.
_ROUNDS = 20

# What DuckDB raises about values; anything else is a fault of ours or of the disk and ends the run.
_VALUE_ERRORS = (duckdb.OutOfRangeException, duckdb.ConversionException)


class Promoter:
    """Takes batches of fetched rows to the ledger, to silver and to gold, on behalf of one run."""

    def __init__(self, context: Context, run_id: str, layers: frozenset[str]) -> None:
        """Promotes as far as the layers say."""
        self.context, self.run_id, self.layers = context, run_id, layers
        self.latest: dict[PartitionKey, DatasetInjestion] = {}

    def expect(self, partitions: Iterable[PartitionKey]) -> None:
        """Reads the partitions' latest files, so that an answer that repeats one need not be read again."""
        with self.context.warehouse.reading() as connection:
            self.latest.update(OpsRepo(connection).latest_files(partitions))

    def take(
        self, rows: Sequence[DatasetInjestion], waiting: Iterable[PartitionKey] = ()
    ) -> dict[PartitionKey, list[DatasetInjestion]]:
        """Records a batch and promotes it, together with what waits in the `waiting` partitions.

        Returns:
            the files of each partition as they now are in the ledger.
        """
        staged = self.record(rows)
        partitions = dict.fromkeys([*(r.partition for r in rows), *waiting])
        moved: dict[tuple[str, str], DatasetInjestion] = {row.key: row for row in rows}
        for promoted in (self._silver(partitions, staged), self._gold(partitions)):
            moved.update({row.key: row for row in promoted})
        elsewhere = [row.key for row in moved.values() if self._left(row)]
        if elsewhere:  # another run was faster, and has promoted them with its own
            with self.context.warehouse.reading() as connection:
                moved.update(OpsRepo(connection).get(elsewhere))
        result: dict[PartitionKey, list[DatasetInjestion]] = {p: [] for p in partitions}
        for row in moved.values():
            result[row.partition].append(row)
        return result

    def _left(self, row: DatasetInjestion) -> bool:
        """Whether the row says that something is left to do which this run should have done."""
        silver = "silver" in self.layers and row.bronze_can_promote and row.silver_errors is None
        return silver or ("gold" in self.layers and row.silver_can_promote)

    # --- bronze ---------------------------------------------------------------------------------------------------------------

    def record(self, rows: Sequence[DatasetInjestion]) -> dict[str, Staged]:
        """Reads the stored answers, fills the rows' bronze figures and records them in one transaction.

        Returns:
            dataset key -> typed rows of the answers that were read, for silver.
        """
        received = [row for row in rows if row.bronze_filename and row.bronze_error is None]
        repeated = [row for row in received if self._repeats(row, self.latest.get(row.partition))]
        skip = {row.key for row in repeated}
        staged = self._read([row for row in received if row.key not in skip])
        steps.debug("read %d answers", len(received) - len(repeated))
        while rows:
            with self.context.warehouse.transaction() as connection:
                repo = OpsRepo(connection)
                # Another run may have recorded a file since planning: only the ledger under the lock tells what the latest is now.
                doubted = self._unchanged(repeated, repo) if repeated else []
                if not doubted:
                    repo.upsert(rows, Stage.BRONZE)
                    steps.debug("recording %d files", len(rows))
                    break
            # Read after all, without the lock; silver stages a dataset again whose files are not all in one piece.
            known = {row.key for row in doubted}
            repeated = [row for row in repeated if row.key not in known]
            for key, more in self._read(doubted).items():
                staged.setdefault(key, more)
        steps.debug("recorded %d files", len(rows))
        return staged

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

    def _repeats(self, row: DatasetInjestion, before: DatasetInjestion | None) -> bool:
        """Whether the answer is the partition's latest file once more: same bytes, same request, same recipe, fully promoted.

        A part of a request that never got its last part does not count: it moved no watermark, and as `unchanged` it never would.
        """
        if before is None or before.payload_identity != row.payload_identity:
            return False
        if not before.fully_promoted or not before.request_complete or not row.request_complete:
            return False
        return before.silver_recipe_hash == self.context.catalogue.recipes[row.dataset_key].recipe_hash

    def _read(self, rows: Sequence[DatasetInjestion]) -> dict[str, Staged]:
        """Types the answers and tells each row what its file holds."""
        staged: dict[str, Staged] = {}
        for key, mine in _by_dataset(rows).items():
            staged[key] = self._stage(self.context.catalogue.recipes[key], mine)
            for row, profile in zip(mine, staged[key].profiles, strict=True):
                _tell(row, profile)
        return staged

    def _stage(self, recipe: Recipe, rows: Sequence[DatasetInjestion]) -> Staged:
        staged = stage(
            recipe,
            rows,
            {row.key: self.context.store.path(row.bronze_filename or "") for row in rows},
        )
        root = self.context.settings.bronze_path
        if any(profile.unreadable for profile in staged.profiles) and not root.is_dir():
            # An unmounted disk is not the answers' fault: as failed, they would all be asked again.
            raise BronzeError(f"The bronze folder {root} is not there, or no folder: put it back in its place and run again.")
        return staged

    # --- silver ---------------------------------------------------------------------------------------------------------------

    def _silver(self, partitions: Iterable[PartitionKey], staged: dict[str, Staged]) -> list[DatasetInjestion]:
        """Promotes everything of these partitions that waits for silver."""
        if "silver" not in self.layers:
            return []
        written: list[DatasetInjestion] = []
        left = list(partitions)
        for _ in range(_ROUNDS):
            with self.context.warehouse.reading() as connection:
                repo = OpsRepo(connection)
                files = files_to_stage(
                    repo,
                    retryable(self.context, repo.promotable(Stage.SILVER, left), Stage.SILVER),
                )
            left = []
            for key, mine in _by_dataset(files).items():
                recipe = self.context.catalogue.recipes[key]
                for batch in self._batches(mine):
                    ready = staged.get(key)
                    if ready is None or {f.key for f in ready.files} != {f.key for f in batch}:
                        ready = self._stage(recipe, batch)
                    steps.debug("staged %d files", len(batch))
                    with self.context.warehouse.transaction() as connection:
                        promotion = commit_promotion(connection, ready, self.run_id)
                        steps.debug("merging %d files", len(promotion.rows))
                    steps.debug("merged %d files", len(promotion.rows))
                    written += promotion.rows
                    left += promotion.incomplete
            if not left:
                return written
        log.warning(
            "%d partitions are being promoted by another run; it or the next run finishes them",
            len(left),
        )
        return written

    def _batches(self, files: Sequence[DatasetInjestion]) -> Iterable[list[DatasetInjestion]]:
        """Whole partitions, together about as many files as the setting says."""
        batch: list[DatasetInjestion] = []
        for mine in _by_partition(files).values():
            if batch and len(batch) + len(mine) > self.context.settings.batch_files:
                yield batch
                batch = []
            batch += mine
        if batch:
            yield batch

    # --- gold -----------------------------------------------------------------------------------------------------------------

    def _gold(self, partitions: Iterable[PartitionKey]) -> list[DatasetInjestion]:
        """Builds gold from everything of these partitions that waits for it."""
        if "gold" not in self.layers:
            return []
        with self.context.warehouse.reading() as connection:
            files = OpsRepo(connection).promotable(Stage.GOLD, partitions)
        written: list[DatasetInjestion] = []
        for key, mine in _by_dataset(files).items():
            recipe = self.context.catalogue.recipes.get(key)
            if recipe is None or recipe.gold is None:
                continue
            for batch in self._batches(mine):
                written += self._build(recipe, batch)
        return written

    def _build(self, recipe: Recipe, files: Sequence[DatasetInjestion]) -> list[DatasetInjestion]:
        """One transaction over the files; values that a formula cannot take fail the partition that holds them, not the others."""
        try:
            with self.context.warehouse.transaction() as connection:
                written = commit_gold(connection, recipe, files, self.run_id)
                steps.debug("building gold from %d files", len(files))
        except _VALUE_ERRORS as e:
            groups = _by_partition(files)
            if len(groups) > 1:
                return [row for mine in groups.values() for row in self._build(recipe, mine)]
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


def _by_partition(rows: Iterable[DatasetInjestion]) -> dict[PartitionKey, list[DatasetInjestion]]:
    grouped: dict[PartitionKey, list[DatasetInjestion]] = defaultdict(list)
    for row in rows:
        grouped[row.partition].append(row)
    return grouped


def _by_dataset(rows: Iterable[DatasetInjestion]) -> dict[str, list[DatasetInjestion]]:
    grouped: dict[str, list[DatasetInjestion]] = defaultdict(list)
    for row in rows:
        grouped[row.dataset_key].append(row)
    return grouped


def _tell(row: DatasetInjestion, profile: FileProfile) -> None:
    if profile.unreadable:
        row.bronze_failed(profile.unreadable)
    else:
        row.bronze_finished(profile.rows, profile.from_date, profile.to_date)
