"""What Dagster is told about keys.

Belongs here: materializations with their metadata, the planned events that make a failed key of a batch show as failed, and the run's
tags. Does not belong here: which outcome a key has (`engine.outcome`).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dagster import (
    AssetKey,
    AssetMaterialization,
    DagsterEvent,
    DagsterExecutionInterruptedError,
    MetadataValue,
    TableColumn,
    TableColumnConstraints,
    TableSchema,
)
from dagster._utils.interrupts import capture_interrupts, pop_captured_interrupt

from ops_pipeline.defs.details import closer_look, links, seconds
from ops_pipeline.defs.partitions import to_dagster
from ops_pipeline.engine.outcome import LAYERS, Outcome, OutcomeKind
from ops_pipeline.recipes.keys import split_dataset_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dagster import AssetCheckEvaluation, AssetExecutionContext, RawMetadataValue

    from ops_pipeline.engine.context import Context
    from ops_pipeline.recipes.universe import PartitionKey

STEP = "lake"
"""The name of the one step that fetches and promotes."""

FAILED_TAG, OUTCOMES_TAG = "ops_pipeline/failed", "ops_pipeline/outcomes"
VENDOR_TAG = "ops_pipeline/vendor.{}"
"""A tag of the value `yes` for every source that a run asks: the list of runs can be filtered by vendor. It is not `ops_pipeline/source`,
which stands on what the schedule launches and makes runs of a source wait for each other."""

log = logging.getLogger("ops_pipeline.defs")


def tell(context: AssetExecutionContext, event: AssetMaterialization | AssetCheckEvaluation) -> None:
    """Writes an event, and raises an interrupt that arrived meanwhile only afterwards.

    Events are not yielded: Dagster defers an interrupt while it handles a yielded event and then raises it outside the step's body, which
    never hears of it and cannot flush (seen: a cancelled run of 1,600 keys left 1,088 requests unanswered in the ledger). A signal inside
    the write itself would leave the event in one of Dagster's two databases.

    Raises:
        DagsterExecutionInterruptedError: when the run is being cancelled.
    """
    with capture_interrupts():
        context.log_event(event)
        interrupted = pop_captured_interrupt()
    if interrupted:
        raise DagsterExecutionInterruptedError


def forget_told(context: AssetExecutionContext) -> None:
    """Lets go of the objects of events that are in the event log: the step would hand them on when it ends, and nobody needs them then."""
    for _ in context.consume_events():
        pass


class Schemas:
    """The columns of the tables that events name, read from the database once a table."""

    def __init__(self, context: Context) -> None:
        """Reads nothing yet."""
        self.context = context
        self.known: dict[str, TableSchema | None] = {}

    def of(self, table: str) -> TableSchema | None:
        """The table's columns with types and comments; None where there is no such table yet."""
        if table not in self.known:
            schema, _, name = table.partition(".")
            with self.context.warehouse.reading() as connection:
                rows = connection.execute(
                    "SELECT column_name, data_type, comment, is_nullable FROM duckdb_columns()"
                    " WHERE database_name = current_database() AND schema_name = ? AND table_name = ? ORDER BY column_index",
                    [schema, name],
                ).fetchall()
            columns = [
                TableColumn(column, kind.lower(), description=comment, constraints=TableColumnConstraints(nullable=nullable))
                for column, kind, comment, nullable in rows
            ]
            if not columns:
                return None
            self.known[table] = TableSchema(columns=columns)
        return self.known[table]


def materialization(
    context: Context, schemas: Schemas, layer: str, outcome: Outcome, *, closely: bool = False
) -> AssetMaterialization:
    """One layer's event for one key, with what the key's files say; `closely` adds what has to be read for it."""
    told = metadata(context, layer, outcome) | links(context, layer, outcome)
    if closely:
        told |= closer_look(context, layer, outcome)
    table = told.get("dagster/table_name")
    schema = schemas.of(table) if isinstance(table, str) else None
    if schema is not None:
        told["dagster/column_schema"] = schema
    return AssetMaterialization(asset_key=layer, partition=to_dagster(outcome.key), metadata=told)


