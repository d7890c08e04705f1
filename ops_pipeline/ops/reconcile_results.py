"""What a reconcile found: `ops.reconcile_results`, one row a kind of finding and time.

Belongs here: the kinds of findings, a finding, and the SQL of that table. Does not belong here: looking (`maintenance.reconcile`) and the
queries on the ledger that it takes (`ops.reconciling`).
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING

from ops_pipeline.ops.wanted import dicts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import duckdb

KEPT_FINDINGS = 100


class Kind(StrEnum):
    """What does not fit together, in the order in which it is told."""

    SCHEMA = "schema_out_of_step"
    OPEN = "requests_left_open"
    UNNAMED = "files_without_rows"
    MISSING = "rows_without_files"
    DAMAGED = "bodies_of_another_hash"
    LEFTOVER = "temporary_leftovers"
    UNKNOWN = "rows_of_unknown_files"
    MISCOUNTED = "counts_that_do_not_add_up"

    @property
    def about(self) -> str:
        """What is true where nothing was found."""
        return _ABOUT[self][0]

    @property
    def unit(self) -> str:
        """What was counted as looked at, one of them."""
        return _ABOUT[self][1]

    @property
    def units(self) -> str:
        """The same, several of them."""
        return "bodies" if self is Kind.DAMAGED else f"{self.unit}s"

    @property
    def is_grave(self) -> bool:
        """Whether what is stored is wrong or in danger; of other kinds the next run, or nobody, need take notice."""
        return self not in (Kind.OPEN, Kind.UNNAMED, Kind.LEFTOVER)


_ABOUT = {
    Kind.SCHEMA: ("the database has the migrations, columns and tables that the code knows", "migration"),
    Kind.OPEN: ("no request waits for the answer of a run that is dead", "request"),
    Kind.UNNAMED: ("every bronze file is named by a row of the ledger", "file"),
    Kind.MISSING: ("every file that the ledger names is there", "file"),
    Kind.DAMAGED: ("every bronze file holds the body whose hash the ledger has", "body"),
    Kind.LEFTOVER: ("nothing temporary is left of what is over", "place"),
    Kind.UNKNOWN: ("every row of silver and gold names a file that the ledger knows", "table"),
    Kind.MISCOUNTED: ("the ledger's counts add up, and are those of silver, its history and its refused records", "table"),
}


@dataclass(slots=True)
class Discrepancy:
    """Something that does not fit together.

    Attributes:
        kind: of which kind.
        where: the file, row or table.
        what: one sentence.
        repair: what to do about it.
        fixable: whether `--fix` mends it without a danger to anything stored.
        fixed: whether it was mended.
    """

    kind: Kind
    where: str
    what: str
    repair: str
    fixable: bool = False
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """A finding as the table keeps it; the fields are those of `Discrepancy`."""

    where: str
    what: str
    repair: str
    fixed: bool


@dataclass(frozen=True, slots=True)
class ReconcileResult:
    """What a reconcile found of one kind; the columns of the table.

    Attributes:
        kind: of which kind.
        findings: how many.
        fixed: how many of them were mended at once.
        first_findings: the first of them, those that are left first.
        looked_at: how many files, rows or tables were compared.
        left_out: how many more there are that were not looked at.
        checked_at: when (UTC).
    """

    kind: Kind
    findings: int
    fixed: int
    first_findings: tuple[Kept, ...]
    looked_at: int
    left_out: int
    checked_at: datetime

    @property
    def left(self) -> int:
        """Findings that were not mended."""
        return self.findings - self.fixed


_COLUMNS = ", ".join(f.name for f in fields(ReconcileResult))


def results_of(
    found: Sequence[Discrepancy], looked_at: dict[Kind, int], left_out: dict[Kind, int], checked_at: datetime
) -> list[ReconcileResult]:
    """One result for each kind that was looked at, in the order of the kinds."""
    counts, fixed = Counter(d.kind for d in found), Counter(d.kind for d in found if d.fixed)
    made = []
    for kind in Kind:
        if kind in looked_at:
            mine = sorted((d for d in found if d.kind is kind), key=lambda d: d.fixed)[:KEPT_FINDINGS]
            kept = tuple(Kept(d.where, d.what, d.repair, d.fixed) for d in mine)
            made.append(
                ReconcileResult(kind, counts[kind], fixed[kind], kept, looked_at[kind], left_out.get(kind, 0), checked_at)
            )
    return made


def record_reconcile(connection: duckdb.DuckDBPyConnection, results: Sequence[ReconcileResult]) -> None:
    """Keeps results, inside the caller's transaction."""
    for r in results:
        connection.execute(
            f"INSERT INTO ops.reconcile_results ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                r.kind.value, r.findings, r.fixed, json.dumps([asdict(kept) for kept in r.first_findings]), r.looked_at, r.left_out,
                r.checked_at,
            ],
        )  # fmt: skip


def latest_reconcile(connection: duckdb.DuckDBPyConnection) -> list[ReconcileResult]:
    """The latest result of every kind that ever was looked at, in the order of the kinds."""
    found = [
        ReconcileResult(
            **{
                **row,
                "kind": Kind(row["kind"]),
                "first_findings": tuple(Kept(**one) for one in json.loads(row["first_findings"])),
            }
        )
        for row in dicts(connection, f"SELECT {_COLUMNS} FROM ops.latest_reconcile_results")
    ]
    order = list(Kind)
    return sorted(found, key=lambda r: order.index(r.kind))
