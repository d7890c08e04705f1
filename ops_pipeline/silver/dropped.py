"""Rows that a vendor dropped: silver has them, and the newest answer that covers their day does not.

Belongs here: the queries, on the ledger, silver and its history, that find such answers without reading them, and the rows that they lack.
Does not belong here: reading the answers (`engine.dropped`), printing.

What an answer held is not kept row by row. But an answer that was merged counted each of its records, and those that changed or repeated a
row are as many as the rows that stood in its window: where they are fewer, some row was not in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from ops_pipeline.ops.decisions import DECISIONS
from ops_pipeline.ops.sql import LEDGER
from ops_pipeline.ops.wanted import dicts, registered
from ops_pipeline.recipes.models import NO_TICKER, TICKER_COLUMN
from ops_pipeline.recipes.modes import RequestMode
from ops_pipeline.silver.decisions import row_key_sql
from ops_pipeline.silver.typing_sql import identifier, literal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    import duckdb

    from ops_pipeline.recipes.models import Recipe


@dataclass(frozen=True, slots=True)
class Lacking:
    """An answer that holds fewer rows than stood in its window when it came.

    Attributes:
        ticker: of its partition.
        run_id: the run that asked.
        request_id: the request.
        file_ids: its parts.
        rows: how many rows of silver it lacks.
    """

    ticker: str
    run_id: str
    request_id: str
    file_ids: tuple[str, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class DroppedRow:
    """A row that silver has and the newest answer over its day has not.

    Attributes:
        dataset: the dataset key.
        ticker: of its partition.
        row_key: its key's other columns, as JSON.
        day: its date.
        known_at: since when it is known as it stands.
        run_id: of the answer that lacks it.
        request_id: of that answer.
        dropped_at: when that answer was stored.
        last_run_id: of the answer that gave the row as it stands.
    """

    dataset: str
    ticker: str
    row_key: str
    day: date
    known_at: datetime
    run_id: str
    request_id: str
    dropped_at: datetime
    last_run_id: str


def has_windows(recipe: Recipe) -> bool:
    """Whether an answer says which days it is about, so that a row of one of them can be missing from it."""
    by_session = recipe.mode is RequestMode.BY_PERIOD and recipe.period == "session"
    return recipe.date_column is not None and (recipe.mode in (RequestMode.WINDOW, RequestMode.ROLLING) or by_session)


def _answers(recipe: Recipe) -> str:
    """Complete answers with data that silver took: their window, their place, and the rows that they repeated or deleted."""
    mine = f"source = {literal(recipe.source)} AND dataset = {literal(recipe.dataset)} AND discriminator = {literal(recipe.discriminator)}"
    return f"""SELECT ticker, run_id, request_id, any_value(requested_from_date) AS first, any_value(requested_to_date) AS last,
            min({{'a': bronze_injest_end_time, 'b': run_id, 'c': file_id}}) AS place, list(file_id) AS file_ids,
            sum(silver_rows_updated + silver_rows_unchanged + silver_rows_deleted)::BIGINT AS repeated,
            sum(silver_rows_failed)::BIGINT AS refused
        FROM {LEDGER} WHERE {mine} AND promotion_kind = 'first' AND bronze_outcome = 'stored' AND silver_errors IS NULL
            AND silver_injest_end_time IS NOT NULL AND coalesce(silver_hold, 'whole') = 'whole'
            AND requested_from_date IS NOT NULL AND requested_to_date IS NOT NULL AND ticker IN (FROM wanted_tickers)
        GROUP BY ticker, run_id, request_id HAVING bool_and(request_complete)"""


def _rows(recipe: Recipe) -> str:
    """The times at which rows stood in silver: each from the place of the file that made it to that of what deleted it, if anything did.

    `known_at` and `last_run_id` are of the row that stands, and mean nothing where `gone` is not null. A row that was hidden and brought
    back has stood all the time.
    """
    ticker = f"c.{TICKER_COLUMN}" if recipe.per_ticker else literal(NO_TICKER)
    same = " AND ".join(f"s.{identifier(k)} = c.{identifier(k)}" for k in recipe.silver_key)
    mine = f"{TICKER_COLUMN} IN (FROM wanted_tickers)" if recipe.per_ticker else "true"
    keys = ", ".join(identifier(k) for k in recipe.silver_key)
    more = recipe.date_column or ""
    columns = keys if more in recipe.silver_key else f"{keys}, {identifier(more)}"
    place = "{'a': known_at, 'b': run_id, 'c': bronze_file_id}"
    # Few rows were ever deleted: only these have more than one time. What silver has of them is joined by the key alone, since one more
    # condition makes DuckDB compare every row with every other.
    return f"""SELECT {ticker} AS ticker, c.{identifier(more)}::DATE AS day, {row_key_sql(recipe, "c")} AS row_key,
            s.known_at, s.run_id AS last_run_id, c.made, c.gone
        FROM (WITH changes AS MATERIALIZED (SELECT {columns}, operation, {place} AS place FROM {recipe.history_table}
                WHERE operation IN ('C', 'D') AND {mine}),
            deleted AS MATERIALIZED (SELECT DISTINCT {keys} FROM changes WHERE operation = 'D'),
            restored AS (SELECT DISTINCT {{'b': run_id, 'c': file_id}} AS name FROM {DECISIONS} WHERE decision = 'restore')
            SELECT {columns}, place AS made, NULL AS gone FROM changes ANTI JOIN deleted USING ({keys})
            UNION ALL SELECT {columns}, first AS made, gone FROM (
                SELECT *, first_value(place) OVER (PARTITION BY {keys}, life ORDER BY place) AS first,
                    lead(place) OVER (PARTITION BY {keys} ORDER BY place) AS gone,
                    row_number() OVER (PARTITION BY {keys}, life, operation ORDER BY place DESC) AS from_last
                FROM (SELECT *, count(*) FILTER (operation = 'C' AND NOT restores) OVER (PARTITION BY {keys} ORDER BY place) AS life
                    FROM (SELECT *, {{'b': place.b, 'c': place.c}} IN (FROM restored) AS restores
                        FROM changes SEMI JOIN deleted USING ({keys}))))
            WHERE operation = 'C' AND from_last = 1) c
        LEFT JOIN {recipe.silver_table} s ON {same}"""


_IN_WINDOW = (
    "r.ticker = a.ticker AND r.day BETWEEN a.first AND a.last AND r.made < a.place AND (r.gone IS NULL OR r.gone >= a.place)"
)


def tickers_of(connection: duckdb.DuckDBPyConnection, recipe: Recipe) -> list[str]:
    """The tickers that anything was asked for, in order; one that stands for none where a dataset has none."""
    sql = f"SELECT DISTINCT ticker FROM {LEDGER} WHERE source = ? AND dataset = ? AND discriminator = ? ORDER BY ticker"
    return [ticker for (ticker,) in connection.execute(sql, [recipe.source, recipe.dataset, recipe.discriminator]).fetchall()]


def _wanted(tickers: Sequence[str]) -> pa.Table:
    return pa.table({"ticker": pa.array(tickers, pa.string())})


def lacking_answers(connection: duckdb.DuckDBPyConnection, recipe: Recipe, tickers: Sequence[str]) -> list[Lacking]:
    """The answers for these tickers that lack rows of silver, newest first; records that silver refused may be these rows."""
    with registered(connection, "wanted_tickers", _wanted(tickers)):
        found = connection.execute(
            f"""WITH answers AS ({_answers(recipe)}), stored AS ({_rows(recipe)})
        SELECT a.ticker, a.run_id, a.request_id, any_value(a.file_ids), count(*) - any_value(a.repeated)
        FROM answers a JOIN stored r ON {_IN_WINDOW}
        GROUP BY a.ticker, a.run_id, a.request_id
        HAVING count(*) > any_value(a.repeated + a.refused) ORDER BY max(a.place) DESC"""
        ).fetchall()
    return [Lacking(ticker, run, request, tuple(files), rows) for ticker, run, request, files, rows in found]


def dropped_rows(
    connection: duckdb.DuckDBPyConnection, recipe: Recipe, lacking: Sequence[Lacking], held: pa.Table
) -> list[DroppedRow]:
    """The rows that are in none of these answers' records, though the answer is the newest that covers their day.

    Args:
        connection: for reading.
        recipe: the dataset's.
        lacking: answers of `lacking_answers`.
        held: the keys of their records: columns run_id, request_id and those of `recipe.silver_key`.
    """
    given = pa.table(
        {
            "run_id": pa.array([a.run_id for a in lacking], pa.string()),
            "request_id": pa.array([a.request_id for a in lacking], pa.string()),
            "ticker": pa.array([a.ticker for a in lacking], pa.string()),
        }
    )
    ticker = f"h.{TICKER_COLUMN}" if recipe.per_ticker else literal(NO_TICKER)
    wanted = _wanted(sorted({a.ticker for a in lacking}))
    with (
        registered(connection, "wanted_tickers", wanted),
        registered(connection, "lacking_answers", given),
        registered(connection, "held_keys", held),
    ):
        rows = dicts(
            connection,
            f"""WITH answers AS ({_answers(recipe)}), stored AS ({_rows(recipe)}),
            held AS (SELECT DISTINCT run_id, request_id, {ticker} AS ticker, {row_key_sql(recipe, "h")} AS row_key
                FROM held_keys h),
            missing AS (
                SELECT r.*, a.run_id, a.request_id, a.place FROM answers a SEMI JOIN lacking_answers g USING (run_id, request_id, ticker)
                JOIN stored r ON {_IN_WINDOW} AND r.gone IS NULL
                ANTI JOIN held h ON h.run_id = a.run_id AND h.request_id = a.request_id AND h.ticker = r.ticker AND h.row_key = r.row_key),
            newest AS (SELECT r.ticker, r.row_key, max(a.place) AS place FROM missing r JOIN answers a ON {_IN_WINDOW} GROUP BY ALL)
            SELECT {literal(recipe.dataset_key)} AS dataset, m.ticker, m.row_key, m.day, m.known_at, m.run_id, m.request_id,
                m.place.a AS dropped_at, m.last_run_id
            FROM missing m JOIN newest n ON n.ticker = m.ticker AND n.row_key = m.row_key AND n.place = m.place
            ORDER BY m.ticker, m.day, m.row_key""",
        )
    return [DroppedRow(**row) for row in rows]


def answered_since(
    connection: duckdb.DuckDBPyConnection, recipe: Recipe, ticker: str, rows: Sequence[DroppedRow]
) -> tuple[str, date] | None:
    """(run, day) of a request over the day of one of these rows that was answered after it was dropped, or waits for its answer.

    Such an answer may hold the row, with the values that it has, so that nothing in silver tells of it.
    """
    if not rows:
        return None
    given = pa.table(
        {
            "day": pa.array([row.day for row in rows], pa.date32()),
            "since": pa.array([row.dropped_at for row in rows], pa.timestamp("us", tz="UTC")),
            "run_id": pa.array([row.run_id for row in rows], pa.string()),
            "request_id": pa.array([row.request_id for row in rows], pa.string()),
        }
    )
    with registered(connection, "rows_to_hide", given):
        found = connection.execute(
            f"""SELECT f.run_id, r.day FROM {LEDGER} f JOIN rows_to_hide r
                ON coalesce(r.day BETWEEN f.requested_from_date AND f.requested_to_date, true)
                AND NOT (f.run_id = r.run_id AND f.request_id = r.request_id)
            WHERE f.source = ? AND f.dataset = ? AND f.discriminator = ? AND f.ticker = ? AND f.promotion_kind = 'first'
                AND (f.bronze_outcome = 'asked' OR (f.bronze_outcome = 'stored' AND f.bronze_injest_end_time >= r.since))
            ORDER BY f.bronze_injest_start_time DESC LIMIT 1""",
            [recipe.source, recipe.dataset, recipe.discriminator, ticker],
        ).fetchone()
    return None if found is None else (found[0], found[1])
