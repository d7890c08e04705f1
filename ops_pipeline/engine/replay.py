"""Replay: silver and gold of a dataset from bronze and the ledger alone, without a single request.

Belongs here: making the replayed tables in a database of their own, batch by batch, comparing them with what stands, and putting them in
its place. Does not belong here: the comparison's SQL (`silver.comparison`), the ledger's (`ops.replays`), printing.

Everything but the last transaction goes on beside other runs. A killed replay leaves the old state whole, and a scratch database that the
next one removes.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pydantic import ValidationError

from ops_pipeline.engine.context import steps
from ops_pipeline.engine.promote import Promoter
from ops_pipeline.engine.read import portion_files
from ops_pipeline.errors import UserError
from ops_pipeline.gold.build import Changes, rebuild
from ops_pipeline.ops import migrations
from ops_pipeline.ops.decisions import decisions_of, record_decisions
from ops_pipeline.ops.replays import lost_files, recipes_used, record_replay, replayable, unpromoted
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.ops.service import OpsService
from ops_pipeline.progress import silent
from ops_pipeline.recipes.bulk import gold_from
from ops_pipeline.recipes.models import Recipe
from ops_pipeline.silver.comparison import Comparison, compare, rows_without_body, take_place, take_rejects
from ops_pipeline.warehouse import Warehouse, attach_statement

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import duckdb

    from ops_pipeline.engine.context import Context
    from ops_pipeline.ops.ingestion import PromotionKind
    from ops_pipeline.progress import Tell
    from ops_pipeline.recipes.loading import Catalogue

_SCRATCH = "replayed"


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay of one dataset found and did.

    Attributes:
        dataset: the dataset key.
        run_id: of the later promotions in the ledger.
        files: answers that were read again.
        comparison: the replayed silver beside what stood.
        swapped: whether the replayed tables stand now; identical ones are left where they are.
        gold: rows of gold that differed and were written; None where nothing was written.
        scratch: the database that holds the result, where it was asked for.
    """

    dataset: str
    run_id: str
    files: int
    comparison: Comparison
    swapped: bool
    gold: Changes | None = None
    scratch: Path | None = None


def replay(
    context: Context,
    recipe: Recipe,
    run_id: str,
    *,
    tickers: Sequence[str] | None = None,
    to_scratch: bool = False,
    kind: PromotionKind = "replay",
    tell: Tell = silent,
) -> Replayed:
    """Promotes a dataset's stored answers anew and lets the result take the place of what stands.

    Args:
        context: the home; its migrations must be applied.
        recipe: the dataset's recipe in force; with `to_scratch` an earlier one will do.
        run_id: of this replay.
        tickers: only these; None: all, which is what a recipe with other columns needs.
        to_scratch: change nothing, and keep the database that holds the result.
        kind: what the ledger's rows say of the later promotion.
        tell: takes how many answers are read.

    Raises:
        UserError: a file that silver rests on cannot be promoted any more, the columns changed and only some tickers are wanted, or the
            disk refuses; what stood is as it was.
    """
    with context.leases.held(run_id):
        return _Replay(context, recipe, run_id, tickers, kind, tell).run(to_scratch=to_scratch)