def metadata(context: Context, layer: str, outcome: Outcome) -> dict[str, RawMetadataValue]:
    """Row counts, dates, table and files of one layer and key."""
    recipe = context.catalogue.recipes.get(outcome.key.dataset)
    found: dict[str, RawMetadataValue] = {"outcome": outcome.kind.value}
    if outcome.reason:
        found["reason"] = outcome.reason
    files = outcome.files
    dates = [d for f in files for d in (getattr(f, f"{layer}_from_date"), getattr(f, f"{layer}_to_date")) if d]
    if dates:
        found["from_date"], found["to_date"] = (
            min(dates).isoformat(),
            max(dates).isoformat(),
        )
    if recipe and layer != "bronze":
        table = recipe.silver_table if layer == "silver" else recipe.gold_table
        if table:
            found["dagster/table_name"] = table
    if not files:
        return found  # no figure is better than a nought: nothing was moved, which says nothing about what is there
    match layer:
        case "bronze":
            rows = sum(f.bronze_rows for f in files)
            found["bytes"] = sum(f.bronze_bytes or 0 for f in files)
            found["files"] = MetadataValue.json([f.bronze_filename for f in files if f.bronze_filename])
        case "silver":
            for name in ("created", "updated", "unchanged", "failed", "superseded", "out_of_window", "deleted"):
                found[f"rows_{name}"] = sum(getattr(f.silver_counts, name) for f in files)
            rows = sum(f.silver_rows_created + f.silver_rows_updated + f.silver_rows_unchanged for f in files)
        case _:
            found["rows_created"] = sum(f.gold_rows_created for f in files)
            found["rows_updated"] = sum(f.gold_rows_updated for f in files)
            rows = sum(f.gold_rows_created + f.gold_rows_updated for f in files)
    found["dagster/row_count"] = rows
    taken = seconds(layer, files)
    if taken is not None:
        found["seconds"] = taken
    return found


def closes(layer: str, outcome: Outcome, *, planned: bool) -> bool:
    """Whether a key's layer gets a materialization.

    Where Dagster planned the partition, every key that did not fail closes each selected layer, whatever became of it, deferred ones too:
    a planned key without event turns FAILED. In an untagged batch only layers that changed are told: an event costs milliseconds.
    """
    if outcome.kind is OutcomeKind.FAILED:
        return LAYERS.index(layer) < LAYERS.index(outcome.failed_layer or "bronze") and (planned or outcome.advanced(layer))
    return planned or outcome.advanced(layer)


def failed_layers(outcome: Outcome, layers: Iterable[str]) -> list[str]:
    """The selected layers of a failed key that did not get there."""
    return [layer for layer in layers if LAYERS.index(layer) >= LAYERS.index(outcome.failed_layer or "bronze")]


def report_planned(context: AssetExecutionContext, layer: str, outcome: Outcome) -> None:
    """Tells Dagster that this run meant to materialize a key that failed: only then does its grid show the key as FAILED.

    It uses Dagster's internal API; a test drives it against a real instance. Where Dagster changes it, the key shows as missing instead,
    the run still fails and names it, and the log says so once a key.
    """
    try:
        from dagster._core.events import AssetMaterializationPlannedData

        event = DagsterEvent.build_asset_materialization_planned_event(
            job_name=context.run.job_name,
            step_key=STEP,
            asset_materialization_planned_data=AssetMaterializationPlannedData(
                asset_key=AssetKey(layer), partition=str(to_dagster(outcome.key))
            ),
        )
        context.instance.report_dagster_event(event, run_id=context.run.run_id, log_level=logging.DEBUG)
    except (ImportError, AttributeError, TypeError) as e:
        log.warning("Dagster no longer takes a planned event (%s): %s shows as missing instead of failed", e, outcome.key)


def counts(outcomes: Mapping[OutcomeKind, int]) -> str:
    """How many keys came to which outcome, such as `497 promoted, 3 failed`."""
    ordered = sorted(outcomes.items(), key=lambda item: -item[1])
    return ", ".join(f"{count} {kind.value.replace('_', ' ')}" for kind, count in ordered if count) or "none"


def tag_vendors(context: AssetExecutionContext, keys: Iterable[PartitionKey]) -> None:
    """Puts the sources of a run's keys on the run."""
    vendors = sorted({split_dataset_key(dataset)[0] for dataset in {key.dataset for key in keys}})
    if vendors:
        context.instance.add_run_tags(context.run.run_id, {VENDOR_TAG.format(name): "yes" for name in vendors})


def tag_outcomes(context: AssetExecutionContext, outcomes: Mapping[OutcomeKind, int] | None) -> None:
    """Puts how many keys came to which outcome on the run, where the list of runs shows and filters it; None: the run has just begun.

    A re-execution inherits its parent's tags, so the beginning must take them back.
    """
    told = {FAILED_TAG: str(outcomes.get(OutcomeKind.FAILED, 0)), OUTCOMES_TAG: counts(outcomes)} if outcomes is not None else {}
    inherited = {tag: "under way" for tag in (FAILED_TAG, OUTCOMES_TAG) if tag in context.run.tags}
    if told or inherited:
        context.instance.add_run_tags(context.run.run_id, told or inherited)
