"""Planning: which requests a run sends for which keys.

Belongs here: one decision a key, from the ledger, the recipe, the universe and the options. Does not belong here: arithmetic on dates
(`ops.watermark`) and sending (`fetch`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ops_pipeline.clock import utc_now
from ops_pipeline.engine.asking import Told, beginning, request_of, wishes_of, within
from ops_pipeline.engine.covering import coverable, covers
from ops_pipeline.engine.gaps import datasets_with_holes, holes_of
from ops_pipeline.engine.not_in_plan import leave_out
from ops_pipeline.engine.outcome import LAYERS, OutcomeKind
from ops_pipeline.engine.own_files import Imports
from ops_pipeline.engine.pauses import pause
from ops_pipeline.engine.refetch import due_again
from ops_pipeline.errors import DatabaseMissingError
from ops_pipeline.ops.failures import answered_windows
from ops_pipeline.ops.ingestion import Stage
from ops_pipeline.ops.refusals import Refusals, plan_refusals
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.ops.tries import answers_by_period, last_asked
from ops_pipeline.ops.watermark import Window
from ops_pipeline.recipes.models import NO_TICKER
from ops_pipeline.recipes.modes import RequestMode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date, datetime

    import duckdb

    from ops_pipeline.engine.context import Context
    from ops_pipeline.engine.covering import Cover
    from ops_pipeline.ops.gaps import Gap
    from ops_pipeline.ops.ingestion import DatasetInjestion
    from ops_pipeline.ops.periods import PeriodAnswers
    from ops_pipeline.ops.sessions import Sessions
    from ops_pipeline.ops.watermark import Span
    from ops_pipeline.recipes.models import Recipe
    from ops_pipeline.recipes.universe import PartitionKey, Universe
    from ops_pipeline.sources import Request


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a run may and must do.

    Attributes:
        layers: bronze fetches, silver and gold promote.
        from_date: ask from this day instead of the next from-date; a span asked again never moves a watermark back.
        to_date: ask up to this day.
        full: ask the whole history again.
        lookback_days: instead of the recipe's.
        today: pretend that it is the end of this day.
        now: decide as at this time; None: the clock. A re-execution decides as at its original's time.
        force: ask also what the plan was said not to hold, and what the vendor did not give a short while ago.
        after_runs: runs that this one continues: what they completed is not asked again, also where a span was named.
        windows: ask for exactly these windows (None: a request without dates), whatever is stored; a key that is not among them is not
            asked, only promoted. The retry of a run gives what that run did not get.
    """

    layers: frozenset[str] = frozenset(LAYERS)
    from_date: date | None = None
    to_date: date | None = None
    full: bool = False
    lookback_days: int | None = None
    today: date | None = None
    now: datetime | None = None
    force: bool = False
    after_runs: frozenset[str] = frozenset()
    windows: Mapping[PartitionKey, Sequence[Window | None]] | None = None


