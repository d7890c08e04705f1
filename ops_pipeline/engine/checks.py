"""Making the checks of the data: which of them, over which rows, and keeping their results.

Belongs here: `check_now`, over everything, and `check_after_run`, over what a run touched. Does not belong here: the queries
(`silver.checks`, `gold.checks`, `ops.check_results`), and showing results (`cli.checks`, `defs.checks`, the dashboard).

Each check is one query over a dataset's table, never one a partition. After a run a check looks at the partitions that the run touched
where its latest result, by the same recipe, was that nothing is wrong anywhere; otherwise at all of them, so that a finding stays until it
is mended.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ops_pipeline.clock import utc_now
from ops_pipeline.errors import DatabaseMissingError, UserError
from ops_pipeline.gold import checks as gold_checks
from ops_pipeline.ops.check_results import (
    OLD_ANSWERS_SQL,
    UNACCOUNTED_SQL,
    CheckResult,
    Touched,
    latest_results,
    record_results,
    silver_shapes,
    touched_by,
)
from ops_pipeline.ops.queries import Finding
from ops_pipeline.ops.wanted import registered
from ops_pipeline.ops.watermark import last_expected
from ops_pipeline.progress import silent
from ops_pipeline.recipes.bulk import gold_from
from ops_pipeline.recipes.checks import Declared, Kind
from ops_pipeline.recipes.universe import PartitionKey
from ops_pipeline.silver import checks as silver_checks

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import date

    import duckdb

    from ops_pipeline.engine.context import Context
    from ops_pipeline.progress import Tell
    from ops_pipeline.recipes.models import Recipe
    from ops_pipeline.recipes.universe import Universe

# Whoever wants to write waits for a reader: after so long it lets others in between two checks.
HOLD_SECONDS = 0.7
# Findings that are kept of a result.
KEPT_FINDINGS = 20
_TOUCHED = pa.schema([("ticker", pa.string()), ("from_date", pa.date32()), ("to_date", pa.date32())])
_EXPECTED = pa.schema([("ticker", pa.string()), ("day", pa.date32())])


@dataclass(frozen=True)
class _Round:
    """What all checks of one occasion share."""

    context: Context
    universe: Universe
    moment: datetime
    run_id: str | None
    touched: dict[str, list[Touched]]
    before: dict[tuple[str, str], CheckResult]
    shapes: dict[str, str]


def check_now(
    context: Context, datasets: Collection[str] | None = None, kinds: Collection[Kind] | None = None, *, tell: Tell = silent
) -> list[CheckResult]:
    """Makes the checks over all rows and keeps their results.

    Args:
        context: the home; its migrations must be applied.
        datasets: of these alone; None: of every dataset with a silver table whose shape the recipe describes.
        kinds: of these kinds alone; None: of all that the recipes declare or imply.
        tell: takes how many checks are made.

    Raises:
        UserError: when the universe or the database cannot be read, or the results not be written.
    """
    universe = context.universe()
    with context.warehouse.reading() as connection:
        before, shapes = _latest(connection), silver_shapes(connection)
    return _check(_Round(context, universe, utc_now(), None, {}, before, shapes), datasets, kinds, tell)


def standing_results(context: Context, connection: duckdb.DuckDBPyConnection, dataset: str | None = None) -> list[CheckResult]:
    """The latest results of the checks that recipes still declare or imply: what failed first, errors before warnings."""
    found = latest_results(connection, dataset)
    made: dict[str, list[str]] = {}
    for name in {r.dataset_key for r in found}:
        recipe = context.catalogue.recipes.get(name)
        made[name] = [kind.value for kind in Declared(recipe).kinds()] if recipe else []
    return [r for r in found if r.check_name in made[r.dataset_key]]


def check_after_run(context: Context, run_id: str, notify: Callable[[str], None]) -> list[CheckResult]:
    """Makes the checks of what a run touched, and of how fresh everything is; nothing where it touched nothing.

    A run did its work whatever becomes of this: `notify` gets the sentence when it fails, and one about errors that were found.
    """
    try:
        with context.warehouse.reading() as connection:
            touched = touched_by(connection, run_id)
            if not touched:
                return []
            before, shapes = _latest(connection), silver_shapes(connection)
        made = _check(_Round(context, context.universe(), utc_now(), run_id, touched, before, shapes), None, None)
    except DatabaseMissingError:
        return []  # nothing was due, and nothing ever was
    except UserError as e:
        notify(f"the data were not checked: {e} `ops-pipeline checks --run` tries again.")
        return []
    wrong = [r for r in made if not r.passed and r.severity == "error"]
    if wrong:
        said = "; ".join(f"{r.dataset_key} {r.check_name}: {r.findings:,}" for r in wrong)
        notify(f"checks of the data found errors ({said}); `ops-pipeline checks` shows them")
    return made


def _latest(connection: duckdb.DuckDBPyConnection) -> dict[tuple[str, str], CheckResult]:
    return {(r.dataset_key, r.check_name): r for r in latest_results(connection)}


def _check(
    it: _Round, datasets: Collection[str] | None, kinds: Collection[Kind] | None, tell: Tell = silent
) -> list[CheckResult]:
    # A table of an earlier shape has other columns than its recipe: nothing is merged into it, and promotion says so.
    known = {name: it.context.catalogue.recipes.get(name) for name in sorted(it.shapes)}
    sound = {name: recipe for name, recipe in known.items() if recipe and recipe.columns_hash == it.shapes[name]}
    waiting = deque(
        (recipe, kind)
        for name, recipe in sound.items()
        for kind in Declared(recipe).kinds()
        if (datasets is None or name in datasets)
        and (kinds is None or kind in kinds)
        and (it.run_id is None or name in it.touched or kind is Kind.FRESH)
    )
    made: list[CheckResult] = []
    total = len(waiting)
    while waiting:
        with it.context.warehouse.reading() as connection:
            began = monotonic()
            while waiting and monotonic() - began < HOLD_SECONDS:
                tell(f"checking {waiting[0][0].dataset_key}", total - len(waiting), total)
                result = _result(it, connection, *waiting.popleft(), sound)
                made += [result] if result else []
    if made:
        with it.context.warehouse.transaction(few_rows=True) as connection:
            record_results(connection, made)
    return made


def _result(
    it: _Round, connection: duckdb.DuckDBPyConnection, recipe: Recipe, kind: Kind, recipes: dict[str, Recipe]
) -> CheckResult | None:
    """Makes one check; None where there is nothing that it could look at."""
    declared = Declared(recipe)
    touched = it.touched.get(recipe.dataset_key, [])
    narrow = bool(touched) and kind not in (Kind.FRESH, Kind.RECORDS) and _was_sound(it, recipe, kind)
    names: dict[str, Any] = {"dataset": recipe.dataset_key}
    expected: list[tuple[str, date | None]] = []
    with registered(connection, "touched", _table(_TOUCHED, [(t.ticker, t.from_date, t.to_date) for t in touched])):
        match kind:
            case Kind.RECORDS:
                sql = UNACCOUNTED_SQL
            case Kind.GOLD:
                salt = it.run_id or it.moment.isoformat()
                # What was found wrong must be looked at again, whichever series it was.
                before = it.before.get((recipe.dataset_key, kind.value))
                size = declared.block.sample if before is None or before.passed else None
                leading, bulk = gold_from(recipe, it.context.catalogue.recipes)
                if leading.dataset_key in it.shapes and leading.dataset_key not in recipes:
                    return None
                series = gold_checks.sample(connection, recipe, size, salt, touched=narrow, leading=leading, bulk=bulk)
                if not series:
                    return None
                sql, names = gold_checks.query(connection, leading, bulk), {"series": series}
            case Kind.FRESH:
                expected = _expected(it, recipe)
                if not expected:
                    return None
                names = {}
                sql = silver_checks.query(recipe, kind, touched=False)
                if not declared.rows_every_session:
                    today = it.context.settings.today
                    now = datetime.combine(today, time.max, UTC) if today else it.moment
                    sql = OLD_ANSWERS_SQL
                    names = {"dataset": recipe.dataset_key, "oldest": now - timedelta(days=declared.stale_after_days)}
            case _:
                names = {}
                actions = [recipes[a] for a in declared.actions if a in recipes]
                sql = silver_checks.query(recipe, kind, touched=narrow, actions=actions)
        with registered(connection, "expected", _table(_EXPECTED, expected)):
            found = connection.execute(
                f"""SELECT "where", what, count(*) OVER () AS _all FROM ({sql}) ORDER BY "where", what LIMIT {KEPT_FINDINGS}""",
                names,
            ).fetchall()
    severity = declared.severity(kind)
    return CheckResult(
        dataset_key=recipe.dataset_key,
        check_name=kind.value,
        layer=kind.layer,
        severity=severity or kind.severity,
        passed=not found,
        findings=found[0][2] if found else 0,
        first_findings=tuple(Finding(where, what) for where, what, _ in found),
        partitions=len(touched) if narrow else None,
        recipe_hash=recipe.recipe_hash,
        checked_at=it.moment,
        run_id=it.run_id,
    )


def _was_sound(it: _Round, recipe: Recipe, kind: Kind) -> bool:
    before = it.before.get((recipe.dataset_key, kind.value))
    return before is not None and before.passed and before.recipe_hash == recipe.recipe_hash


def _expected(it: _Round, recipe: Recipe) -> list[tuple[str, date | None]]:
    """The wanted tickers of a dataset, each with the last day of which it should have rows; a series that has ended stays as it is."""
    if recipe.covered_by in it.universe.wanted:
        return []  # its newest rows are the bulk files', which are looked at themselves
    if recipe.last_date is not None and not Declared(recipe).rows_every_session:
        return []
    end = last_expected(recipe, it.moment, it.context.settings.today)
    found: list[tuple[str, date | None]] = []
    for ticker in it.universe.wanted.get(recipe.dataset_key, ()):
        until = it.universe.until(PartitionKey(ticker, recipe.dataset_key))
        if until is None or until >= end:
            found.append((ticker, end))
    return found


def _table(schema: pa.Schema, rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    return pa.table([pa.array(list(values), field.type) for values, field in zip(columns, schema, strict=True)], schema=schema)
