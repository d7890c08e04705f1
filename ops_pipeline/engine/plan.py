"""Planning: which requests a run sends for which keys.

Belongs here: one decision a key, from the ledger, the recipe, the universe and the options. Does not belong here: arithmetic on dates
(`ops.watermark`) and sending (`fetch`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from ops_pipeline.clock import utc_now
from ops_pipeline.engine.outcome import LAYERS, OutcomeKind
from ops_pipeline.engine.own_files import Imports
from ops_pipeline.engine.refetch import due_again
from ops_pipeline.errors import DatabaseMissingError
from ops_pipeline.ops.failures import answered_windows
from ops_pipeline.ops.ingestion import Stage
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.ops.watermark import (
    Window,
    due_by_cadence,
    last_expected,
    next_windows,
    start_date,
)
from ops_pipeline.recipes.models import NO_TICKER, RequestMode
from ops_pipeline.sources import Request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime

    from ops_pipeline.engine.context import Context
    from ops_pipeline.ops.ingestion import DatasetInjestion
    from ops_pipeline.ops.watermark import Span
    from ops_pipeline.recipes.models import Recipe
    from ops_pipeline.recipes.universe import Expected, PartitionKey, Universe


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
        verdict: UP_TO_DATE or NOT_APPLICABLE when nothing is sent and nothing waits; None when there is work.
        reason: why, in one sentence.
        again: whether the whole history is due though it was asked before: its adjustment basis is old.
    """

    key: PartitionKey
    recipe: Recipe | None = None
    requests: list[Request] = field(default_factory=list)
    pending: list[DatasetInjestion] = field(default_factory=list)
    verdict: OutcomeKind | None = None
    reason: str = ""
    again: bool = False


@dataclass(frozen=True, slots=True)
class _Known:
    """What the ledger says about the keys of a run."""

    islands: dict[PartitionKey, list[Span]] = field(default_factory=dict)
    answers: dict[PartitionKey, datetime] = field(default_factory=dict)
    pending: dict[PartitionKey, list[DatasetInjestion]] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)
    imported: dict[str, datetime] = field(default_factory=dict)
    again: dict[PartitionKey, str] = field(default_factory=dict)


def plan(context: Context, keys: Sequence[PartitionKey], options: RunOptions) -> list[PlannedKey]:
    """One plan a key, in the order given; reads the ledger once, writes nothing."""
    universe = context.universe()
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
    known = _ask_ledger(context, [item.key for item in wanted], options, now)
    imports = Imports(context, known.imported, full=options.full)
    for item in wanted:
        item.pending = known.pending.get(item.key, [])
        if "bronze" in options.layers and not _is_over(universe, item, known, options, now):
            expected = universe.expected.get(item.key)
            _decide(context, item, known, _within(options, expected), now, imports, expected.since if expected else None)
            left = [r for r in item.requests if r.request_id not in known.answered]
            if len(left) < len(item.requests):
                item.requests, item.reason = (
                    left,
                    "the run that this one continues has the answer",
                )
        if not item.requests and not item.pending and item.verdict is None:
            item.verdict = OutcomeKind.UP_TO_DATE
            item.reason = item.reason or "nothing waits to be promoted"
    return planned


def _within(options: RunOptions, expected: Expected | None) -> RunOptions:
    """The options for a key of which data are expected up to a day only: nothing behind it is asked."""
    if expected is None or expected.until is None:
        return options
    return replace(options, to_date=min(expected.until, options.to_date or expected.until))


def _beginning(recipe: Recipe, since: date | None) -> Recipe:
    """The recipe with its first date where a symbol's own days begin."""
    if since is None or recipe.first_date is None or since <= recipe.first_date:
        return recipe
    return recipe.model_copy(update={"first_date": since})


def _is_over(universe: Universe, item: PlannedKey, known: _Known, options: RunOptions, now: datetime) -> bool:
    """Whether a key that was answered once is asked no more, as its membership or its instrument has ended; of windows, the end decides."""
    until = universe.until(item.key)
    if until is None or item.recipe is None or item.recipe.mode.has_watermark or item.key not in known.answers:
        return False
    if until >= (options.today or now.date()):
        return False
    item.reason = f"ended on {until}"
    return True


def due_keys(context: Context, options: RunOptions) -> list[PartitionKey]:
    """The wanted partitions with something to do: a window or snapshot that is due, or files that wait for silver or gold.

    A window that was answered up to its end is not due again before another session settles, even where the answer was empty.
    """
    waiting = [p for p in plan(context, list(context.universe()), options) if p.verdict is None]
    windows = {p.key: [Window(r.from_date, r.to_date) for r in p.requests if r.from_date and r.to_date] for p in waiting}
    try:
        with context.warehouse.reading() as connection:
            answered = answered_windows(connection, [(key, window) for key, mine in windows.items() for window in mine])
    except DatabaseMissingError:
        answered = set()
    return [
        p.key
        for p in waiting
        if p.pending
        or p.again
        or len(windows[p.key]) < len(p.requests)
        or any((p.key, w) not in answered for w in windows[p.key])
    ]


