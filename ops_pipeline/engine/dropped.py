"""Which rows vendors dropped: reading again the few answers that hold fewer rows than stood in their window.

Belongs here: finding them dataset by dataset, without a request. Does not belong here: the queries (`silver.dropped`), printing.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pyarrow as pa

from ops_pipeline.engine.read import portion_files
from ops_pipeline.errors import BronzeError
from ops_pipeline.ops.check_results import silver_shapes
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.progress import silent
from ops_pipeline.silver.dropped import DroppedRow, dropped_rows, has_windows, lacking_answers, tickers_of
from ops_pipeline.silver.staging import stage, staging_connection

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    import duckdb

    from ops_pipeline.engine.context import Context
    from ops_pipeline.ops.ingestion import DatasetInjestion
    from ops_pipeline.progress import Tell
    from ops_pipeline.recipes.models import Recipe

# Whoever wants to write waits for a reader: so many tickers, with twenty years of daily rows each, take about a second.
TICKERS_AT_ONCE = 100


def find_dropped(
    context: Context, datasets: Collection[str] | None = None, ticker: str | None = None, *, tell: Tell = silent
) -> list[DroppedRow]:
    """The rows of silver that the newest answer over their day does not have; reads only, and asks no vendor.

    Args:
        context: the home.
        datasets: of these alone; None: of all whose answers say which days they are about.
        ticker: of this partition alone.
        tell: takes how many answers are read.

    Raises:
        UserError: when the database cannot be read.
    """
    with context.warehouse.reading() as connection:
        recipes = with_windows(context, connection, datasets)
    found: list[DroppedRow] = []
    for recipe in recipes:
        with context.warehouse.reading() as connection:
            tickers = [name for name in tickers_of(connection, recipe) if ticker in (None, name)]
        for start in range(0, len(tickers), TICKERS_AT_ONCE):
            tell(f"comparing answers of {recipe.dataset_key}", start, len(tickers))
            found += _of_tickers(context, recipe, tickers[start : start + TICKERS_AT_ONCE])
    return found


def with_windows(context: Context, connection: duckdb.DuckDBPyConnection, datasets: Collection[str] | None) -> list[Recipe]:
    """The stored datasets, or those of these, whose answers say which days they are about; by name.

    A table of an earlier shape is left out: it has other columns than its recipe.
    """
    shapes = silver_shapes(connection)
    known = (context.catalogue.recipes.get(name) for name in sorted(shapes) if datasets is None or name in datasets)
    return [r for r in known if r is not None and has_windows(r) and shapes[r.dataset_key] == r.columns_hash]


def _of_tickers(context: Context, recipe: Recipe, tickers: Sequence[str]) -> list[DroppedRow]:
    with context.warehouse.reading() as connection:
        lacking = lacking_answers(connection, recipe, tickers)
        rows = OpsRepo(connection).get((it.run_id, file_id) for it in lacking for file_id in it.file_ids) if lacking else {}
    held: list[pa.Table] = []
    unread: set[tuple[str, str]] = set()
    size, files = portion_files(context.settings.batch_files), list(rows.values())
    with closing(staging_connection()) as reading:
        for start in range(0, len(files), size):
            held += _keys(context, recipe, files[start : start + size], reading, unread)
    sound = [it for it in lacking if (it.run_id, it.request_id) not in unread]
    if not sound:
        return []
    with context.warehouse.reading() as connection:
        return dropped_rows(connection, recipe, sound, pa.concat_tables(held))


def _keys(
    context: Context,
    recipe: Recipe,
    files: Sequence[DatasetInjestion],
    reading: duckdb.DuckDBPyConnection,
    unread: set[tuple[str, str]],
) -> Iterable[pa.Table]:
    """The keys of the files' good records; requests with a file that cannot be read any more prove nothing, and are put into `unread`."""
    paths = {}
    for row in files:
        try:
            paths[row.key] = context.store.path(row.bronze_filename or "")
        except BronzeError:
            unread.add((row.run_id, row.request_id))
    there = [row for row in files if row.key in paths]
    staged = stage(recipe, there, paths, connection=reading)
    unread |= {(row.run_id, row.request_id) for row, profile in zip(there, staged.profiles, strict=True) if profile.unreadable}
    numbers = staged.good.column("_file_no").to_pylist()
    keys = staged.good.select(recipe.silver_key)
    for place, (name, values) in enumerate(
        (("run_id", [there[n].run_id for n in numbers]), ("request_id", [there[n].request_id for n in numbers]))
    ):
        keys = keys.add_column(place, name, pa.array(values, pa.string()))
    return [keys]
