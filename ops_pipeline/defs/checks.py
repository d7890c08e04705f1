"""Asset checks, named as sentences.

Belongs here: what Dagster shows of the ledger's own findings. Does not belong here: how they are found (`ops.queries`, `ops.failures`).

The step logs each check's result itself when it ends, because Dagster skips a check's own step after a step without outputs, and a batch
has none. The definitions make the same checks runnable by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
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
from ops_pipeline.engine.outcome import LAYERS
from ops_pipeline.ops.failures import latest_failures
from ops_pipeline.ops.queries import Finding, miscounted_tables, unaccounted_files

if TYPE_CHECKING:
    import duckdb
    from dagster import AssetExecutionContext, RawMetadataValue

    from ops_pipeline.engine.context import Context
    from ops_pipeline.ops.failures import Failure
    from ops_pipeline.recipes.universe import Universe

SHOWN_FINDINGS = 20
# As many digits of a run's id as the command line shows.
_SHORT_RUN_ID = 8


class _Ledger:
    """What the checks of one evaluation look at; failures are read once for all of them."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, wanted: Universe) -> None:
        self.connection = connection
        self._wanted = wanted

    @cached_property
    def failures(self) -> list[Failure]:
        """Without what the universe lists no more: it is never asked again, so nobody could mend it."""
        return [f for f in latest_failures(self.connection) if not f.deferred and f.partition in self._wanted]


@dataclass(frozen=True)
class Check:
    """A check of one asset: what it says, how grave its failing is, and how it is found."""

    name: str
    layer: str
    about: str
    severity: AssetCheckSeverity
    find: Callable[[_Ledger], list[Finding]]


def _left_failed(layer: str) -> Callable[[_Ledger], list[Finding]]:
    def find(ledger: _Ledger) -> list[Finding]:
        return [
            Finding(str(f.partition), f"{f.reason} Repair: `ops-pipeline retry {f.run_id[:_SHORT_RUN_ID]}`")
            for f in ledger.failures
            if f.layer == layer
        ]

    return find


CHECKS: list[Check] = [
    Check(
        "every_record_is_accounted_for",
        "silver",
        "For every promoted file: records read = created + updated + unchanged + refused + superseded + out of window.",
        AssetCheckSeverity.ERROR,
        lambda ledger: unaccounted_files(ledger.connection),
    ),
    Check(
        "silver_holds_what_the_ledger_counted",
        "silver",
        "The number of rows of every silver table is what the ledger counted as created, less what it counted as deleted.",
        AssetCheckSeverity.ERROR,
        lambda ledger: miscounted_tables(ledger.connection),
    ),
    *(
        Check(
            "no_partitions_left_failed",
            layer,
            f"No wanted partition's latest attempt failed in {layer}; each one that did is listed with its reason and the command that"
            " repairs it.",
            # What is stored is right, and the next run asks for the rest: a warning, where the checks above find wrong data.
            AssetCheckSeverity.WARN,
            _left_failed(layer),
        )
        for layer in LAYERS
    ),
]


def build_checks(home: Context) -> list[AssetChecksDefinition]:
    """The checks as definitions that can be run by hand."""
    return [_definition(home, check) for check in CHECKS]


def _definition(home: Context, it: Check) -> AssetChecksDefinition:
    @asset_check(name=it.name, asset=it.layer, description=it.about)
    def check(ops: OpsDuckDBResource) -> AssetCheckResult:
        wanted = home.universe()
        with ops.get_connection(read_only=True) as connection:
            findings = it.find(_Ledger(connection, wanted))
        return AssetCheckResult(passed=not findings, severity=it.severity, metadata=_metadata(findings))

    return check


def log_checks(context: AssetExecutionContext, home: Context, layers: Sequence[str]) -> None:
    """Evaluates every check of the layers that the step moved, inside the step."""
    chosen = [check for check in CHECKS if check.layer in layers]
    wanted = home.universe()
    with home.warehouse.reading() as connection:
        ledger = _Ledger(connection, wanted)
        found = [(check, check.find(ledger)) for check in chosen]
    for check, findings in found:
        tell(
            context,
            AssetCheckEvaluation(
                asset_key=AssetKey(check.layer),
                check_name=check.name,
                passed=not findings,
                severity=check.severity,
                metadata=_metadata(findings),
            ),
        )


def _metadata(findings: Sequence[Finding]) -> dict[str, RawMetadataValue]:
    listed = "\n".join(f"- `{f.where}`: {f.what}" for f in findings[:SHOWN_FINDINGS])
    more = f"\n- and {len(findings) - SHOWN_FINDINGS} more" if len(findings) > SHOWN_FINDINGS else ""
    return {
        "findings": MetadataValue.int(len(findings)),
        "first": MetadataValue.md(listed + more if listed else "none"),
    }
