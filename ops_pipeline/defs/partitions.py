"""The partitions: ticker by dataset.

Belongs here: the partitions definition and the translation between its keys and the pipeline's. Does not belong here: which partitions are
wanted (`recipes.universe`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster import (
    DynamicPartitionsDefinition,
    MultiPartitionKey,
    MultiPartitionsDefinition,
    StaticPartitionsDefinition,
)

from ops_pipeline.recipes.universe import PartitionKey

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dagster import DagsterInstance

    from ops_pipeline.recipes.loading import Catalogue

TICKERS = "tickers"


def partitions_def(catalogue: Catalogue) -> MultiPartitionsDefinition:
    """Every ticker by every dataset; the cells that do not apply (a ticker of a dataset without tickers) end as `not_applicable`."""
    return MultiPartitionsDefinition(
        {
            "ticker": DynamicPartitionsDefinition(name=TICKERS),
            "dataset": StaticPartitionsDefinition(list(catalogue.complete().recipes)),
        }
    )


def to_dagster(key: PartitionKey) -> MultiPartitionKey:
    """Dagster's key; it sorts the dimensions by name: `dataset|ticker`."""
    return MultiPartitionKey({"dataset": key.dataset, "ticker": key.ticker})


def from_dagster(key: str) -> PartitionKey:
    """The pipeline's key of Dagster's text `dataset|ticker`."""
    dataset, _, ticker = key.partition("|")
    return PartitionKey(ticker, dataset)


def add_missing_tickers(instance: DagsterInstance, tickers: Iterable[str]) -> list[str]:
    """Adds tickers that Dagster does not know yet, so that their events show in its grid; returns those added."""
    known = set(instance.get_dynamic_partitions(TICKERS))
    missing = [t for t in dict.fromkeys(tickers) if t not in known]
    if missing:
        instance.add_dynamic_partitions(TICKERS, missing)
    return missing