@dataclass(slots=True)
class PlannedKey:
    """One key's plan.

    Attributes:
        key: the partition.
        recipe: its dataset's recipe; None when no recipe declares it.
        requests: what is sent, in order.
        pending: earlier files of the key that wait for silver or gold.
        verdict: what becomes of the key when nothing is sent and nothing waits; None when there is work.
        reason: why, in one sentence.
        again: whether the whole history is due though it was asked before: its adjustment basis is old.
        lacking: requests that are sent for a session which no answer has given yet, each with that session.
        inner: of these requests, the ids of those for holes inside covered days.
        unknown: why the calendar cannot say whether the key is up to date; empty where it can.
    """

    key: PartitionKey
    recipe: Recipe | None = None
    requests: list[Request] = field(default_factory=list)
    pending: list[DatasetInjestion] = field(default_factory=list)
    verdict: OutcomeKind | None = None
    reason: str = ""
    again: bool = False
    lacking: list[tuple[Request, date]] = field(default_factory=list)
    inner: set[str] = field(default_factory=set)
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger says about the keys of a run."""

    islands: dict[PartitionKey, list[Span]] = field(default_factory=dict)
    answers: dict[PartitionKey, datetime] = field(default_factory=dict)
    pending: dict[PartitionKey, list[DatasetInjestion]] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)
    imported: dict[str, datetime] = field(default_factory=dict)
    again: dict[PartitionKey, str] = field(default_factory=dict)
    covers: dict[PartitionKey, Cover] = field(default_factory=dict)
    periods: dict[PartitionKey, dict[date, PeriodAnswers]] = field(default_factory=dict)
    holes: dict[PartitionKey, list[Gap]] = field(default_factory=dict)
    refusals: Refusals = field(default_factory=Refusals)


@dataclass(frozen=True, slots=True)
class Question:
    """What a plan is to be made of: the keys, the universe that lists them, and the calendars by which the ledger is asked.

    Calendars are looked up outside of the database's lock: the first look at one takes seconds.
    """

    now: datetime
    universe: Universe
    planned: list[PlannedKey]
    wanted: list[PlannedKey]
    in_bulk: dict[str, Sessions]
    expecting: dict[str, tuple[Recipe, Sessions]]


def plan(context: Context, keys: Sequence[PartitionKey], options: RunOptions) -> list[PlannedKey]:
    """One plan a key, in the order given; reads the ledger once, writes nothing."""
    asked = question(context, context.universe(), keys, options)
    return decide(context, asked, ask(context, asked, options), options)


def question(context: Context, universe: Universe, keys: Sequence[PartitionKey], options: RunOptions) -> Question:
    """What can be known before the database is opened."""
    planned, wanted = [], []
    for key in dict.fromkeys(keys):
        recipe = context.catalogue.recipes.get(key.dataset)
        item = PlannedKey(key, recipe)
        planned.append(item)
        if recipe is None:
            item.verdict, item.reason = (
                OutcomeKind.NOT_APPLICABLE,
                f"no recipe declares the dataset {key.dataset}",
            )
        elif recipe.per_ticker == (key.ticker == NO_TICKER):
            item.verdict = OutcomeKind.NOT_APPLICABLE
            item.reason = f"{key.dataset} is asked for {'ticker by ticker' if recipe.per_ticker else 'as a whole, not by ticker'}"
        elif key not in universe:
            item.verdict, item.reason = (
                OutcomeKind.NOT_APPLICABLE,
                f"the universe does not list {key.ticker} for {key.dataset}",
            )
        else:
            wanted.append(item)
    now = options.now or utc_now()
    bronze, mine = "bronze" in options.layers, [item.key for item in wanted]
    in_bulk = coverable(context, universe, {key.dataset for key in mine}) if bronze else {}
    # Whoever names what is asked asks for no holes besides.
    expecting = datasets_with_holes(context, mine) if bronze and not _named(options) else {}
    return Question(now, universe, planned, wanted, in_bulk, expecting)


def _named(options: RunOptions) -> bool:
    """Whether somebody says himself which days are asked."""
    return options.full or options.from_date is not None or options.windows is not None


def decide(context: Context, asked: Question, known: Known, options: RunOptions) -> list[PlannedKey]:
    """The plans, without the database where no pause of a session that no answer gave has to be looked up."""
    universe, now, planned, wanted = asked.universe, asked.now, asked.planned, asked.wanted
    imports = Imports(context, known.imported, full=options.full)
    if "bronze" in options.layers:
        for item in wanted:
            if not _is_over(universe, item, known, options, now):
                expected = universe.expected.get(item.key)
                _decide(context, item, known, within(options, expected), now, imports, expected.since if expected else None)
        leave_out(wanted, known.refusals)
        if not options.force:
            pause(context, [item for item in wanted if item.lacking], now)
    for item in wanted:
        item.pending = known.pending.get(item.key, [])
        if "bronze" in options.layers:
            left = [r for r in item.requests if r.request_id not in known.answered]
            if len(left) < len(item.requests):
                item.requests, item.reason = (
                    left,
                    "the run that this one continues has the answer",
                )
        if item.requests or item.pending:
            item.verdict = None
        elif item.verdict is None:
            item.verdict = OutcomeKind.UNKNOWN if item.unknown else OutcomeKind.UP_TO_DATE
            item.reason = item.unknown or item.reason or "nothing waits to be promoted"
    return planned


def _by_days(recipe: Recipe) -> bool:
    return recipe.mode.has_watermark or recipe.mode is RequestMode.BY_PERIOD


def _is_over(universe: Universe, item: PlannedKey, known: Known, options: RunOptions, now: datetime) -> bool:
    """Whether a key that was answered once is asked no more, as its membership or its instrument has ended; of days, the end decides."""
    until = universe.until(item.key)
    if until is None or item.recipe is None or _by_days(item.recipe) or item.key not in known.answers:
        return False
    if until >= (options.today or now.date()):
        return False
    item.reason = f"ended on {until}"
    return True


def due_keys(context: Context, options: RunOptions) -> list[PartitionKey]:
    """The wanted partitions with something to do: requests that are due, or files that wait for silver or gold."""
    return [p.key for p in verdicts(context, list(context.universe()), options) if p.verdict is None]


def verdicts(context: Context, keys: Sequence[PartitionKey], options: RunOptions) -> list[PlannedKey]:
    """The plans of what is due, and of every other key the verdict and its reason.

    Unlike a run that a user starts, a schedule does not ask again at once: a window that was answered up to its end is not due before
    another session settles, even where the answer was empty. Where each session must have rows, the pauses of `ops.tries` decide instead.
    """
    planned = plan(context, keys, options)
    windows = {
        p.key: [Window(r.from_date, r.to_date) for r in p.requests if r.from_date and r.to_date]
        for p in planned
        if p.verdict is None and not p.lacking and not p.pending and not p.again
    }
    try:
        with context.warehouse.reading() as connection:
            answered = answered_windows(connection, [(key, window) for key, mine in windows.items() for window in mine])
    except DatabaseMissingError:
        answered = set()
    for item in planned:
        mine = windows.get(item.key)
        by_period = item.recipe is not None and item.recipe.mode is RequestMode.BY_PERIOD  # asked again only where that is due
        if mine and not by_period and len(mine) == len(item.requests) and all((item.key, w) in answered for w in mine):
            item.requests, item.verdict = [], OutcomeKind.UNKNOWN if item.unknown else OutcomeKind.UP_TO_DATE
            item.reason = item.unknown or f"answered through {mine[-1].to_date}; due when another session has settled"
    return planned


def ask(context: Context, asked: Question, options: RunOptions) -> Known:
    """All that a plan needs of the database, in one opening."""
    now, keys, universe = asked.now, [item.key for item in asked.wanted], asked.universe
    try:
        with context.warehouse.reading() as connection:
            repo = OpsRepo(connection)
            known = Known(refusals=_refusals(connection, context, options, now))
            known.holes.update(holes_of(connection, asked.expecting, now, options.today))
            undated = [k for k in keys if not context.catalogue.recipes[k.dataset].mode.has_watermark]
            if "bronze" in options.layers:
                known.islands.update(repo.islands(keys))
                known.answered.update(repo.completed_requests(options.after_runs))
                known.again.update(due_again(connection, context.catalogue, keys, now, options.today))
                if undated:
                    known.answers.update(repo.last_answers(undated))
                known.covers.update(covers(connection, context, universe, asked.in_bulk, known.islands, keys, now, options.today))
                modes = {k: context.catalogue.recipes[k.dataset] for k in keys}
                slow = [k for k, r in modes.items() if r.mode.has_watermark and r.cadence != "daily"]
                if slow:
                    known.answers.update(last_asked(connection, slow))
                periodic = [k for k, r in modes.items() if r.mode is RequestMode.BY_PERIOD]
                if periodic:
                    known.periods.update(answers_by_period(connection, periodic))
                imported = [k for k in undated if context.catalogue.recipes[k.dataset].files is not None]
                if imported:
                    known.imported.update(repo.last_requests(imported))
            for stage in (Stage.SILVER, Stage.GOLD):
                if stage.value in options.layers:
                    for row in retryable(context, repo, stage, keys):
                        known.pending.setdefault(row.partition, []).append(row)
            return known
    except DatabaseMissingError:
        return Known()


def _refusals(connection: duckdb.DuckDBPyConnection, context: Context, options: RunOptions, now: datetime) -> Refusals:
    """What the vendors' plans do not hold; whoever names days, or repeats a run, wants an answer now."""
    if "bronze" not in options.layers or options.force or _named(options):
        return Refusals()
    return plan_refusals(connection, {name: source.plan for name, source in context.catalogue.sources.items()}, now)


