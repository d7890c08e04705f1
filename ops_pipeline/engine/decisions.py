"""Decisions about rows that vendors dropped: hiding them, and bringing them back.

Belongs here: what must hold for a decision, and the one transaction that carries it out through silver and gold. Does not belong here:
which rows were dropped (`dropped`), the SQL (`silver.decisions`), asking whoever decides.

A decision is a row of the ledger, of the kind `decision`, with its place among the files of its partition, and rows of `ops.decisions`. So
it is either there, with all that follows from it, or was never made; and whatever puts files in order, undoes or repeats merges does the
same with it.
"""

from __future__ import annotations

import getpass
import uuid
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import duckdb

from ops_pipeline.clock import utc_now
from ops_pipeline.engine.context import steps
from ops_pipeline.engine.dropped import with_windows
from ops_pipeline.errors import UserError
from ops_pipeline.gold.build import VALUE_ERRORS, commit_gold
from ops_pipeline.ops.decisions import Decision, record_decisions
from ops_pipeline.ops.ingestion import DatasetInjestion, Stage
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.recipes.bulk import gold_from
from ops_pipeline.recipes.universe import PartitionKey
from ops_pipeline.silver.commit import commit_promotion
from ops_pipeline.silver.decisions import hidden_rows, staged_decisions
from ops_pipeline.silver.dropped import answered_since

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date, datetime

    from ops_pipeline.engine.context import Context
    from ops_pipeline.ops.decisions import DecisionKind
    from ops_pipeline.recipes.models import Recipe
    from ops_pipeline.silver.dropped import DroppedRow


@dataclass(frozen=True, slots=True)
class Decided:
    """What a decision about one partition did.

    Attributes:
        dataset: the dataset key.
        ticker: of the partition.
        run_id: of the decision, as the ledger has it.
        rows: how many rows of silver went, or came back.
        gold_rows: how many rows of gold were written with it; those that went with hidden rows are not counted.
    """

    dataset: str
    ticker: str
    run_id: str
    rows: int
    gold_rows: int


def hide(context: Context, rows: Iterable[DroppedRow], *, run_id: str, reason: str | None = None) -> list[Decided]:
    """Hides rows that `find_dropped` has found, partition by partition, in silver and gold.

    Args:
        context: the home; its migrations must be applied.
        rows: the rows.
        run_id: of the decision.
        reason: why, in words for whoever asks later.

    Raises:
        UserError: a vendor has answered over the day of a row since it was looked for, or gold cannot be built without a row; partitions
            before it are done.
    """
    partitions: dict[PartitionKey, list[DroppedRow]] = defaultdict(list)
    for row in rows:
        partitions[PartitionKey(row.ticker, row.dataset)].append(row)
    done = []
    for partition, mine in partitions.items():
        about = [(row.row_key, row.day) for row in mine]
        done.append(_Decision(context, partition, run_id, "hide", reason).made(about, mine))
    return done


def restore(context: Context, hidden: Iterable[Decision], *, run_id: str, reason: str | None = None) -> list[Decided]:
    """Brings hidden rows back, with the values that they had; the arguments are those of `hide`, the rows of `find_hidden`.

    Raises:
        UserError: the whole history of a partition came since, and its values stand on another basis; partitions before it are done.
    """
    partitions: dict[PartitionKey, list[Decision]] = defaultdict(list)
    for row in hidden:
        partitions[PartitionKey(row.ticker, row.dataset_key)].append(row)
    done = []
    for partition, mine in partitions.items():
        decision = _Decision(context, partition, run_id, "restore", reason)
        done.append(decision.made([(row.row_key, row.day) for row in mine], hidden_at=min(row.decided_at for row in mine)))
    return done


def find_hidden(context: Context, dataset: str | None = None, ticker: str | None = None) -> list[Decision]:
    """The decisions by which rows are hidden now, by dataset, ticker and day; of a dataset or ticker alone where one is given."""
    with context.warehouse.reading() as connection:
        recipes = with_windows(context, connection, None if dataset is None else {dataset})
        return [row for recipe in recipes for row in hidden_rows(connection, recipe, ticker)]


