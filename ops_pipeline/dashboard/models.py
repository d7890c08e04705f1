"""What pages show: models that are whole, small and free of SQL.

Belongs here: dataclasses, and the arithmetic that turns ledger figures into them. Does not belong here: reading (`repository`), markup.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ops_pipeline.ops.gaps import GapKind, gaps_of
from ops_pipeline.ops.watermark import good_spans, watermark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops_pipeline.gold.series import Point
    from ops_pipeline.ops.browse import DatasetState, Day, Reject
    from ops_pipeline.ops.check_results import CheckResult as DataCheck
    from ops_pipeline.ops.drift import Drift
    from ops_pipeline.ops.failures import Failure
    from ops_pipeline.ops.gaps import Gap
    from ops_pipeline.ops.ingestion import DatasetInjestion
    from ops_pipeline.ops.queries import Finding, RunSummary
    from ops_pipeline.ops.reconcile_results import ReconcileResult
    from ops_pipeline.ops.sessions import Sessions
    from ops_pipeline.ops.watermark import Span
    from ops_pipeline.recipes.models import Recipe

FRESH, LATE, STALE, ENDED, UNKNOWN = "fresh", "late", "stale", "ended", "no schedule"

# Sessions behind: one is what an evening run has not fetched yet, a week is a fault that nobody noticed.
LATE_SESSIONS = 5


T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """A page of a list: its items, where it begins, and whether more follow."""

    items: list[T]
    offset: int
    more: bool


@dataclass(frozen=True, slots=True)
class Freshness:
    """How far a dataset reaches, and how far it should.

    Attributes:
        state: what the ledger holds.
        expected: the last day that a run could have by now; None where dates do not matter.
        behind: expected sessions after the last stored date.
        verdict: fresh, late (a few sessions), stale, ended (nothing is expected any more) or no schedule (nobody can say of which day
            it should have rows by now).
    """

    state: DatasetState
    expected: date | None
    behind: int
    verdict: str


@dataclass(frozen=True, slots=True)
class Overview:
    """The state of the home at a glance."""

    newest: RunSummary
    freshness: list[Freshness]
    failures: list[Failure]
    more_failures: bool
    days: list[Day]


@dataclass(frozen=True, slots=True)
class Step:
    """One stage of one file on a run's timeline."""

    label: str
    stage: str
    start: datetime
    end: datetime
    status: str


@dataclass(frozen=True, slots=True)
class RunDetail:
    """A run with its figures and its timeline; the files come in pages."""

    summary: RunSummary
    steps: list[Step]
    steps_left_out: bool
    in_dagster: bool


@dataclass(frozen=True, slots=True)
class Cell:
    """One partition's coverage.

    Attributes:
        sessions: expected sessions from the first covered day, or the dataset's first date, to the last one expected.
        covered: those of them that complete requests cover, less those that silver lacks where each must have rows.
        behind: expected sessions after the watermark.
        gaps: first and last session of each hole.
        refused: nothing ever came, because the vendor's plan does not hold it.
    """

    dataset: str
    ticker: str
    files: int
    failed: int
    pending: int
    from_date: date | None
    to_date: date | None
    last_answer: datetime | None
    sessions: int
    covered: int
    behind: int
    gaps: list[tuple[date, date]]
    refused: bool = False

    @property
    def share(self) -> float | None:
        """The share of expected sessions that is covered; None where none is expected."""
        return self.covered / self.sessions if self.sessions else None


@dataclass(frozen=True, slots=True)
class WatermarkStep:
    """Where the watermark stood after a file was stored."""

    known_at: datetime
    watermark: date | None
    file_id: str
    run_id: str


@dataclass(frozen=True, slots=True)
class PartitionHistory:
    """One partition: its coverage, its files, newest first, and how its watermark moved."""

    cell: Cell | None
    files: Page[DatasetInjestion]
    steps: list[WatermarkStep]


