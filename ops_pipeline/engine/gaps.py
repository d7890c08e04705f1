"""The gaps of a home: what is expected and not there, how often it was asked for, and when it is asked for again.

Belongs here: holes that a plan asks for again, and the listing of all gaps. Does not belong here: arithmetic (`ops.gaps`), the queries
(`silver.gaps`, `ops.tries`), printing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from ops_pipeline.engine.asking import beginning
from ops_pipeline.engine.covering import coverable, covers
from ops_pipeline.engine.repair import run_again
from ops_pipeline.ops.check_results import silver_shapes
from ops_pipeline.ops.gaps import Gap, gaps_of
from ops_pipeline.ops.spans import islands_of
from ops_pipeline.ops.tries import answers_by_period, asked_again_at, tries_of
from ops_pipeline.ops.watermark import Span, last_expected, start_date
from ops_pipeline.recipes.checks import Kind
from ops_pipeline.recipes.modes import RequestMode
from ops_pipeline.recipes.universe import PartitionKey
from ops_pipeline.silver import checks as silver_checks
from ops_pipeline.silver.gaps import inner_holes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import date, datetime

    import duckdb

    from ops_pipeline.engine.context import Context
    from ops_pipeline.ops.periods import PeriodAnswers
    from ops_pipeline.ops.sessions import Sessions
    from ops_pipeline.ops.tries import Tries
    from ops_pipeline.recipes.models import Recipe
    from ops_pipeline.recipes.universe import Expected

# Keys that are there twice, which no merge can make: a few of them tell enough.
_SHOWN_DUPLICATES = 20


class GapState(StrEnum):
    """What becomes of a gap.

    `due`: the next run asks for it. `waits`: it was answered without it, and is asked for again later. `vendor_has_none`: so often that the
    vendor is taken to have none.
    """

    DUE = "due"
    WAITS = "waits"
    VENDOR_HAS_NONE = "vendor_has_none"


@dataclass(frozen=True, slots=True)
class FoundGap:
    """A gap of a partition.

    Attributes:
        key: the partition.
        gap: its sessions.
        state: what becomes of it.
        tries: complete answers that lack it; 0: it was never asked for, or never answered.
        last_at: when the last of these came.
        again_at: when it is asked for again; None: with the next run, or, where it waits, with the next session.
        repair: the arguments of `ops-pipeline` that ask for it now.
    """

    key: PartitionKey
    gap: Gap
    state: GapState
    tries: int
    last_at: datetime | None
    again_at: datetime | None
    repair: str


@dataclass(frozen=True, slots=True)
class Gaps:
    """What a home lacks.

    Attributes:
        found: gaps, by dataset, ticker and day.
        duplicates: (dataset, key, how many rows) where a table has a key twice, which must not be.
    """

    found: list[FoundGap] = field(default_factory=list)
    duplicates: list[tuple[str, str, str]] = field(default_factory=list)


def datasets_with_holes(context: Context, keys: Iterable[PartitionKey]) -> dict[str, tuple[Recipe, Sessions]]:
    """The datasets of these keys of which each session must have rows, and that are asked by windows, with their calendars.

    Calendars are looked up here, outside of the database's lock: the first look at one takes seconds.
    """
    recipes = (context.catalogue.recipes[name] for name in dict.fromkeys(key.dataset for key in keys))
    return {
        recipe.dataset_key: (recipe, context.calendars.of(recipe))
        for recipe in recipes
        if recipe.mode is RequestMode.WINDOW and recipe.expects_every_session and recipe.date_column
    }


def holes_of(
    connection: duckdb.DuckDBPyConnection, datasets: Mapping[str, tuple[Recipe, Sessions]], now: datetime, today: date | None
) -> dict[PartitionKey, list[Gap]]:
    """The sessions that silver lacks between a partition's first and last row; of a table of another shape, none are known."""
    if not datasets:
        return {}
    shapes = silver_shapes(connection)
    return {
        PartitionKey(ticker, name): holes
        for name, (recipe, sessions) in datasets.items()
        if shapes.get(name) == recipe.columns_hash
        for ticker, holes in inner_holes(connection, recipe, sessions, last_expected(recipe, now, today)).items()
    }


