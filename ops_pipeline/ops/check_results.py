"""Results of the checks of the data: `ops.check_results`, one row a dataset, check and time.

Belongs here: the SQL of that table, and of the ledger as far as checks look at it. Does not belong here: the checks of rows
(`silver.checks`, `gold.checks`) and when they are made (`engine.checks`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from ops_pipeline.ops.queries import Finding
from ops_pipeline.ops.sql import DATASET_KEY_SQL, LEDGER
from ops_pipeline.ops.wanted import dicts, registered

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    import duckdb

_COLUMNS = (
    "dataset_key, check_name, layer, severity, passed, findings, first_findings, partitions, recipe_hash, checked_at, run_id"
)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check of a dataset came to; the columns of the table.

    Attributes:
        dataset_key: the dataset.
        check_name: what is true where it passed.
        layer: silver or gold.
        severity: error or warn.
        passed: whether nothing was found.
        findings: how many rows, files or partitions do not pass.
        first_findings: the first of them.
        partitions: how many were looked at; None: all.
        recipe_hash: the recipe that says what is checked.
        checked_at: when (UTC).
        run_id: the run that made it at its end; None: made by hand.
    """

    dataset_key: str
    check_name: str
    layer: str
    severity: str
    passed: bool
    findings: int
    first_findings: tuple[Finding, ...]
    partitions: int | None
    recipe_hash: str
    checked_at: datetime
    run_id: str | None


@dataclass(frozen=True, slots=True)
class Touched:
    """Rows of a partition that a run may have changed: its ticker, and the first and last day; None for rows without days."""

    ticker: str
    from_date: date | None
    to_date: date | None


def record_results(connection: duckdb.DuckDBPyConnection, results: Sequence[CheckResult]) -> None:
    """Adds results; inside the caller's transaction."""
    table = pa.table(
        {
            "dataset_key": pa.array([r.dataset_key for r in results], pa.string()),
            "check_name": pa.array([r.check_name for r in results], pa.string()),
            "layer": pa.array([r.layer for r in results], pa.string()),
            "severity": pa.array([r.severity for r in results], pa.string()),
            "passed": pa.array([r.passed for r in results], pa.bool_()),
            "findings": pa.array([r.findings for r in results], pa.int64()),
            "first_findings": pa.array(
                [json.dumps([{"where": f.where, "what": f.what} for f in r.first_findings], ensure_ascii=False) for r in results],
                pa.string(),
            ),
            "partitions": pa.array([r.partitions for r in results], pa.int64()),
            "recipe_hash": pa.array([r.recipe_hash for r in results], pa.string()),
            "checked_at": pa.array([r.checked_at for r in results], pa.timestamp("us", tz="UTC")),
            "run_id": pa.array([r.run_id for r in results], pa.string()),
        }
    )
    with registered(connection, "made_checks", table):
        connection.execute(f"INSERT INTO ops.check_results ({_COLUMNS}) SELECT {_COLUMNS} FROM made_checks")


def latest_results(connection: duckdb.DuckDBPyConnection, dataset: str | None = None) -> list[CheckResult]:
    """The latest result of every check, of one dataset or of all: what failed first, errors before warnings."""
    rows = dicts(
        connection,
        f"""SELECT {_COLUMNS} FROM ops.latest_check_results WHERE ? IS NULL OR dataset_key = ?
        ORDER BY passed, severity, dataset_key, layer DESC, check_name""",
        [dataset, dataset],
    )
    return [
        CheckResult(**{**row, "first_findings": tuple(Finding(**found) for found in json.loads(row["first_findings"]))})
        for row in rows
    ]


def silver_shapes(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Dataset key -> hash of the columns that its silver table holds."""
    return dict(connection.execute("SELECT dataset_key, columns_hash FROM ops.silver_tables").fetchall())


def touched_by(connection: duckdb.DuckDBPyConnection, run_id: str) -> dict[str, list[Touched]]:
    """Dataset key -> partitions whose silver or gold rows a run moved."""
    rows = connection.execute(
        f"""SELECT {DATASET_KEY_SQL} AS dataset_key, ticker, min(silver_from_date), max(silver_to_date) FROM {LEDGER} f
        WHERE (silver_run_id = ? AND silver_errors IS NULL) OR (gold_run_id = ? AND gold_errors IS NULL)
        GROUP BY source, f.dataset, discriminator, ticker ORDER BY ALL""",
        [run_id, run_id],
    ).fetchall()
    found: dict[str, list[Touched]] = {}
    for dataset, *about in rows:
        found.setdefault(dataset, []).append(Touched(*about))
    return found


# Findings of one dataset: `where` and `what`. Parameter: $dataset.
UNACCOUNTED_SQL = f"""SELECT run_id || '/' || file_id AS "where",
        bronze_rows || ' records read, ' || _accounted || ' accounted for' AS what
    FROM (SELECT *, silver_rows_created + silver_rows_updated + silver_rows_unchanged + silver_rows_failed + silver_rows_superseded
            + silver_rows_out_of_window AS _accounted
        FROM {LEDGER} f WHERE {DATASET_KEY_SQL} = $dataset AND silver_injest_end_time IS NOT NULL AND silver_errors IS NULL)
    WHERE bronze_rows <> _accounted"""

# Partitions of one dataset whose latest good answer is older than $oldest. Parameters: $dataset, $oldest; `expected` has the tickers.
OLD_ANSWERS_SQL = f"""SELECT ticker AS "where", 'the newest answer is of ' || strftime(max(bronze_injest_end_time), '%Y-%m-%d') AS what
    FROM {LEDGER} f WHERE {DATASET_KEY_SQL} = $dataset AND promotion_kind = 'first' AND bronze_outcome IN ('stored', 'unchanged', 'empty')
        AND ticker IN (SELECT ticker FROM expected)
    GROUP BY ticker HAVING max(bronze_injest_end_time) < $oldest::TIMESTAMPTZ"""

# Tickers of one dataset with rows that wait for gold. Parameter: $dataset.
WAITING_FOR_GOLD_SQL = f"SELECT ticker FROM {LEDGER} f WHERE {DATASET_KEY_SQL} = $dataset AND silver_can_promote"
