"""Figures about runs and files for people, computed on demand.

Belongs here: read-only queries with filters, pages and explicit limits. Does not belong here: anything that a run decides on (`repo`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ops_pipeline.ops.spans import islands_of
from ops_pipeline.ops.sql import DATASET_KEY_SQL, LEDGER, NOT_IN_PLAN_SQL, REBUILT_WITHOUT_SQL, STATUS_SQL
from ops_pipeline.ops.wanted import dicts, registered, whole_rows
from ops_pipeline.ops.worst import worst
from ops_pipeline.recipes.universe import PartitionKey

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    import duckdb

    from ops_pipeline.ops.ingestion import DatasetInjestion

# One more than a command's --limit takes, which asks for one row more to know whether there are any.
MAX_LIMIT = 10_001

_STAGES = ("bronze", "silver", "gold")
_RUN_OF = {"bronze": "run_id", "silver": "silver_run_id", "gold": "gold_run_id"}
_FAILED_IN = {
    "bronze": f"bronze_outcome = 'failed' AND NOT {NOT_IN_PLAN_SQL}",
    "silver": "silver_errors IS NOT NULL",
    "gold": "gold_errors IS NOT NULL",
}


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs or files are wanted; None means any.

    Attributes:
        since: runs that started on or after this day (UTC).
        until: runs that started on or before this day (UTC).
        dataset: a dataset key.
        ticker: a ticker.
        source: a source's name.
        discriminator: a dataset's variant.
        only_failures: only runs with a failure, or files that failed in the run that is asked about (in the stage, where one is given).
        stage: bronze, silver or gold: files that the run moved in this stage (`run_files` alone).
        status: a file's status, see `DatasetInjestion.status` (`run_files` alone).
    """

    since: date | None = None
    until: date | None = None
    dataset: str | None = None
    ticker: str | None = None
    source: str | None = None
    discriminator: str | None = None
    only_failures: bool = False
    stage: str | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run's figures; counts are files or rows, sizes bytes, times UTC.

    A file counts in each stage in the run that moved it there, so a file that one run fetched and the next one promoted counts in both.
    """

    run_id: str
    started: datetime | None
    ended: datetime | None
    files: int
    datasets: int
    tickers: int
    bronze: dict[str, int] = field(default_factory=dict)
    bronze_rows: int = 0
    bronze_bytes: int = 0
    silver_files: int = 0
    silver_failed_files: int = 0
    silver_rows: dict[str, int] = field(default_factory=dict)
    gold_files: int = 0
    gold_failed_files: int = 0
    gold_rows: dict[str, int] = field(default_factory=dict)

    @property
    def failed_files(self) -> int:
        """Failures over all stages."""
        return self.bronze.get("failed", 0) + self.silver_failed_files + self.gold_failed_files

    @property
    def seconds(self) -> float:
        """From the first request to the last step recorded."""
        return (self.ended - self.started).total_seconds() if self.started and self.ended else 0.0

    @property
    def status(self) -> str:
        """The worst that happened: failed, unfinished (an answer is still owed), deferred, not_in_plan; ok where nothing of these did."""
        bad = {"failed": self.failed_files, "unfinished": self.bronze.get("asked", 0)}
        bad |= {word: self.bronze.get(word, 0) for word in ("deferred", "not_in_plan")}
        return worst(bad | {"ok": 1})


def _own_bronze(stage: str) -> str:
    """The condition that leaves out the copied bronze columns of a later promotion's row: its run fetched nothing."""
    return " AND promotion_kind = 'first'" if stage == "bronze" else ""


def _moves(columns: str, where: str, join: str = "") -> str:
    """One row a stage of a file, under the run that did it (`the_run`); `{stage}` and `{run}` in the texts are the stage's."""
    return " UNION ALL ".join(
        f"SELECT {_RUN_OF[s]} AS the_run, {columns} FROM {LEDGER} {join} WHERE {_RUN_OF[s]} IS NOT NULL{_own_bronze(s)} AND {where}".format(
            stage=s, run=_RUN_OF[s], failed=_FAILED_IN[s]
        )
        for s in _STAGES
    )