def retryable(context: Context, repo: OpsRepo, stage: Stage, partitions: Iterable[PartitionKey]) -> list[DatasetInjestion]:
    """What waits for the stage, without files that the recipe in force refused as a whole, as it would again, and those without gold."""
    recipes = context.catalogue.recipes
    if stage is Stage.GOLD:
        return [row for row in repo.promotable(stage, partitions) if recipes[row.dataset_key].gold is not None]
    wanted = list(partitions)
    hashes = {key: recipes[key].recipe_hash for key in {partition.dataset for partition in wanted} if key in recipes}
    return repo.promotable(stage, wanted, hashes)


def _decide(
    context: Context,
    item: PlannedKey,
    known: Known,
    options: RunOptions,
    now: datetime,
    imports: Imports,
    since: date | None,
) -> None:
    recipe = item.recipe
    if recipe is None:
        return
    if recipe.files is not None:
        if options.windows is None or item.key in options.windows:
            item.requests, item.reason = imports.requests(recipe, item.key)
        return
    if options.windows is not None:
        item.requests = [request_of(recipe, item.key, window) for window in options.windows.get(item.key, ())]
        item.reason = "asked again as it was asked" if item.requests else ""
        return
    cover = known.covers.get(item.key)
    spans: Sequence[Span] = known.islands.get(item.key, ())
    if cover:
        spans = [*spans, cover.span]
    told = Told(
        spans,
        known.answers.get(item.key),
        known.periods.get(item.key, {}),
        known.again.get(item.key),
        known.holes.get(item.key, ()),
    )
    floor = context.catalogue.sources[recipe.source].earliest
    sessions = context.calendars.of(recipe)
    found = wishes_of(beginning(recipe, since), told, sessions, options, now, floor=floor)
    item.requests = [request_of(recipe, item.key, wish.window) for wish in found.wishes]
    item.reason = cover.reason if cover and not found.wishes else found.reason
    item.again = told.again is not None and bool(item.requests)
    item.lacking = [(request, wish.lacks) for request, wish in zip(item.requests, found.wishes, strict=True) if wish.lacks]
    item.inner = {request.request_id for request, wish in zip(item.requests, found.wishes, strict=True) if wish.inner}
    if found.unknown:
        item.unknown = f"{found.reason}; the calendar {sessions.name} is known through {sessions.known_through} only"
