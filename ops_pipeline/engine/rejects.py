"""Refused files, read again: to see what the recipe in force makes of one, and to promote them once it is mended.

Belongs here: both. Does not belong here: which files are refused (`ops.rejects`), and the course of a replay (`replay`).

A partition's files apply one after the other, so a file that is taken in late is merged in its place: the whole partition is read again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops_pipeline.engine.replay import Replayed, replay
from ops_pipeline.engine.run import new_run_id
from ops_pipeline.errors import UserError
from ops_pipeline.ops.queries import RunFilter
from ops_pipeline.ops.rejects import RefusedFile, RefusedRecord, refused_files
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.silver.staging import stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops_pipeline.engine.context import Context
    from ops_pipeline.recipes.models import Recipe


@dataclass(frozen=True, slots=True)
class Reading:
    """What the recipe in force makes of a file.

    Attributes:
        refusal: why the file would be refused as a whole; None: it would be merged.
        records: its records.
        refused: how many of them would be refused.
        first: the first of these.
    """

    refusal: str | None
    records: int
    refused: int
    first: list[RefusedRecord]


@dataclass(frozen=True, slots=True)
class Retried:
    """What a retry of a dataset's refused files came to.

    Attributes:
        dataset: the dataset key.
        chosen: the files that were to be taken in, as they were.
        left: those of them of which something is still refused, as they are.
        everything: whether all files of the dataset were read, because the recipe's columns changed.
        replayed: what became of silver and gold.
    """

    dataset: str
    chosen: list[RefusedFile]
    left: list[RefusedFile]
    everything: bool
    replayed: Replayed


def read_again(context: Context, file: RefusedFile, *, limit: int = 50) -> Reading:
    """Reads a file by the recipe in force, as a run would, and stores nothing.

    Raises:
        UserError: no recipe declares its dataset any more.
        BronzeError: its body is not there.
    """
    recipe = _recipe(context, file.dataset)
    with context.warehouse.reading() as connection:
        (row,) = OpsRepo(connection).get([file.key]).values()
    staged = stage(recipe, [row], {row.key: context.store.path(file.filename)})
    (profile,) = staged.profiles
    first = [RefusedRecord(r["row_position"], r["reason"], r["raw_text"]) for r in staged.rejects.slice(0, limit).to_pylist()]
    return Reading(profile.refusal(recipe.max_reject_share), profile.rows, profile.failed, first)


def retry(context: Context, files: Sequence[RefusedFile]) -> list[Retried]:
    """Promotes refused files by the recipes in force, without a request; each promotion has its row in the ledger.

    Args:
        context: the home; its migrations must be applied.
        files: from `refused_files`; their partitions are read again, and where a recipe's columns changed, all of its dataset.

    Raises:
        UserError: no recipe declares a file's dataset any more, before anything is done; or as `replay` raises.
    """
    by_dataset: dict[str, list[RefusedFile]] = {}
    for file in files:
        by_dataset.setdefault(file.dataset, []).append(file)
    recipes = [_recipe(context, name) for name in sorted(by_dataset)]
    return [_retry(context, recipe, by_dataset[recipe.dataset_key]) for recipe in recipes]


def _retry(context: Context, recipe: Recipe, chosen: list[RefusedFile]) -> Retried:
    with context.warehouse.reading() as connection:
        shape = OpsRepo(connection).silver_columns_hash(recipe.silver_table)
    everything = shape not in (None, recipe.columns_hash)
    tickers = sorted({file.ticker for file in chosen}) if recipe.per_ticker and not everything else None
    done = replay(context, recipe, new_run_id(), tickers=tickers, kind="retry")
    keys = {file.key for file in chosen}
    with context.warehouse.reading() as connection:
        refused = refused_files(connection, RunFilter(dataset=recipe.dataset_key), limit=None)
    return Retried(recipe.dataset_key, chosen, [f for f in refused if f.key in keys], everything, done)


def _recipe(context: Context, dataset: str) -> Recipe:
    if dataset not in context.catalogue.recipes:
        raise UserError(
            f"no recipe declares {dataset} any more, so its files cannot be read: put its recipe back below"
            f" {context.settings.recipes_path}, or choose other files with --dataset."
        )
    return context.catalogue.recipe(dataset)
