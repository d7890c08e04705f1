"""What somebody decided about rows of silver: `ops.decisions`, a neighbour of the ledger.

Belongs here: the SQL of that table. Does not belong here: what a decision does to silver (`silver.decisions`), and making one
(`engine.decisions`).

The ledger's row of a decision (`DatasetInjestion.decided`) has its place among the files of its partition; this table tells the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from ops_pipeline.ops.wanted import dicts, registered

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date, datetime

    import duckdb

DECISIONS = "ops.decisions"

DecisionKind = Literal["hide", "restore"]


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision about one row of silver; the columns of the table.

    Attributes:
        run_id: the command that decided.
        file_id: the decision about one partition; with `run_id` its row in the ledger.
        dataset_key: the row's dataset.
        ticker: of its partition.
        row_key: its key's other columns, as JSON.
        day: its date.
        decision: hide or restore.
        reason: why, in the words of whoever decided.
        decided_by: the account that gave the command.
        decided_at: since when it counts (UTC).
    """

    run_id: str
    file_id: str
    dataset_key: str
    ticker: str
    row_key: str
    day: date
    decision: DecisionKind
    reason: str | None
    decided_by: str | None
    decided_at: datetime


_COLUMNS = ", ".join(f.name for f in fields(Decision))
_KINDS = {"day": pa.date32(), "decided_at": pa.timestamp("us", tz="UTC")}


def record_decisions(connection: duckdb.DuckDBPyConnection, decisions: Sequence[Decision]) -> None:
    """Adds decisions; inside the caller's transaction. Those that are there already stay as they are."""
    table = pa.table(
        {f.name: pa.array([getattr(d, f.name) for d in decisions], _KINDS.get(f.name, pa.string())) for f in fields(Decision)}
    )
    with registered(connection, "made_decisions", table):
        connection.execute(f"INSERT OR IGNORE INTO {DECISIONS} ({_COLUMNS}) SELECT {_COLUMNS} FROM made_decisions")


def decisions_of(connection: duckdb.DuckDBPyConnection, files: Iterable[tuple[str, str]]) -> list[Decision]:
    """The decisions whose ledger rows have, or had first, these (run_id, file_id), row by row."""
    keys = list(files)
    table = pa.table(
        {"run_id": pa.array([k[0] for k in keys], pa.string()), "file_id": pa.array([k[1] for k in keys], pa.string())}
    )
    with registered(connection, "decided_files", table):
        rows = dicts(
            connection,
            f"SELECT {_COLUMNS} FROM {DECISIONS} SEMI JOIN decided_files USING (run_id, file_id) ORDER BY run_id, file_id, row_key",
        )
    return [Decision(**row) for row in rows]