@dataclass(frozen=True, slots=True)
class Series:
    """What a chart draws."""

    dataset: str
    name: str
    kind: str  # prices, rates, observations or values
    column: str
    points: list[Point]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A check that was just made: what it says and what it found."""

    sentence: str
    findings: list[Finding]


@dataclass(frozen=True, slots=True)
class Quality:
    """What is wrong, or was refused."""

    checks: list[CheckResult]
    reasons: list[dict[str, Any]]
    rejects: Page[Reject]
    tables: list[str] = field(default_factory=list)
    drift: list[Drift] = field(default_factory=list)
    data_checks: list[DataCheck] = field(default_factory=list)
    reconciled: list[ReconcileResult] = field(default_factory=list)


def freshness(state: DatasetState, recipe: Recipe | None, sessions: Sessions | None, expected: date | None) -> Freshness:
    """How fresh a dataset is; `expected` is the last day that a run could have by now (`watermark.last_expected`)."""
    if recipe is None or sessions is None or recipe.date_column is None or expected is None:
        return Freshness(state, None, 0, UNKNOWN)
    if state.to_date is None:
        return Freshness(state, expected, 0, STALE)
    behind = sessions.count(state.to_date + timedelta(days=1), expected)
    if behind == 0:
        done = recipe.last_date is not None and state.to_date >= recipe.last_date
        return Freshness(state, expected, 0, ENDED if done else FRESH)
    return Freshness(state, expected, behind, LATE if behind <= LATE_SESSIONS else STALE)


def cell(
    row: dict[str, Any],
    spans: Sequence[Span],
    recipe: Recipe | None,
    sessions: Sessions | None,
    expected: date | None,
    holes: Sequence[Gap] = (),
) -> Cell:
    """One partition's coverage from its ledger figures, the days that its complete requests cover, and the sessions that silver lacks.

    What a gap is, `ops.gaps` decides, as for the command and for runs.
    """
    found: list[Gap] = []
    expected_count = covered = behind = 0
    if recipe is not None and sessions is not None and recipe.first_date is not None and expected is not None:
        start = recipe.first_date
        found = gaps_of(spans, start, expected, sessions, holes)
        expected_count = sessions.count(start, expected)
        covered = expected_count - sum(gap.sessions for gap in found)
        reached = watermark(spans, start)
        behind = sessions.count(reached + timedelta(days=1) if reached else start, expected)
    return Cell(
        dataset=row["dataset"],
        ticker=row["ticker"],
        files=row["files"],
        failed=row["failed_files"],
        pending=row["pending_files"],
        from_date=row["from_date"],
        to_date=row["to_date"],
        last_answer=row["last_answer"],
        sessions=expected_count,
        covered=covered,
        behind=behind,
        gaps=[(gap.from_date, gap.to_date) for gap in found if gap.kind is GapKind.HOLE],
        refused=row["to_date"] is None and row["not_in_plan_files"] > 0,
    )


def timeline(files: Sequence[DatasetInjestion], run_id: str) -> list[Step]:
    """The stages that a run moved these files through, in order of their start."""
    steps = []
    for f in files:
        label = f.dataset_key if f.ticker == "-" else f"{f.ticker} {f.dataset_key}"
        moved = (
            ("bronze", f.run_id if f.promotion_kind == "first" else None, f.bronze_outcome),
            ("silver", f.silver_run_id, "failed" if f.silver_errors else "ok"),
            ("gold", f.gold_run_id, "failed" if f.gold_errors else "ok"),
        )
        for stage, by, status in moved:
            start, end = getattr(f, f"{stage}_injest_start_time"), getattr(f, f"{stage}_injest_end_time")
            if by == run_id and start:
                steps.append(Step(label, stage, start, end or start, status))
    return sorted(steps, key=lambda s: (s.start, s.label))


def watermark_steps(files: Sequence[DatasetInjestion], first_date: date) -> list[WatermarkStep]:
    """The watermark after each of these files, in order of time; a file that moves nothing makes a flat step."""
    steps = []
    seen: list[DatasetInjestion] = []
    for f in sorted((f for f in files if f.bronze_injest_end_time), key=lambda f: (f.order, f.request_part)):
        seen.append(f)
        known = f.bronze_injest_end_time
        if known is not None:
            steps.append(WatermarkStep(known, watermark(good_spans(seen), first_date), f.file_id, f.run_id))
    return steps
