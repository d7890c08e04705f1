"""Asset checks, named as sentences.

Belongs here: what Dagster shows of the ledger's own findings. Does not belong here: how they are found (`ops.queries`).

The step logs each check's result itself when it ends, because Dagster skips a check's own step after a step without outputs, and a batch
has none. The definitions make the same checks runnable by hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster import (
    AssetCheckEvaluation,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetKey,
    MetadataValue,
    asset_check,
)

from ops_pipeline.defs.events import tell
from ops_pipeline.defs.resources import OpsDuckDBResource
from ops_pipeline.ops.queries import Finding, miscounted_tables, unaccounted_files

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import duckdb
    from dagster import AssetExecutionContext, RawMetadataValue

    from ops_pipeline.engine.context import Context

LAYER = "silver"

CHECKS: dict[str, tuple[str, Callable[[duckdb.DuckDBPyConnection], list[Finding]]]] = {
    "every_record_is_accounted_for": (
        "For every promoted file: records read = created + updated + unchanged + refused + superseded + out of window.",
        unaccounted_files,
    ),
    "silver_holds_what_the_ledger_counted": (
        "The number of rows of every silver table is what the ledger counted as created, less what it counted as deleted.",
        miscounted_tables,
    ),
}


def build_checks() -> list[AssetChecksDefinition]:
    """The checks as definitions that can be run by hand."""
    return [_check(name, *check) for name, check in CHECKS.items()]


def _check(name: str, about: str, find: Callable[[duckdb.DuckDBPyConnection], list[Finding]]) -> AssetChecksDefinition:
    @asset_check(name=name, asset=LAYER, description=about)
    def check(ops: OpsDuckDBResource) -> AssetCheckResult:
        with ops.get_connection(read_only=True) as connection:
            findings = find(connection)
        return AssetCheckResult(
            passed=not findings,
            severity=AssetCheckSeverity.ERROR,
            metadata=_metadata(findings),
        )

    return check


def log_checks(context: AssetExecutionContext, home: Context, layers: Sequence[str]) -> None:
    """Evaluates every check of a layer that the step moved, inside the step."""
    if LAYER not in layers:
        return
    with home.warehouse.reading() as connection:
        found = {name: find(connection) for name, (_, find) in CHECKS.items()}
    for name, findings in found.items():
        tell(
            context,
            AssetCheckEvaluation(
                asset_key=AssetKey(LAYER),
                check_name=name,
                passed=not findings,
                severity=AssetCheckSeverity.ERROR,
                metadata=_metadata(findings),
            ),
        )


def _metadata(findings: Sequence[Finding]) -> dict[str, RawMetadataValue]:
    listed = "\n".join(f"- `{f.where}`: {f.what}" for f in findings[:20])
    return {
        "findings": MetadataValue.int(len(findings)),
        "first": MetadataValue.md(listed or "none"),
    }
