"""The one place where the dashboard reads: short, shared reads that nobody waits for, kept for seconds.

Belongs here: opening the door, calling the queries of `ops` and `gold`, and making page models of what they give. Does not belong here:
SQL, and anything that Streamlit does. No connection outlives a method.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from ops_pipeline.clock import utc_now
from ops_pipeline.dashboard import models
from ops_pipeline.dashboard.models import Page
from ops_pipeline.engine.checks import standing_results
from ops_pipeline.engine.context import Context, build_context
from ops_pipeline.engine.gaps import datasets_with_holes, holes_of
from ops_pipeline.gold import series as gold_series
from ops_pipeline.gold.explain import explain
from ops_pipeline.gold.past import past_of, points_as_of
from ops_pipeline.ops import browse, queries
from ops_pipeline.ops.drift import list_drift
from ops_pipeline.ops.failures import left_failed
from ops_pipeline.ops.migrations import ensure_current
from ops_pipeline.ops.reconcile_results import latest_reconcile
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.ops.spans import islands_of
from ops_pipeline.ops.watermark import last_expected
from ops_pipeline.recipes.bulk import gold_from
from ops_pipeline.recipes.universe import PartitionKey

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from datetime import datetime

    from ops_pipeline.gold.explain import Trail
    from ops_pipeline.gold.past import Past
    from ops_pipeline.gold.series import Point
    from ops_pipeline.ops.ingestion import DatasetInjestion
    from ops_pipeline.ops.queries import RunFilter, RunSummary
    from ops_pipeline.ops.sessions import Sessions
    from ops_pipeline.recipes.models import Recipe
    from ops_pipeline.settings import Settings

T = TypeVar("T")

KEPT_SECONDS = 3.0
"""How long an answer is given again without looking: a page of several parts, or two people who look at once, read once."""

CALENDARS_KEPT_SECONDS = 60.0
"""How long the datasets whose calendars are needed are taken for the same: a new one shows without sessions until then."""

WAIT_SECONDS = 3.0
"""How long a page waits for a notebook or another foreign process that holds the database, before it says who."""

PAGE_FILES = 50
TIMELINE_FILES = 400
GROWTH_DAYS = 90
SHOWN_FAILURES = 8
MOST_FAILURES = 1000
STEP_FILES = 500


@dataclass(slots=True)
class _Kept:
    value: Any
    until: float


class Repository:
    """Everything that the pages of one home show. Safe to use from many threads."""

    def __init__(self, settings: Settings, *, kept_seconds: float = KEPT_SECONDS) -> None:
        """Reads recipe files; opens no database.

        Raises:
            UserError: when a recipe file or a setting is wrong.
        """
        patient = settings.model_copy(update={"database_wait_seconds": min(settings.database_wait_seconds, WAIT_SECONDS)})
        self.context: Context = build_context(patient)
        self.context.catalogue.complete()
        self.settings = settings
        self._kept_seconds = kept_seconds
        self._kept: dict[Hashable, _Kept] = {}
        self._guard = threading.Lock()
        self._schema_seen = False
        self._known_calendars: dict[str, Sessions] = {}
        self._calendars_until = 0.0

    # --- pages ----------------------------------------------------------------------------------------------------------------

    def overview(self) -> models.Overview | None:
        """The newest run, freshness, failures and growth; None for an empty ledger.

        Raises:
            UserError: when the database cannot be read; so does every method that reads.
        """

        def read(connection: Any) -> models.Overview | None:
            newest = queries.list_runs(connection, limit=1)
            last = browse.first_and_last_day(connection)
            if not newest or last is None:
                return None
            failures = left_failed(connection, wanted, limit=MOST_FAILURES)
            return models.Overview(
                newest=newest[0],
                freshness=[self._freshness(state, calendars) for state in browse.dataset_states(connection)],
                failures=failures[:SHOWN_FAILURES],
                more_failures=len(failures) > SHOWN_FAILURES,
                days=browse.days(connection, last[1] - timedelta(days=GROWTH_DAYS), last[1]),
            )

        wanted, calendars = self.context.universe(), self._calendars()
        return self._read(("overview",), read)

    def years(self) -> list[int]:
        """The years in which something was asked for, newest first."""
        found = self._read(("years",), browse.first_and_last_day)
        return list(range(found[1].year, found[0].year - 1, -1)) if found else []

    def calendar(self, year: int, wanted: RunFilter) -> list[browse.Day]:
        """The days of a year on which something was asked for."""
        return self._read(("calendar", year, wanted), lambda c: browse.days(c, date(year, 1, 1), date(year, 12, 31), wanted))

    def runs(self, wanted: RunFilter, *, limit: int, offset: int = 0) -> Page[RunSummary]:
        """A page of runs, newest first."""
        return self._page(("runs", wanted), lambda c, n: queries.list_runs(c, wanted, limit=n, offset=offset), limit, offset)

    def run(self, run_id: str) -> models.RunDetail | None:
        """A run with its timeline; None when no file knows it."""

        def read(connection: Any) -> models.RunDetail | None:
            summary = queries.run_summary(connection, run_id)
            if summary is None:
                return None
            files = queries.run_files(connection, run_id, limit=TIMELINE_FILES + 1)
            return models.RunDetail(
                summary=summary,
                steps=models.timeline(files[:TIMELINE_FILES], run_id),
                steps_left_out=len(files) > TIMELINE_FILES,
                in_dagster=self._in_dagster(run_id),
            )

        return self._read(("run", run_id), read)

    def find_run(self, beginning: str) -> str | None:
        """The one run whose id begins with a text; None where none does, or several."""
        found = self._read(("find", beginning), lambda c: queries.find_runs(c, beginning, limit=2)) if beginning else []
        return found[0] if len(found) == 1 else None

    def run_files(self, run_id: str, wanted: RunFilter, *, offset: int = 0) -> Page[DatasetInjestion]:
        """A page of a run's files."""
        return self._page(
            ("run files", run_id, wanted),
            lambda c, n: queries.run_files(c, run_id, wanted, limit=n, offset=offset),
            PAGE_FILES,
            offset,
        )

    def file(self, run_id: str, file_id: str) -> DatasetInjestion | None:
        """One file's ledger row."""
        return self._read(("file", run_id, file_id), lambda c: OpsRepo(c).get([(run_id, file_id)]).get((run_id, file_id)))

    def coverage(self, wanted: RunFilter, *, limit: int = 40, offset: int = 0) -> Page[list[models.Cell]]:
        """A page of tickers, each with the coverage of its datasets."""

        def read(connection: Any) -> Page[list[models.Cell]]:
            names = browse.covered_tickers(connection, wanted, limit=limit + 1, offset=offset)
            cells = self._cells(connection, wanted, names[:limit], calendars)
            return Page([[c for c in cells if c.ticker == n] for n in names[:limit]], offset, len(names) > limit)

        calendars = self._calendars()
        return self._read(("coverage", wanted, limit, offset), read)

    def partition(self, partition: PartitionKey, *, offset: int = 0) -> models.PartitionHistory:
        """One partition's coverage, files and watermark."""

        def read(connection: Any) -> models.PartitionHistory:
            newest = browse.partition_files(connection, partition, limit=STEP_FILES)
            shown = newest[offset : offset + PAGE_FILES + 1]
            if offset + PAGE_FILES >= STEP_FILES:
                shown = browse.partition_files(connection, partition, limit=PAGE_FILES + 1, offset=offset)
            cells = self._cells(
                connection, queries.RunFilter(dataset=partition.dataset, ticker=partition.ticker), None, calendars
            )
            recipe = self.context.catalogue.recipes.get(partition.dataset)
            dated = recipe is not None and recipe.mode.has_watermark and recipe.first_date is not None
            return models.PartitionHistory(
                cell=cells[0] if cells else None,
                files=Page(shown[:PAGE_FILES], offset, len(shown) > PAGE_FILES),
                # Of a longer history the beginning is missing, and a watermark without its beginning is none.
                steps=models.watermark_steps(newest, recipe.first_date)
                if recipe and dated and recipe.first_date and len(newest) < STEP_FILES
                else [],
            )

        calendars = self._calendars()
        return self._read(("partition", partition, offset), read)

    def datasets(self) -> list[str]:
        """The datasets that something was asked of; a catalogue lists many that nobody wants."""
        return self._read(("datasets",), browse.dataset_keys)

    def series_names(self, recipe: Recipe) -> list[str]:
        """The series of a dataset that has a silver table."""
        return self._read(("series names", recipe.recipe_hash), lambda c: gold_series.series_names(c, recipe))

    def past(self, recipe: Recipe, name: str) -> Past:
        """The times at which a series changed."""
        return self._read(("past", recipe.recipe_hash, name), lambda c: past_of(c, recipe, name))

    def explained(self, recipe: Recipe, name: str, day: date) -> list[Trail]:
        """Where one point of a series comes from, as `ops-pipeline explain` tells it; nothing where a dataset has no series."""
        return self._read(("explained", recipe.recipe_hash, name, day), lambda c: explain(c, [recipe], name, day))

    def series(self, recipe: Recipe, name: str, column: str, since: date | None, as_of: datetime | None = None) -> models.Series:
        """The points of one series, from gold where the dataset feeds it, else from silver; as they are, or as they stood at a time."""
        gold = recipe.gold.object if recipe.gold else None
        kind = {"fact_eod": "prices", "fact_fx": "rates", "fact_series": "observations"}.get(gold or "", "values")

        def read(connection: Any) -> list[Point]:
            if as_of is not None:
                leading, bulk = gold_from(recipe, self.context.catalogue.recipes)
                return points_as_of(connection, leading, name, column, as_of, bulk)
            if kind == "prices":
                return gold_series.price_points(connection, recipe, name, since)
            if kind == "rates":
                return gold_series.fx_points(connection, recipe, name, since)
            if kind == "observations":
                return gold_series.observation_points(connection, recipe, name, since)
            return gold_series.silver_points(connection, recipe, name, column, since)

        points = self._read(("series", recipe.recipe_hash, name, column, since, as_of), read)
        return models.Series(recipe.dataset_key, name, kind, column, points)

    def quality(self, *, silver_table: str | None = None, offset: int = 0) -> models.Quality:
        """Checks made now, the latest ones of the datasets' rows, refused records, and the tables that have any."""

        def read(connection: Any) -> models.Quality:
            refused = browse.rejects(connection, silver_table=silver_table, limit=PAGE_FILES + 1, offset=offset)
            reasons = browse.rejects_by_reason(connection)
            return models.Quality(
                checks=[
                    models.CheckResult(
                        "Every record of every promoted file is accounted for", queries.unaccounted_files(connection)
                    ),
                    models.CheckResult("Silver holds what the ledger counted", queries.miscounted_tables(connection)),
                    models.CheckResult("No partition is left failed", self._left_failed(connection)),
                ],
                reasons=reasons,
                rejects=Page(refused[:PAGE_FILES], offset, len(refused) > PAGE_FILES),
                tables=sorted({r["silver_tablename"] for r in reasons}),
                drift=list_drift(connection, limit=PAGE_FILES),
                data_checks=standing_results(self.context, connection),
                reconciled=latest_reconcile(connection),
            )

        return self._read(("quality", silver_table, offset), read)

    # --- parts ----------------------------------------------------------------------------------------------------------------

    def _left_failed(self, connection: Any) -> list[queries.Finding]:
        found = left_failed(connection, self.context.universe(), limit=MOST_FAILURES)
        return [queries.Finding(str(f.partition), f"{f.layer}: {f.reason}") for f in found]

    def _expected(self, recipe: Recipe | None) -> date | None:
        # Of a whole answer, such as years of fundamentals, nobody can tell of which day it should have rows.
        if recipe is None or recipe.date_column is None or not recipe.mode.has_watermark:
            return None
        return last_expected(recipe, utc_now(), self.settings.today)

    def _calendars(self) -> dict[str, Sessions]:
        """The calendar of every dataset that the ledger knows. The first look at an exchange's takes seconds: never under the lock."""
        recipes, now = self.context.catalogue.recipes, time.monotonic()
        if self._calendars_until < now:
            self._known_calendars = {n: self.context.calendars.of(recipes[n]) for n in self.datasets() if n in recipes}
            self._calendars_until = now + CALENDARS_KEPT_SECONDS
        return self._known_calendars

    def _freshness(self, state: browse.DatasetState, calendars: dict[str, Sessions]) -> models.Freshness:
        recipe = self.context.catalogue.recipes.get(state.dataset)
        return models.freshness(state, recipe, calendars.get(state.dataset), self._expected(recipe))

    def _cells(
        self, connection: Any, wanted: RunFilter, tickers: list[str] | None, calendars: dict[str, Sessions]
    ) -> list[models.Cell]:
        rows = queries.coverage(connection, wanted, tickers=tickers, holes=False)
        keys = [PartitionKey(r["ticker"], r["dataset"]) for r in rows]
        covered = islands_of(connection, keys)
        expecting = datasets_with_holes(self.context, [key for key in keys if key.dataset in calendars])
        holes = holes_of(connection, expecting, utc_now(), self.settings.today)
        made = []
        for row in rows:
            recipe = self.context.catalogue.recipes.get(row["dataset"])
            key = PartitionKey(row["ticker"], row["dataset"])
            sessions = calendars.get(key.dataset)
            made.append(models.cell(row, covered.get(key, []), recipe, sessions, self._expected(recipe), holes.get(key, ())))
        return made

    def _in_dagster(self, run_id: str) -> bool:
        """Whether Dagster's storage knows the run: it keeps a file for each. Where it is kept elsewhere, the link is shown all the same."""
        runs = self.settings.home / "dagster" / "history" / "runs"
        return not runs.is_dir() or (runs / f"{run_id}.db").exists()

    # --- reading --------------------------------------------------------------------------------------------------------------

    def _page(self, key: tuple[Hashable, ...], read: Callable[[Any, int], list[T]], limit: int, offset: int) -> Page[T]:
        found = self._read((*key, limit, offset), lambda connection: read(connection, limit + 1))
        return Page(found[:limit], offset, len(found) > limit)

    def _read(self, key: Hashable, read: Callable[[Any], T]) -> T:
        now = time.monotonic()
        with self._guard:
            kept = self._kept.get(key)
            if kept is not None and kept.until > now:
                value: T = kept.value
                return value
        self._require_schema()
        with self.context.warehouse.reading() as connection:
            value = read(connection)
        with self._guard:
            until = time.monotonic() + self._kept_seconds
            self._kept = {k: v for k, v in self._kept.items() if v.until > now} | {key: _Kept(value, until)}
        return value

    def _require_schema(self) -> None:
        """Looks once whether the database has the schema that the queries know; a database that goes back does not happen."""
        if not self._schema_seen:
            with self.context.warehouse.connection(read_only=True, check_schema=False):
                ensure_current(self.context.warehouse, auto=False, notify=lambda _: None)
            self._schema_seen = True