def earlier_recipe(context: Context, dataset: str, recipe_hash: str) -> Recipe:
    """A recipe by which the dataset was read before, as the ledger kept it.

    Args:
        context: the home.
        dataset: the dataset key.
        recipe_hash: its hash, or as much of its beginning as tells it apart.

    Raises:
        UserError: there is none, or more than one; or it was written for a version that knew fields which this one does not.
    """
    with context.warehouse.reading() as connection:
        known = recipes_used(connection, dataset)
    mine = [text for name, text, _ in known if name.startswith(recipe_hash)]
    if len(mine) != 1:
        listed = ", ".join(f"{name} (since {since:%Y-%m-%d %H:%M}Z)" for name, _, since in known) or "none"
        raise UserError(f"{recipe_hash!r} names {len(mine) or 'no'} recipes of {dataset}; it was read by: {listed}.")
    try:
        return Recipe.model_validate_json(mine[0])
    except ValidationError as e:
        problem = e.errors(include_url=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise UserError(f"this version cannot read by the recipe {recipe_hash} of {dataset}: {where}: {problem['msg']}") from e


def _reading_by(catalogue: Catalogue, recipe: Recipe) -> Catalogue:
    if catalogue.recipe(recipe.dataset_key).recipe_hash == recipe.recipe_hash:
        return catalogue
    return replace(catalogue, recipes={**catalogue.complete().recipes, recipe.dataset_key: recipe})


class _Replay:
    def __init__(
        self, context: Context, recipe: Recipe, run_id: str, tickers: Sequence[str] | None, kind: PromotionKind, tell: Tell
    ) -> None:
        self.tell = tell
        self.context, self.recipe, self.run_id, self.tickers, self.kind = context, recipe, run_id, tickers, kind
        self.path = context.settings.home / "replay" / f"{run_id}.duckdb"
        warehouse = Warehouse(self.path, schema_version=migrations.latest_version())
        self.scratch = replace(context, service=OpsService(warehouse), catalogue=_reading_by(context.catalogue, recipe))
        self.done: set[tuple[str, str]] = set()

    def run(self, *, to_scratch: bool) -> Replayed:
        steps.debug("replaying %s", self.recipe.dataset_key)
        discard_left(self.context)
        try:
            todo = self._begin()
            while True:
                self._promote(todo)
                self.tell(f"comparing {self.recipe.dataset_key}")
                with self._both(read_only=to_scratch) as connection:
                    if to_scratch:
                        found = compare(connection, self.recipe, _SCRATCH, self.tickers)
                        return Replayed(
                            self.recipe.dataset_key, self.run_id, len(self.done), found, swapped=False, scratch=self.path
                        )
                    # What came in meanwhile is replayed as well: what stands is never replaced by less.
                    todo = [key for key in self._files(connection) if key not in self.done]
                    if not todo:
                        return self._swap(connection)
        finally:
            if not to_scratch:
                _remove(self.path)

    def _begin(self) -> list[tuple[str, str]]:
        with self.context.warehouse.reading() as connection:
            present = OpsRepo(connection).silver_columns_hash(self.recipe.silver_table)
            instruments = connection.execute("FROM gold.dim_instrument").to_arrow_table()
            todo = self._files(connection)
        if self.tickers is not None and present not in (None, self.recipe.columns_hash):
            raise UserError(
                f"the columns of {self.recipe.dataset_key} changed: replay the whole dataset, "
                f"`ops-pipeline replay --dataset {self.recipe.dataset_key}`."
            )
        migrations.ensure_current(self.scratch.warehouse, auto=True, notify=lambda _: None)
        with self.scratch.warehouse.transaction() as connection:
            connection.register("known_instruments", instruments)
            connection.execute("INSERT INTO gold.dim_instrument FROM known_instruments")
            connection.unregister("known_instruments")
        return todo

    def _files(self, connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
        return replayable(connection, self.recipe.dataset_key, self.tickers)

    def _promote(self, keys: Sequence[tuple[str, str]]) -> None:
        """Reads the files as a run reads what it has fetched, batch by batch."""
        promoter = Promoter(self.scratch, self.run_id, frozenset({"silver", "gold"}))
        size = portion_files(self.context.settings.batch_files)
        for start in range(0, len(keys), size):
            self.tell(f"replaying {self.recipe.dataset_key}", start, len(keys))
            with self.context.warehouse.reading() as connection:
                rows = OpsRepo(connection).get(keys[start : start + size]).values()
                decided = [row.key for row in rows if row.is_decision]
                decisions = decisions_of(connection, decided) if decided else []
            if decisions:
                with self.scratch.warehouse.transaction(few_rows=True) as connection:
                    record_decisions(connection, decisions)
            ordered = sorted(map(unpromoted, rows), key=lambda row: row.order)
            promoter.take(promoter.read(ordered))
            steps.debug("replayed %d files", len(ordered))
        self.done.update(keys)
        self.scratch.warehouse.checkpoint()

    @contextlib.contextmanager
    def _both(self, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        """The home's database with the scratch one beside it."""
        with self.context.warehouse.connection(read_only=read_only) as connection:
            connection.execute(attach_statement(self.path, _SCRATCH, read_only=True))
            try:
                yield connection
            finally:
                connection.execute(f"DETACH {_SCRATCH}")

    def _swap(self, connection: duckdb.DuckDBPyConnection) -> Replayed:
        lost = lost_files(connection, _SCRATCH)
        if lost:
            run_id, file_id, reason = lost[0]
            raise UserError(
                f"{len(lost)} files that {self.recipe.silver_table} rests on cannot be promoted again, such as {file_id} of run {run_id}"
                f" ({reason.rstrip('.')}); nothing was replaced. Mend the recipe or restore the files, or look with --to-scratch."
            )
        rows, example = rows_without_body(connection, self.recipe, _SCRATCH, self.tickers)
        if example:
            raise UserError(
                f"{rows:,} rows of {self.recipe.silver_table} rest on files whose bodies are gone, such as {example[1]} of run"
                f" {example[0]}, and no stored file has them; nothing was replaced. `ops-pipeline run --dataset {self.recipe.dataset_key}`"
                " asks for their days again; replay after it."
            )
        found = compare(connection, self.recipe, _SCRATCH, self.tickers)
        with self.context.warehouse.transaction():
            steps.debug("swapping %s", self.recipe.silver_table)
            shape = OpsRepo(connection).silver_columns_hash(self.recipe.silver_table)
            swapped = bool(self.done) and not (found.identical and shape == self.recipe.columns_hash)
            if swapped:
                take_place(connection, self.recipe, _SCRATCH, self.tickers)
            elif self.done and not found.rejects_same:
                take_rejects(connection, self.recipe, _SCRATCH, self.tickers)
            OpsRepo(connection).remember_recipes([self.recipe])
            record_replay(connection, _SCRATCH, self.run_id, self.kind)
            recipes = self.context.catalogue.recipes
            leading, bulk = gold_from(self.recipe, recipes)
            gold = rebuild(connection, leading, bulk=bulk) if self.recipe.gold is not None else None
            steps.debug("replaced %s", self.recipe.silver_table)
        steps.debug("swapped %s", self.recipe.silver_table)
        return Replayed(self.recipe.dataset_key, self.run_id, len(self.done), found, swapped, gold)


def discard_left(context: Context) -> int:
    """Removes the scratch databases of replays that died; those kept by `to_scratch` stay only until the next replay."""
    alive = context.leases.alive()
    left = [path for path in (context.settings.home / "replay").glob("*.duckdb") if path.stem not in alive]
    for path in left:
        _remove(path)
    return len(left)


def _remove(path: Path) -> None:
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.parent.rmdir()
