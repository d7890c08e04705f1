"""The state of a home, as one wants to know it in the morning.

Belongs here: what ran since the last scheduled time, what failed, is stale, doubtful or deferred, and the command that repairs each. Does
not belong here: how it is shown (`cli.morning`, the dashboard), queries on the ledger (`ops`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from ops_pipeline.clock import utc_now
from ops_pipeline.engine.checks import standing_results
from ops_pipeline.engine.outcome import OutcomeKind
from ops_pipeline.engine.plan import RunOptions, verdicts
from ops_pipeline.engine.repair import run_again
from ops_pipeline.ops.doubts import drift_since, refused_since
from ops_pipeline.ops.queries import RunFilter, RunSummary
from ops_pipeline.ops.reconcile_results import latest_reconcile
from ops_pipeline.publish.selection import Selection
from ops_pipeline.publish.versions import Versions
from ops_pipeline.recipes.models import NO_TICKER
from ops_pipeline.recipes.universe import PartitionKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ops_pipeline.engine.context import Context
    from ops_pipeline.settings import Settings

# Runs that one day may have; of more, the newest count.
_MOST_RUNS = 1_000
# A command that names more tickers is not typed.
_NAMED_TICKERS = 5
_SHORT_RUN_ID = 8


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be.

    Attributes:
        kind: failed, stale, doubtful, deferred, not_in_plan or unpublished.
        dataset: the dataset; None where it concerns them all.
        tickers: those concerned; none for a dataset without tickers.
        reason: one sentence.
        repair: the arguments of `ops-pipeline` that repair it, or show it where only a person can tell what to do.
    """

    kind: str
    dataset: str | None
    tickers: tuple[str, ...]
    reason: str
    repair: str


@dataclass(frozen=True, slots=True)
class Morning:
    """The state of a home.

    Attributes:
        moment: when it was looked at (UTC).
        since: the scheduled time that it is measured by: what was settled then should be stored.
        runs: runs that began since then, newest first.
        newest: the newest run of all.
        wanted: how many partitions are wanted.
        problems: what is not as it should be, gravest first.
    """

    moment: datetime
    since: datetime
    runs: list[RunSummary] = field(default_factory=list)
    newest: RunSummary | None = None
    wanted: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def requests(self) -> int:
        """Requests' answers that were asked for since then."""
        return sum(sum(run.bronze.values()) for run in self.runs)

    @property
    def seconds(self) -> float:
        """How long the runs took together."""
        return sum(run.seconds for run in self.runs)

    @property
    def counts(self) -> dict[str, int]:
        """Partitions, or things that concern all of them, by kind of problem."""
        found: Counter[str] = Counter()
        for problem in self.problems:
            found[problem.kind] += max(1, len(problem.tickers))
        return dict(found)

    @property
    def is_well(self) -> bool:
        """Whether nothing failed and nothing is stale; what is deferred comes by itself, and what is not in a plan does not."""
        return not {"failed", "stale"} & self.counts.keys()


def last_tick(settings: Settings, moment: datetime) -> datetime:
    """The newest time, not after `moment`, at which the daily schedule was to start (UTC)."""
    local = moment.astimezone(ZoneInfo(settings.schedule_timezone))
    tick = local.replace(hour=settings.schedule_hour, minute=0, second=0, microsecond=0)
    if tick > local:
        tick -= timedelta(days=1)
    return tick.astimezone(UTC)


def look(context: Context, moment: datetime | None = None) -> Morning:
    """Looks at a home; reads only.

    Args:
        context: the home. Where its settings pretend a day, everything settled by its end should be stored.
        moment: now, by default.

    Raises:
        UserError: when the universe or the ledger cannot be read.
    """
    now = moment or utc_now()
    since = last_tick(context.settings, now)
    recent = context.service.list_runs(RunFilter(since=since.date()), limit=_MOST_RUNS)
    newest = next(iter(recent or context.service.list_runs(limit=1)), None)
    wanted = list(context.universe())
    # Where a day is pretended, its end decides what is settled.
    options = RunOptions(today=context.settings.today, now=None if context.settings.today else since)
    planned = verdicts(context, wanted, options)
    beyond = {item.key: item.reason for item in planned if item.verdict is OutcomeKind.NOT_IN_PLAN}
    failed, deferred = _failures(context, set(wanted) - beyond.keys())
    # What failed or was deferred is due as well, and told once.
    told = {key for problem in [*failed, *deferred] for key in _keys(problem)}
    due = (item.key for item in planned if item.verdict is None and item.key not in told)
    stale = _by_dataset("stale", "should be stored by now and is not", due)
    return Morning(
        moment=now,
        since=since,
        runs=[run for run in recent if run.started and run.started >= since],
        newest=newest,
        wanted=len(wanted),
        problems=[
            *failed,
            *stale,
            *_doubtful(context, since),
            *_unsound(context, {k.dataset for k in wanted}),
            *_not_fitting(context),
            *deferred,
            *_not_in_plan(beyond),
            *_unpublished(context, newest),
        ],
    )