def _ask_ledger(context: Context, keys: list[PartitionKey], options: RunOptions, now: datetime) -> _Known:
    try:
        with context.warehouse.reading() as connection:
            repo = OpsRepo(connection)
            known = _Known()
            undated = [k for k in keys if not context.catalogue.recipes[k.dataset].mode.has_watermark]
            if "bronze" in options.layers:
                known.islands.update(repo.islands(keys))
                known.answered.update(repo.completed_requests(options.after_runs))
                known.again.update(due_again(connection, context.catalogue, keys, now, options.today))
                if undated:
                    known.answers.update(repo.last_answers(undated))
                imported = [k for k in undated if context.catalogue.recipes[k.dataset].files is not None]
                if imported:
                    known.imported.update(repo.last_requests(imported))
            for stage in (Stage.SILVER, Stage.GOLD):
                if stage.value in options.layers:
                    for row in retryable(context, repo.promotable(stage, keys), stage):
                        known.pending.setdefault(row.partition, []).append(row)
            return known
    except DatabaseMissingError:
        return _Known()


def retryable(context: Context, rows: list[DatasetInjestion], stage: Stage) -> list[DatasetInjestion]:
    """Without files that silver refused as a whole by the recipe in force, as it would again, and those whose recipe has no gold."""
    if stage is Stage.GOLD:
        return [row for row in rows if context.catalogue.recipes[row.dataset_key].gold is not None]
    hashes = {key: recipe.recipe_hash for key, recipe in context.catalogue.recipes.items()}
    return [row for row in rows if row.silver_errors is None or row.silver_recipe_hash != hashes.get(row.dataset_key)]


def _decide(
    context: Context,
    item: PlannedKey,
    known: _Known,
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
        item.requests = [_request(recipe, item.key, window) for window in options.windows.get(item.key, ())]
        item.reason = "asked again as it was asked" if item.requests else ""
        return
    if recipe.mode is RequestMode.SNAPSHOT:
        if options.full or due_by_cadence(recipe, known.answers.get(item.key), now, options.today):
            item.requests = [_request(recipe, item.key, None)]
            item.reason = "never asked" if item.key not in known.answers else f"due {recipe.cadence}"
        else:
            item.reason = f"already answered in this period ({recipe.cadence})"
        return
    if recipe.mode is not RequestMode.WINDOW:
        item.verdict, item.reason = (
            OutcomeKind.NOT_APPLICABLE,
            f"request mode {recipe.mode.value} cannot be asked yet by this version",
        )
        return
    again = known.again.get(item.key)
    windows, item.reason = _windows(context, _beginning(recipe, since), known.islands.get(item.key, []), options, now, again)
    item.again = again is not None and bool(windows)
    item.requests = [_request(recipe, item.key, window) for window in windows]


def _windows(
    context: Context,
    recipe: Recipe,
    spans: Sequence[Span],
    options: RunOptions,
    now: datetime,
    again: str | None,
) -> tuple[list[Window], str]:
    """What is asked of a dataset with a watermark, and why."""
    if recipe.first_date is None:
        return [], "the recipe declares no first date"
    floor = context.catalogue.sources[recipe.source].earliest
    end = last_expected(recipe, now, options.today)
    if options.to_date is not None:
        end = min(end, options.to_date)
    start = start_date(recipe.first_date, floor)
    if options.full or options.from_date is not None:
        begin = start if options.full or options.from_date is None else max(start, options.from_date)
        if begin > end:
            return [], f"nothing is settled between {begin} and {end}"
        return [Window(begin, end)], "asked in full" if options.full else f"asked from {begin}"
    if again is not None and start <= end:
        return [Window(start, end)], again
    lookback = recipe.lookback_days if options.lookback_days is None else options.lookback_days
    windows = next_windows(
        spans,
        recipe.first_date,
        end,
        lookback_days=lookback,
        floor=floor,
        calendar=recipe.calendar,
    )
    if not windows and options.lookback_days and end >= start:
        windows = _lookback_only(spans, start, end, lookback)
    if windows:
        return (
            windows,
            f"nothing stored since {windows[0].from_date}" if spans else "nothing stored yet",
        )
    return [], f"everything through {end} is stored"


def _lookback_only(spans: Sequence[Span], start: date, end: date, lookback: int) -> list[Window]:
    """The overlap that a user asked for by name though nothing new is expected."""
    return [Window(max(start, end - timedelta(days=lookback - 1)), end)] if spans else []


def _request(recipe: Recipe, key: PartitionKey, window: Window | None) -> Request:
    return Request(
        domain=recipe.domain,
        source=recipe.source,
        dataset=recipe.dataset,
        discriminator=recipe.discriminator,
        ticker=key.ticker,
        from_date=window.from_date if window else None,
        to_date=window.to_date if window else None,
        params=recipe.request.constants if recipe.request else (),
    )