_OUTCOMES = ("asked", "stored", "unchanged", "empty", "failed", "not_in_plan", "deferred")
_OUTCOME = f"CASE WHEN {NOT_IN_PLAN_SQL} THEN 'not_in_plan' ELSE bronze_outcome END"
_SILVER = ("created", "updated", "unchanged", "failed", "superseded", "out_of_window", "deleted")
_GOLD = ("created", "updated", "failed")


def _in_stage(moment: str) -> str:
    return "CASE stage " + " ".join(f"WHEN '{s}' THEN {s}_injest_{moment}_time" for s in _STAGES) + " END"


_FIGURES = ",\n".join(
    [
        "the_run AS run_id",
        f"min({_in_stage('start')}) AS started",
        f"max({_in_stage('end')}) AS ended",
        "count(DISTINCT coalesce(origin_run_id, run_id) || file_id) AS files",
        "count(DISTINCT source || '.' || dataset || '.' || discriminator) AS datasets",
        "count(DISTINCT ticker) FILTER (ticker <> '-') AS tickers",
        *[f"count(*) FILTER (stage = 'bronze' AND {_OUTCOME} = '{o}') AS bronze_{o}" for o in _OUTCOMES],
        "coalesce(sum(bronze_rows) FILTER (stage = 'bronze'), 0)::BIGINT AS bronze_rows",
        "coalesce(sum(bronze_bytes) FILTER (stage = 'bronze'), 0)::BIGINT AS bronze_bytes",
        "count(*) FILTER (stage = 'silver' AND silver_errors IS NULL) AS silver_files",
        "count(*) FILTER (stage = 'silver' AND silver_errors IS NOT NULL) AS silver_failed_files",
        *[f"coalesce(sum(silver_rows_{c}) FILTER (stage = 'silver'), 0)::BIGINT AS silver_rows_{c}" for c in _SILVER],
        "count(*) FILTER (stage = 'gold' AND gold_errors IS NULL) AS gold_files",
        "count(*) FILTER (stage = 'gold' AND gold_errors IS NOT NULL) AS gold_failed_files",
        *[f"coalesce(sum(gold_rows_{c}) FILTER (stage = 'gold'), 0)::BIGINT AS gold_rows_{c}" for c in _GOLD],
    ]
)


def _summary(row: dict[str, Any]) -> RunSummary:
    return RunSummary(
        **{k: row[k] for k in RunSummary.__dataclass_fields__ if k in row},
        bronze={o: row[f"bronze_{o}"] for o in _OUTCOMES if row[f"bronze_{o}"]},
        silver_rows={c: row[f"silver_rows_{c}"] for c in _SILVER},
        gold_rows={c: row[f"gold_rows_{c}"] for c in _GOLD},
    )


def _summaries(connection: duckdb.DuckDBPyConnection, runs: list[str]) -> list[RunSummary]:
    """The runs' figures, in their order. The rows are found by the run columns alone: no other run's row is read whole."""
    moved = _moves("rowid AS number, '{stage}' AS stage", "true", "SEMI JOIN wanted_runs ON wanted_runs.run = {run}")
    with registered(connection, "wanted_runs", pa.table({"run": pa.array(runs, pa.string())})):
        rows = dicts(
            connection,
            f"""WITH moved AS MATERIALIZED ({moved})
            SELECT {_FIGURES} FROM {LEDGER} f JOIN moved ON f.rowid = moved.number GROUP BY the_run""",
            [],
        )
    found = {row["run_id"]: _summary(row) for row in rows}
    return [found[run] for run in runs if run in found]


def run_summary(connection: duckdb.DuckDBPyConnection, run_id: str) -> RunSummary | None:
    """One run's figures; None when no file knows the run."""
    return next(iter(_summaries(connection, [run_id])), None)


