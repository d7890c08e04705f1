"""Asset checks, named as sentences.

Belongs here: what Dagster shows of the ledger's own findings, and of the checks that recipes declare or imply. Does not belong here: how
they are found (`ops.queries`, `ops.failures`, `engine.checks`).

The step logs each check's result itself when it ends, because Dagster skips a check's own step after a step without outputs, and a batch
has none. The definitions make the same checks runnable by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
from ops_pipeline.engine.checks import check_now, standing_results
from ops_pipeline.engine.outcome import LAYERS
from ops_pipeline.maintenance.reconcile import reconcile
from ops_pipeline.ops.failures import left_failed
from ops_pipeline.ops.queries import Finding, miscounted_tables, unaccounted_files
from ops_pipeline.ops.reconcile_results import latest_reconcile
from ops_pipeline.ops.service import OpsService
from ops_pipeline.recipes.checks import Kind

if TYPE_CHECKING:
    import duckdb
    from dagster import AssetExecutionContext, RawMetadataValue

    from ops_pipeline.engine.context import Context
    from ops_pipeline.ops.check_results import CheckResult
    from ops_pipeline.ops.failures import Failure
    from ops_pipeline.ops.reconcile_results import ReconcileResult
    from ops_pipeline.recipes.universe import Universe

SHOWN_FINDINGS = 20
# As many digits of a run's id as the command line shows.
_SHORT_RUN_ID = 8


class _Ledger:
    """What the checks of one evaluation look at; failures are read once for all of them."""

    def __init__(self, home: Context, connection: duckdb.DuckDBPyConnection, wanted: Universe) -> None:
        self.connection = connection
        self._home, self._wanted = home, wanted

    @cached_property
    def failures(self) -> list[Failure]:
        """Wanted partitions that are left failed."""
        return left_failed(self.connection, self._wanted)

    @cached_property
    def reconciled(self) -> list[ReconcileResult]:
        """What the newest reconcile found."""
        return latest_reconcile(self.connection)

    @cached_property
    def results(self) -> list[CheckResult]:
        """The standing results of wanted datasets, what failed first."""
        return [r for r in standing_results(self._home, self.connection) if self._wanted.wanted.get(r.dataset_key)]


@dataclass(frozen=True)
class Check:
    """A check of one asset: what it says, how grave its failing is, how it is found, and which check of the data it sums up.

    With `reconciles`, it compares everything with everything before it is evaluated, which takes too long for the end of each run: there
    the newest comparison is told.
    """

    name: str
    layer: str
    about: str
    severity: AssetCheckSeverity
    find: Callable[[_Ledger], list[Finding]]
    kind: Kind | None = None
    reconciles: bool = False

    def results(self, ledger: _Ledger) -> list[CheckResult]:
        """Of a check of the data, its results, one a dataset."""
        return [r for r in ledger.results if self.kind and r.check_name == self.kind.value]

    def gravity(self, ledger: _Ledger) -> AssetCheckSeverity:
        """How grave its failing is: of a check of the data, as grave as the gravest dataset's."""
        if self.reconciles:
            return (
                AssetCheckSeverity.ERROR
                if any(r.left and r.kind.is_grave for r in ledger.reconciled)
                else AssetCheckSeverity.WARN
            )
        if self.kind is None:
            return self.severity
        failed = [r for r in self.results(ledger) if not r.passed]
        return AssetCheckSeverity.ERROR if any(r.severity == "error" for r in failed) else AssetCheckSeverity.WARN


def _left_failed(layer: str) -> Callable[[_Ledger], list[Finding]]:
    def find(ledger: _Ledger) -> list[Finding]:
        return [
            Finding(str(f.partition), f"{f.reason} Repair: `ops-pipeline retry {f.run_id[:_SHORT_RUN_ID]}`")
            for f in ledger.failures
            if f.layer == layer
        ]

    return find


def _of_datasets(kind: Kind) -> Callable[[_Ledger], list[Finding]]:
    def find(ledger: _Ledger) -> list[Finding]:
        return [
            Finding(f"{r.dataset_key} {found.where}", found.what)
            for r in ledger.results
            if r.check_name == kind.value
            for found in r.first_findings
        ]

    return find


def _left_apart(ledger: _Ledger) -> list[Finding]:
    return [
        Finding(one.where, f"{one.what}. To do: {one.repair}")
        for r in ledger.reconciled
        for one in r.first_findings
        if not one.fixed
    ]


