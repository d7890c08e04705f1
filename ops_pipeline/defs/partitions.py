"""The partitions: ticker by dataset.

Belongs here: the partitions definition, what its two dimensions hold, and the translation between its keys and the pipeline's. Does not
belong here: which partitions are wanted (`recipes.universe`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster import DynamicPartitionsDefinition, MultiPartitionKey, MultiPartitionsDefinition

from ops_pipeline.recipes.loading import PACKAGED
from ops_pipeline.recipes.universe import PartitionKey

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dagster import DagsterInstance

    from ops_pipeline.engine.context import Context
    from ops_pipeline.recipes.universe import Universe

TICKERS = "tickers"
DATASETS = "datasets"


def partitions_def() -> MultiPartitionsDefinition:
    """Every ticker by every dataset; the cells that do not apply (a ticker of a dataset without tickers) end as `not_applicable`.

    Both dimensions are Dagster's dynamic partitions, so that the grid follows the universe while `dagster dev` runs, and holds none of the
    packaged datasets that nobody asked for.
    """
    return MultiPartitionsDefinition(
        {"ticker": DynamicPartitionsDefinition(name=TICKERS), "dataset": DynamicPartitionsDefinition(name=DATASETS)}
    )


def grid_datasets(home: Context, wanted: Universe, stored: Iterable[str]) -> list[str]:
    """What the dimension `dataset` holds: the universe's datasets, those of the home's own recipes, and those that have files.

    Args:
        home: the home.
        wanted: its universe.
        stored: dataset keys that the ledger has rows of; those without a recipe are left out, since no run can move them.
    """
    own = [name for name, path in home.catalogue.origins.items() if path.parent != PACKAGED]
    return list(dict.fromkeys([*wanted.wanted, *own, *(name for name in stored if name in home.catalogue.recipes)]))


def to_dagster(key: PartitionKey) -> MultiPartitionKey:
    """Dagster's key; it sorts the dimensions by name: `dataset|ticker`."""
    return MultiPartitionKey({"dataset": key.dataset, "ticker": key.ticker})


def from_dagster(key: str) -> PartitionKey:
    """The pipeline's key of Dagster's text `dataset|ticker`."""
    dataset, _, ticker = key.partition("|")
    return PartitionKey(ticker, dataset)


def add_missing(instance: DagsterInstance, keys: Iterable[PartitionKey]) -> int:
    """Adds tickers and datasets that Dagster does not know yet, so that their events show in its grid; returns how many."""
    listed, added = list(keys), 0
    for dimension, names in ((TICKERS, [k.ticker for k in listed]), (DATASETS, [k.dataset for k in listed])):
        known = set(instance.get_dynamic_partitions(dimension))
        missing = [name for name in dict.fromkeys(names) if name not in known]
        if missing:
            instance.add_dynamic_partitions(dimension, missing)
        added += len(missing)
    return added