class _Decision:
    """One decision about rows of one partition."""

    def __init__(self, context: Context, partition: PartitionKey, run_id: str, kind: DecisionKind, reason: str | None) -> None:
        self.context, self.partition, self.run_id, self.kind, self.reason = context, partition, run_id, kind, reason
        self.recipe: Recipe = context.catalogue.recipe(partition.dataset)

    def made(
        self, about: Sequence[tuple[str, date]], dropped: Sequence[DroppedRow] = (), hidden_at: datetime | None = None
    ) -> Decided:
        try:
            with self.context.warehouse.transaction(few_rows=True) as connection:
                self._must_hold(connection, dropped, hidden_at)
                steps.debug("deciding on %d rows", len(about))
                row = self._carried_out(connection, about)
                steps.debug("decided on %d rows", len(about))
        except VALUE_ERRORS as e:
            raise UserError(
                f"{self.partition}: {self.recipe.gold_table} cannot be built from the rows that would be left"
                f" ({str(e).partition(chr(10))[0]}); nothing of it was changed."
            ) from e
        steps.debug("committed a decision on %d rows", len(about))
        rows = row.silver_rows_deleted if self.kind == "hide" else row.silver_rows_created
        return Decided(
            self.partition.dataset, self.partition.ticker, self.run_id, rows, row.gold_rows_created + row.gold_rows_updated
        )

    def _must_hold(
        self, connection: duckdb.DuckDBPyConnection, dropped: Sequence[DroppedRow], hidden_at: datetime | None
    ) -> None:
        newer = answered_since(connection, self.recipe, self.partition.ticker, dropped)
        if newer:
            run_id, day = newer
            raise UserError(
                f"{self.partition}: run {run_id} asks for {day}, or has been answered since the dropped rows were looked for; nothing of it"
                " was hidden. When it has ended, `ops-pipeline run` has finished what it left, look again with `ops-pipeline dropped`."
            )
        if hidden_at is None:
            return
        whole = OpsRepo(connection).last_whole([self.partition]).get(self.partition)
        if whole and whole[0] > hidden_at:
            raise UserError(
                f"{self.partition}: its whole history came on {whole[0]:%Y-%m-%d}, after the rows were hidden, and does not have them."
                " Their values may stand on another adjustment basis, so nothing was brought back; `ops-pipeline asof` shows them."
            )

    def _carried_out(self, connection: duckdb.DuckDBPyConnection, about: Sequence[tuple[str, date]]) -> DatasetInjestion:
        repo = OpsRepo(connection)
        latest = repo.latest_promoted([self.partition]).get(self.partition)
        # Behind every file of the partition, also where the clock was set back.
        at = max([utc_now(), *([latest[0] + timedelta(microseconds=1)] if latest else [])])
        days = [day for _, day in about]
        key = (self.run_id, uuid.uuid5(uuid.NAMESPACE_OID, f"{self.run_id}/{self.partition.dataset}/{self.partition.ticker}").hex)
        brought = len(about) if self.kind == "restore" else 0
        row = DatasetInjestion.decided(self.recipe, self.partition.ticker, key, at, brought, (min(days), max(days)))
        record_decisions(
            connection,
            [
                Decision(
                    *key, self.partition.dataset, self.partition.ticker, row_key, day, self.kind, self.reason, _account(), at
                )
                for row_key, day in about
            ],
        )
        repo.upsert([row], Stage.BRONZE)
        promotion = commit_promotion(connection, staged_decisions(self.recipe, [row]), self.run_id)
        row = next(done for done in promotion.rows if done.key == key)
        if row.silver_errors:
            raise UserError(f"{self.partition}: {row.silver_errors}")
        if not row.silver_can_promote:
            return row
        leading, bulk = gold_from(self.recipe, self.context.catalogue.recipes)
        built = commit_gold(connection, leading, [row], self.run_id, bulk=bulk)
        return next((done for done in built if done.key == key), row)


def _account() -> str | None:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user without a name
        return None