def find_gaps(context: Context, keys: Iterable[PartitionKey], now: datetime) -> Gaps:
    """Every gap of these wanted partitions, and keys that a table has twice; reads only.

    Args:
        context: the home; the universe must list the keys.
        keys: partitions; those whose rows have no sessions, such as snapshots, have no gaps.
        now: the time now. Where the settings pretend a day, its end decides what is expected.

    Raises:
        UserError: when the database or a calendar cannot be read.
    """
    recipes = context.catalogue.recipes
    wanted = [key for key in keys if _is_by_session(recipes.get(key.dataset))]
    calendars = {name: context.calendars.of(recipes[name]) for name in {key.dataset for key in wanted}}
    with_holes = datasets_with_holes(context, wanted)
    today, universe = context.settings.today, context.universe()
    in_bulk = coverable(context, universe, calendars)
    with context.warehouse.reading() as connection:
        spans = islands_of(connection, wanted)
        holes = holes_of(connection, with_holes, now, today)
        spared = covers(connection, context, universe, in_bulk, spans, wanted, now, today)
        periodic = [key for key in wanted if recipes[key.dataset].mode is RequestMode.BY_PERIOD]
        periods = answers_by_period(connection, periodic) if periodic else {}
        lacking: list[tuple[PartitionKey, Gap]] = []
        for key in wanted:
            recipe, sessions = recipes[key.dataset], calendars[key.dataset]
            start, end = _expected(context, universe.expected.get(key), recipe, now)
            mine = [*spans.get(key, []), *([spared[key].span] if key in spared else [])]
            if recipe.mode is RequestMode.BY_PERIOD:
                mine = _answered(recipe, sessions, periods.get(key, {}), start, end)
            lacking += [(key, gap) for gap in gaps_of(mine, start, end, sessions, holes.get(key, ()))]
        told = tries_of(connection, [(key, gap.from_date) for key, gap in lacking])
        duplicates = _duplicates(connection, [recipes[name] for name in sorted(calendars)])
    found = [_judged(recipes[key.dataset], key, gap, told.get((key, gap.from_date)), now) for key, gap in lacking]
    return Gaps(sorted(found, key=lambda it: (it.key.dataset, it.key.ticker, it.gap)), duplicates)


def _is_by_session(recipe: Recipe | None) -> bool:
    if recipe is None or recipe.first_date is None or recipe.date_column is None or recipe.files is not None:
        return False
    return recipe.mode is RequestMode.WINDOW or (recipe.mode is RequestMode.BY_PERIOD and recipe.period == "session")


def _expected(context: Context, expected: Expected | None, recipe: Recipe, now: datetime) -> tuple[date, date]:
    """The first and the last day of which a partition should have rows."""
    mine = beginning(recipe, expected.since if expected else None)
    end = last_expected(recipe, now, context.settings.today)
    if expected is not None and expected.until is not None:
        end = min(end, expected.until)
    return start_date(mine.first_date or end, context.catalogue.sources[recipe.source].earliest), end


def _answered(recipe: Recipe, sessions: Sessions, answers: Mapping[date, PeriodAnswers], start: date, end: date) -> list[Span]:
    """The sessions that have their answer, where each is asked for by itself; an empty one counts where a session may lack rows."""
    days = (day for day, told in answers.items() if start <= day <= end and (told.data or not recipe.expects_every_session))
    spans: list[Span] = []
    for day in sorted(days):
        # Sessions that follow each other are one span, whatever lies between them.
        if spans and sessions.count(spans[-1].to_date, day) <= 2:
            spans[-1] = Span(spans[-1].from_date, day, spans[-1].data_from)
        else:
            spans.append(Span(day, day, day))
    return spans


def _judged(recipe: Recipe, key: PartitionKey, gap: Gap, tries: Tries | None, now: datetime) -> FoundGap:
    state, again_at = GapState.DUE, None
    if tries is not None and recipe.expects_every_session:
        again = asked_again_at(tries, gap.from_date if recipe.mode is RequestMode.BY_PERIOD else gap.to_date)
        if again > now:
            state, again_at = GapState.VENDOR_HAS_NONE if tries.in_vain else GapState.WAITS, again
    elif tries is not None and tries.asked_through >= gap.to_date:
        state = GapState.WAITS
    first = gap.from_date
    if recipe.refetch_on_restatement:  # an overlap tells whether the answer stands on the basis of what is stored
        first = max(recipe.first_date or first, first - timedelta(days=recipe.lookback_days))
    repair = run_again(key.dataset, [key.ticker], (first, gap.to_date))
    count, last_at = (tries.count, tries.last_at) if tries else (0, None)
    return FoundGap(key, gap, state, count, last_at, again_at, repair)


def _duplicates(connection: duckdb.DuckDBPyConnection, recipes: Iterable[Recipe]) -> list[tuple[str, str, str]]:
    shapes = silver_shapes(connection)
    return [
        (recipe.dataset_key, where, what)
        for recipe in recipes
        if shapes.get(recipe.dataset_key) == recipe.columns_hash
        for where, what in connection.execute(
            f"{silver_checks.query(recipe, Kind.KEYS, touched=False)} LIMIT {_SHOWN_DUPLICATES}"
        ).fetchall()
    ]