def _failures(context: Context, wanted: set[PartitionKey]) -> tuple[list[Problem], list[Problem]]:
    """What failed and what was deferred, put together where dataset, reason and run are the same."""
    groups: dict[tuple[bool, str, str, str], list[str]] = {}
    for failure in context.service.latest_failures():
        if failure.partition in wanted and not failure.not_in_plan:
            reason = f"{failure.layer}: {failure.reason}"
            groups.setdefault((failure.deferred, failure.partition.dataset, reason, failure.run_id), []).append(
                failure.partition.ticker
            )
    found: tuple[list[Problem], list[Problem]] = ([], [])
    for (deferred, dataset, reason, run_id), tickers in groups.items():
        kind = "deferred" if deferred else "failed"
        found[deferred].append(Problem(kind, dataset, _named(tickers), reason, f"retry {run_id[:_SHORT_RUN_ID]}"))
    return found


def _not_in_plan(reasons: Mapping[PartitionKey, str]) -> list[Problem]:
    """What the vendors' plans do not hold, put together where dataset and reason are the same."""
    groups: dict[tuple[str, str], list[str]] = {}
    for key, reason in reasons.items():
        groups.setdefault((key.dataset, reason), []).append(key.ticker)
    return [
        Problem("not_in_plan", dataset, _named(tickers), reason, f"due --dataset {dataset} --verdict not_in_plan")
        for (dataset, reason), tickers in groups.items()
    ]


def _doubtful(context: Context, since: datetime) -> list[Problem]:
    """What came in since then and was refused, or was not expected."""
    with context.warehouse.reading() as connection:
        refused, drifted = refused_since(connection, since), drift_since(connection, since)
    found = [
        Problem(
            "doubtful",
            it.dataset,
            _named(it.tickers),
            f"records that could not be typed: {it.records:,}",
            f"rejects list --dataset {it.dataset}",
        )
        for it in refused
    ]
    for dataset, fields in drifted.items():
        reason = f"fields that the recipe does not know: {', '.join(fields)}"
        found.append(Problem("doubtful", dataset, (), reason, f"datasets show {dataset}"))
    return found


def _unsound(context: Context, wanted: set[str]) -> list[Problem]:
    """Checks of wanted datasets' rows whose latest result is that something is wrong, or should be looked at."""
    with context.warehouse.reading() as connection:
        found = [r for r in standing_results(context, connection) if not r.passed and r.dataset_key in wanted]
    return [
        Problem(
            "doubtful",
            r.dataset_key,
            (),
            f"check {r.check_name} ({r.severity}): {r.findings:,}, first {r.first_findings[0].where}: {r.first_findings[0].what}",
            f"checks --dataset {r.dataset_key}",
        )
        for r in found
    ]


def _not_fitting(context: Context) -> list[Problem]:
    """What the newest reconcile found and did not mend."""
    with context.warehouse.reading() as connection:
        found = [r for r in latest_reconcile(connection) if r.left]
    return [
        Problem(
            "doubtful",
            None,
            (),
            f"{r.kind.value.replace('_', ' ')}: {r.left:,}, first {r.first_findings[0].where}: {r.first_findings[0].what}",
            "reconcile",
        )
        for r in found
    ]


def _by_dataset(kind: str, reason: str, keys: Iterable[PartitionKey]) -> list[Problem]:
    tickers: dict[str, list[str]] = {}
    for key in keys:
        tickers.setdefault(key.dataset, []).append(key.ticker)
    return [Problem(kind, dataset, _named(mine), reason, run_again(dataset, _few(mine))) for dataset, mine in tickers.items()]


def _few(tickers: Sequence[str]) -> Sequence[str]:
    """The tickers, where a command that names them all can be read; else none, which means all."""
    return tickers if len(tickers) <= _NAMED_TICKERS else ()


def _unpublished(context: Context, newest: RunSummary | None) -> list[Problem]:
    """Whether what is published is older than what is stored."""
    if Selection(context.settings.publish).nothing or newest is None or newest.ended is None:
        return []
    manifest = Versions(context.settings.published_path).current_manifest()
    if manifest is not None and manifest.created_at >= newest.ended:
        return []
    changed = sum(newest.silver_rows.get(n, 0) for n in ("created", "updated", "deleted")) + sum(newest.gold_rows.values())
    if manifest is not None and not changed:
        return []
    since = f"since {manifest.created_at:%Y-%m-%d %H:%MZ}" if manifest else "yet"
    return [Problem("unpublished", None, (), f"silver and gold were not published {since}", "publish")]


def _named(tickers: Iterable[str]) -> tuple[str, ...]:
    return tuple(t for t in tickers if t != NO_TICKER)


def _keys(problem: Problem) -> list[PartitionKey]:
    return [PartitionKey(ticker, problem.dataset or "") for ticker in problem.tickers or (NO_TICKER,)]
