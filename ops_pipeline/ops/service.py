"""`OpsService`: the one door to the ledger for those who fetch, promote, schedule and show.

Belongs here: each call opens the warehouse for as long as its query takes, and no longer. Does not belong here: SQL (`repo`, `queries`) and
rules about rows (`ingestion`, `watermark`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ops_pipeline.errors import DatabaseMissingError
from ops_pipeline.ops import browse, queries
from ops_pipeline.ops.failures import Failure, latest_failures, left_of
from ops_pipeline.ops.ingestion import DatasetInjestion, Stage
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.ops.watermark import Span, Window, next_from_date
from ops_pipeline.recipes.universe import PartitionKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date, datetime

    from ops_pipeline.recipes.models import Recipe
    from ops_pipeline.warehouse import Warehouse

_FEW_ROWS = 1000


class OpsService:
    """The ledger's services on a warehouse."""

    def __init__(self, warehouse: Warehouse) -> None:
        """Wraps the warehouse; nothing is opened yet."""
        self.warehouse = warehouse

    # --- writing --------------------------------------------------------------------------------------------------------------

    def ask(self, rows: Sequence[DatasetInjestion], recipes: Iterable[Recipe] = ()) -> None:
        """Records requests about to be sent, in one transaction."""
        if rows:
            with self.warehouse.transaction(few_rows=len(rows) <= _FEW_ROWS) as connection:
                repo = OpsRepo(connection)
                repo.remember_recipes(recipes)
                repo.ask(rows)

    def record_file_ingestion(self, row: DatasetInjestion, stage: Stage = Stage.BRONZE) -> None:
        """Persists one row; see `record_file_ingestions`."""
        self.record_file_ingestions([row], stage)

    def record_file_ingestions(self, rows: Sequence[DatasetInjestion], stage: Stage = Stage.BRONZE) -> None:
        """Persists rows in one transaction: new ones whole, of existing ones the stage's own columns. Idempotent."""
        if rows:
            with self.warehouse.transaction(few_rows=len(rows) <= _FEW_ROWS) as connection:
                OpsRepo(connection).upsert(rows, stage)

    # --- what is next ---------------------------------------------------------------------------------------------------------

    def islands(self, partitions: Iterable[PartitionKey]) -> dict[PartitionKey, list[Span]]:
        """The covered days of each partition; see `watermark.islands`."""
        with self.warehouse.reading() as connection:
            return OpsRepo(connection).islands(partitions)

    def next_from_date(
        self, recipe: Recipe, ticker: str, *, lookback_days: int | None = None, floor: date | None = None
    ) -> date | None:
        """The next from-date of one partition; None for a dataset without watermark."""
        partition = PartitionKey(ticker, recipe.dataset_key)
        return self.next_from_dates({partition: recipe}, lookback_days=lookback_days, floor=floor).get(partition)

    def next_from_dates(
        self, recipes: dict[PartitionKey, Recipe], *, lookback_days: int | None = None, floor: date | None = None
    ) -> dict[PartitionKey, date]:
        """The next from-dates of many partitions by one query; partitions of datasets without watermark are left out."""
        dated = {p: r for p, r in recipes.items() if r.mode.has_watermark and r.first_date is not None}
        try:
            covered = self.islands(dated)
        except DatabaseMissingError:
            covered = {}
        return {
            p: next_from_date(
                covered.get(p, []),
                r.first_date,
                lookback_days=r.lookback_days if lookback_days is None else lookback_days,
                floor=floor,
            )
            for p, r in dated.items()
            if r.first_date is not None
        }

    def promotable_files(self, stage: Stage, partitions: Iterable[PartitionKey]) -> list[DatasetInjestion]:
        """Files that are ready for silver or gold, in the order in which they apply."""
        with self.warehouse.reading() as connection:
            return OpsRepo(connection).promotable(stage, partitions)

    def last_answers(self, partitions: Iterable[PartitionKey]) -> dict[PartitionKey, datetime]:
        """When each partition last got an answer that was no error."""
        with self.warehouse.reading() as connection:
            return OpsRepo(connection).last_answers(partitions)

    # --- figures --------------------------------------------------------------------------------------------------------------

    def run_summary(self, run_id: str) -> queries.RunSummary | None:
        """One run's figures; None when no file knows the run."""
        with self.warehouse.reading() as connection:
            return queries.run_summary(connection, run_id)

    def find_runs(self, prefix: str, *, limit: int = 20) -> list[str]:
        """Ids of runs that begin with a text, in order."""
        with self.warehouse.reading() as connection:
            return queries.find_runs(connection, prefix, limit=limit)

    def list_runs(self, wanted: queries.RunFilter | None = None, *, limit: int = 20, offset: int = 0) -> list[queries.RunSummary]:
        """A page of runs, newest first."""
        with self.warehouse.reading() as connection:
            return queries.list_runs(connection, wanted, limit=limit, offset=offset)

    def run_files(
        self, run_id: str, wanted: queries.RunFilter | None = None, *, limit: int = 100, offset: int = 0
    ) -> list[DatasetInjestion]:
        """A page of the files that a run fetched or promoted."""
        with self.warehouse.reading() as connection:
            return queries.run_files(connection, run_id, wanted, limit=limit, offset=offset)

    def coverage(self, wanted: queries.RunFilter | None = None, *, limit: int = 1000, offset: int = 0) -> list[dict[str, Any]]:
        """A page of partitions and what they cover."""
        with self.warehouse.reading() as connection:
            return queries.coverage(connection, wanted, limit=limit, offset=offset)

    def days(self, since: date, until: date, wanted: queries.RunFilter | None = None) -> list[browse.Day]:
        """The days of a span, both ends included, on which something was asked for."""
        with self.warehouse.reading() as connection:
            return browse.days(connection, since, until, wanted)

    def dataset_keys(self) -> list[str]:
        """The dataset keys that the ledger has rows of; none where there is no database yet."""
        try:
            with self.warehouse.reading() as connection:
                return browse.dataset_keys(connection)
        except DatabaseMissingError:
            return []

    # --- what failed ----------------------------------------------------------------------------------------------------------

    def latest_failures(self) -> list[Failure]:
        """Partitions whose latest attempt failed or was deferred; none where there is no database yet."""
        try:
            with self.warehouse.reading() as connection:
                return latest_failures(connection)
        except DatabaseMissingError:
            return []

    def left_of(self, run_id: str) -> dict[PartitionKey, list[Window | None]]:
        """What is left of a run; see `failures.left_of`."""
        with self.warehouse.reading() as connection:
            return left_of(connection, run_id)