def find_runs(connection: duckdb.DuckDBPyConnection, prefix: str, *, limit: int = 20) -> list[str]:
    """Ids of runs that begin with a text, in order."""
    runs = " UNION ".join(f"SELECT {column} AS the_run FROM {LEDGER}" for column in _RUN_OF.values())
    rows = dicts(
        connection,
        f"SELECT the_run FROM ({runs}) WHERE starts_with(the_run, ?) ORDER BY the_run LIMIT ?",
        [prefix, _limit(limit)],
    )
    return [row["the_run"] for row in rows]


def list_runs(
    connection: duckdb.DuckDBPyConnection, wanted: RunFilter | None = None, *, limit: int = 20, offset: int = 0
) -> list[RunSummary]:
    """A page of runs, newest first."""
    wanted = wanted or RunFilter()
    where, parameters = file_conditions(wanted)
    few = bool(parameters)
    parameters *= len(_STAGES)
    having = ["true"]
    if wanted.since:
        having.append("started >= ?::DATE")
        parameters.append(wanted.since)
    if wanted.until:
        having.append("started < ?::DATE + 1")
        parameters.append(wanted.until)
    if few:  # few rows: their figures cost no more than finding the page
        if wanted.only_failures:
            having.append("bronze_failed + silver_failed_files + gold_failed_files > 0")
        moved = _moves("'{stage}' AS stage, *", where)
        rows = dicts(
            connection,
            f"""SELECT * FROM (SELECT {_FIGURES} FROM ({moved}) GROUP BY the_run) WHERE {" AND ".join(having)}
            ORDER BY started DESC NULLS LAST, run_id LIMIT ? OFFSET ?""",
            [*parameters, _limit(limit), max(0, offset)],
        )
        return [_summary(row) for row in rows]
    failed = ""
    if wanted.only_failures:
        failed = ", {failed} AS failed"
        having.append("bool_or(failed)")
    found = connection.execute(
        f"""SELECT the_run, min(stage_started) AS started FROM ({_moves("{stage}_injest_start_time AS stage_started" + failed, "true")})
        GROUP BY the_run HAVING {" AND ".join(having)} ORDER BY started DESC NULLS LAST, the_run LIMIT ? OFFSET ?""",
        [*parameters, _limit(limit), max(0, offset)],
    ).to_arrow_table()
    return _summaries(connection, found["the_run"].to_pylist()) if len(found) else []


def run_files(
    connection: duckdb.DuckDBPyConnection, run_id: str, wanted: RunFilter | None = None, *, limit: int = 100, offset: int = 0
) -> list[DatasetInjestion]:
    """A page of the files that a run fetched or promoted, in order of dataset, ticker and time."""
    wanted = wanted or RunFilter()
    where, parameters = file_conditions(wanted)
    stages = [s for s in _STAGES if wanted.stage in (None, s)]
    moved = [
        f"({_RUN_OF[s]} = ?{_own_bronze(s) if wanted.stage else ''}{f' AND {_FAILED_IN[s]}' if wanted.only_failures else ''})"
        for s in stages
    ]
    conditions = [where, "(" + (" OR ".join(moved) or "false") + ")"]
    parameters += [run_id] * len(stages)
    if wanted.status:
        conditions.append(f"{STATUS_SQL} = ?")
        parameters.append(wanted.status)
    found = connection.execute(
        f"""SELECT rowid FROM {LEDGER} WHERE {" AND ".join(conditions)}
        ORDER BY source, dataset, discriminator, ticker, bronze_injest_start_time, request_part, run_id, file_id LIMIT ? OFFSET ?""",
        [*parameters, _limit(limit), max(0, offset)],
    ).fetchall()
    return whole_rows(connection, [number for (number,) in found])