RECONCILES = "files_ledger_and_tables_agree"

CHECKS: list[Check] = [
    Check(
        RECONCILES,
        "bronze",
        "Bronze files, ledger, silver, gold and migrations fit together, as `ops-pipeline reconcile` compares them; what does not is listed"
        " with what to do about it. Made weekly and by hand, not after each run; mends nothing.",
        AssetCheckSeverity.ERROR,
        _left_apart,
        reconciles=True,
    ),
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
    *(
        Check(
            kind.value,
            kind.layer,
            f"{kind.about} Of every dataset that it concerns.",
            AssetCheckSeverity.ERROR if kind.severity == "error" else AssetCheckSeverity.WARN,
            _of_datasets(kind),
            kind,
        )
        # Of all datasets at once it stands above, by its name.
        for kind in Kind
        if kind is not Kind.RECORDS
    ),
]


def build_checks(home: Context) -> list[AssetChecksDefinition]:
    """The checks as definitions that can be run by hand."""
    return [_definition(home, check) for check in CHECKS]


def _definition(home: Context, it: Check) -> AssetChecksDefinition:
    @asset_check(name=it.name, asset=it.layer, description=it.about)
    def check(ops: OpsDuckDBResource) -> AssetCheckResult:
        mine = replace(home, service=OpsService(ops.warehouse))
        wanted = mine.universe()
        if it.reconciles:
            reconcile(mine)
        if it.kind is not None:
            check_now(mine, wanted.wanted, [it.kind])
        with mine.warehouse.reading() as connection:
            ledger = _Ledger(mine, connection, wanted)
            passed, severity, metadata = _evaluated(it, ledger)
        return AssetCheckResult(passed=passed, severity=severity, metadata=metadata)

    return check


def log_checks(context: AssetExecutionContext, home: Context, layers: Sequence[str]) -> None:
    """Evaluates every check of the layers that the step moved, inside the step."""
    chosen = [check for check in CHECKS if check.layer in layers]
    wanted = home.universe()
    with home.warehouse.reading() as connection:
        ledger = _Ledger(home, connection, wanted)
        # Of what was never compared there is nothing to tell; what was, stays told until it is compared again.
        told = [check for check in chosen if ledger.reconciled or not check.reconciles]
        found = [(check, _evaluated(check, ledger)) for check in told]
    for check, (passed, severity, metadata) in found:
        tell(
            context,
            AssetCheckEvaluation(
                asset_key=AssetKey(check.layer),
                check_name=check.name,
                passed=passed,
                severity=severity,
                metadata=metadata,
            ),
        )


def _evaluated(check: Check, ledger: _Ledger) -> tuple[bool, AssetCheckSeverity, dict[str, RawMetadataValue]]:
    findings, results = check.find(ledger), check.results(ledger)
    total = sum(r.findings for r in results) if check.kind else len(findings)
    metadata = _metadata(findings, sum(r.left for r in ledger.reconciled) if check.reconciles else total)
    if check.reconciles:
        lines = [f"- {r.checked_at:%Y-%m-%d %H:%MZ}, {r.looked_at:,}: {r.kind.about}" for r in ledger.reconciled]
        metadata["compared"] = MetadataValue.md("\n".join(lines))
    if check.kind:
        metadata["datasets"] = MetadataValue.md(_by_dataset(results))
    return not findings, check.gravity(ledger), metadata


def _by_dataset(results: Sequence[CheckResult]) -> str:
    lines = [
        f"| `{r.dataset_key}` | {'passed' if r.passed else r.severity} | {r.findings:,} | {r.checked_at:%Y-%m-%d %H:%MZ} |"
        for r in results
    ]
    return "\n".join(["| dataset | result | findings | checked at |", "| --- | --- | --- | --- |", *lines]) if lines else "none"


def _metadata(findings: Sequence[Finding], total: int) -> dict[str, RawMetadataValue]:
    listed = "\n".join(f"- `{f.where}`: {f.what}" for f in findings[:SHOWN_FINDINGS])
    left_out = total - len(findings[:SHOWN_FINDINGS])
    more = f"\n- and {left_out} more" if left_out else ""
    return {
        "findings": MetadataValue.int(total),
        "first": MetadataValue.md(listed + more if listed else "none"),
    }