def coverage(
    connection: duckdb.DuckDBPyConnection,
    wanted: RunFilter | None = None,
    *,
    tickers: Sequence[str] | None = None,
    limit: int = 1000,
    offset: int = 0,
    holes: bool = True,
) -> list[dict[str, Any]]:
    """A page of partitions: files, first and last good date, holes between them, last answer, and files that stand in the way.

    `tickers` keeps the partitions of these alone; without `holes`, the dear part, they are not counted.

    A hole is a span of days between two covered ones that no complete good request covers (`watermark.islands`).
    """
    where, parameters = file_conditions(wanted or RunFilter())
    if tickers is not None:
        where += " AND ticker IN (SELECT unnest(?::TEXT[]))"
        parameters.append(list(tickers))
    rows = dicts(
        connection,
        f"""SELECT {DATASET_KEY_SQL} AS dataset, ticker, count(*) AS files,
            min(bronze_from_date) AS from_date, max(bronze_to_date) AS to_date, 0 AS holes,
            max(bronze_injest_end_time) AS last_answer, count(*) FILTER ({STATUS_SQL} = 'failed') AS failed_files,
            count(*) FILTER ({STATUS_SQL} = 'pending') AS pending_files,
            count(*) FILTER ({STATUS_SQL} = 'not_in_plan') AS not_in_plan_files
        FROM {LEDGER} f WHERE promotion_kind = 'first' AND {where}
        GROUP BY source, f.dataset, discriminator, ticker ORDER BY source, f.dataset, discriminator, ticker LIMIT ? OFFSET ?""",
        [*parameters, _limit(limit), max(0, offset)],
    )
    covered = islands_of(connection, (PartitionKey(row["ticker"], row["dataset"]) for row in rows)) if holes else {}
    for row in rows if holes else []:
        row["holes"] = max(0, len(covered.get(PartitionKey(row["ticker"], row["dataset"]), ())) - 1)
    return rows


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be: where, and what."""

    where: str
    what: str


def unaccounted_files(connection: duckdb.DuckDBPyConnection, *, limit: int = 100) -> list[Finding]:
    """Promoted files whose records are not all accounted for (the sum rule of the ledger)."""
    total = " + ".join(f"silver_rows_{c}" for c in _SILVER if c != "deleted")
    rows = dicts(
        connection,
        f"""SELECT run_id, file_id, bronze_rows, {total} AS accounted FROM {LEDGER}
        WHERE silver_injest_end_time IS NOT NULL AND silver_errors IS NULL AND bronze_rows <> {total} LIMIT ?""",
        [_limit(limit)],
    )
    return [
        Finding(f"{r['run_id']}/{r['file_id']}", f"{r['bronze_rows']} records read, {r['accounted']} accounted for") for r in rows
    ]


def miscounted_tables(connection: duckdb.DuckDBPyConnection) -> list[Finding]:
    """Silver tables whose number of rows is not what each file's latest promotion created less what it deleted."""
    rows = dicts(
        connection,
        f"""WITH latest AS (SELECT DISTINCT ON (coalesce(origin_run_id, run_id), file_id, silver_tablename) * FROM {LEDGER}
            WHERE silver_tablename IN (SELECT silver_tablename FROM ops.silver_tables) AND silver_errors IS NULL
                AND silver_injest_end_time IS NOT NULL AND (run_id, file_id) NOT IN ({REBUILT_WITHOUT_SQL})
            ORDER BY silver_injest_end_time DESC)
        SELECT silver_tablename AS name, sum(silver_rows_created - silver_rows_deleted)::BIGINT AS expected FROM latest
        GROUP BY silver_tablename""",
        [],
    )
    findings = []
    for row in rows:
        # The name comes from ops.silver_tables, which only the pipeline writes, from validated recipe names.
        found = dicts(connection, f"SELECT count(*) AS n FROM {row['name']}", [])[0]["n"]
        if found != row["expected"]:
            findings.append(Finding(row["name"], f"{found} rows, the ledger says {row['expected']}"))
    return findings


def file_conditions(wanted: RunFilter) -> tuple[str, list[Any]]:
    """The condition on a file's row that a filter's dataset, ticker, source and discriminator make, with its parameters."""
    conditions: list[str] = ["true"]
    parameters: list[Any] = []
    if wanted.dataset:
        conditions.append(f"{DATASET_KEY_SQL} = ?")
        parameters.append(wanted.dataset)
    for column in ("ticker", "source", "discriminator"):
        value = getattr(wanted, column)
        if value:
            conditions.append(f"{column} = ?")
            parameters.append(value)
    return " AND ".join(conditions), parameters


def _limit(limit: int) -> int:
    return max(1, min(limit, MAX_LIMIT))
