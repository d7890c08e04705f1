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

from ops_pipeline.ops.sql import LEDGER
from ops_pipeline.ops.wanted import dicts, registered
from ops_pipeline.recipes.models import NO_TICKER, TICKER_COLUMN
from ops_pipeline.recipes.modes import RequestMode
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
        dropped_at: when that answer was stored.
        last_run_id: of the answer that gave the row as it stands.
    """

    dataset: str
    ticker: str
    row_key: str
    day: date
    known_at: datetime
    run_id: str
    dropped_at: datetime
    last_run_id: str


def has_windows(recipe: Recipe) -> bool:
    """Whether an answer says which days it is about, so that a row of one of them can be missing from it."""
    by_session = recipe.mode is RequestMode.BY_PERIOD and recipe.period == "session"
    return recipe.date_column is not None and (recipe.mode in (RequestMode.WINDOW, RequestMode.ROLLING) or by_session)


def _answers(recipe: Recipe) -> str:
    """Complete answers with data that silver took: their window, their place in the order of files, and the rows that they repeated."""
    mine = f"source = {literal(recipe.source)} AND dataset = {literal(recipe.dataset)} AND discriminator = {literal(recipe.discriminator)}"
    return f"""SELECT ticker, run_id, request_id, any_value(requested_from_date) AS first, any_value(requested_to_date) AS last,
            min({{'a': bronze_injest_end_time, 'b': run_id, 'c': file_id}}) AS place, list(file_id) AS file_ids,
            sum(silver_rows_updated + silver_rows_unchanged)::BIGINT AS repeated, sum(silver_rows_failed)::BIGINT AS refused
        FROM {LEDGER} WHERE {mine} AND promotion_kind = 'first' AND bronze_outcome = 'stored' AND silver_errors IS NULL
            AND silver_injest_end_time IS NOT NULL AND coalesce(silver_hold, 'whole') = 'whole'
            AND requested_from_date IS NOT NULL AND requested_to_date IS NOT NULL AND ticker IN (FROM wanted_tickers)
        GROUP BY ticker, run_id, request_id HAVING bool_and(request_complete)"""


def _rows(recipe: Recipe) -> str:
    """Silver's rows, each with the place of the file that made it."""
    keys = ", ".join(identifier(k) for k in recipe.silver_key)
    ticker = TICKER_COLUMN if recipe.per_ticker else literal(NO_TICKER)
    own_key = ", ".join(f"{identifier(n)} := s.{identifier(n)}" for n in recipe.key)
    same = " AND ".join(f"s.{identifier(k)} = c.{identifier(k)}" for k in recipe.silver_key)
    mine = f"{TICKER_COLUMN} IN (FROM wanted_tickers)" if recipe.per_ticker else "true"
    return f"""SELECT {f"s.{ticker}" if recipe.per_ticker else ticker} AS ticker, s.{identifier(recipe.date_column or "")}::DATE AS day,
            to_json(struct_pack({own_key}))::VARCHAR AS row_key, s.known_at, s.run_id AS last_run_id, c.made
        FROM (FROM {recipe.silver_table} WHERE {mine}) s JOIN (
            SELECT {keys}, max({{'a': known_at, 'b': run_id, 'c': bronze_file_id}}) AS made
            FROM {recipe.history_table} WHERE operation = 'C' AND {mine} GROUP BY ALL) c ON {same}"""


_IN_WINDOW = "r.ticker = a.ticker AND r.day BETWEEN a.first AND a.last AND r.made < a.place"


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
    own_key = ", ".join(f"{identifier(n)} := h.{identifier(n)}" for n in recipe.key)
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
            held AS (SELECT DISTINCT run_id, request_id, {ticker} AS ticker, to_json(struct_pack({own_key}))::VARCHAR AS row_key
                FROM held_keys h),
            missing AS (
                SELECT r.*, a.run_id, a.place FROM answers a SEMI JOIN lacking_answers g USING (run_id, request_id, ticker)
                JOIN stored r ON {_IN_WINDOW}
                ANTI JOIN held h ON h.run_id = a.run_id AND h.request_id = a.request_id AND h.ticker = r.ticker AND h.row_key = r.row_key),
            newest AS (SELECT r.ticker, r.row_key, max(a.place) AS place FROM missing r JOIN answers a ON {_IN_WINDOW} GROUP BY ALL)
            SELECT {literal(recipe.dataset_key)} AS dataset, m.ticker, m.row_key, m.day, m.known_at, m.run_id, m.place.a AS dropped_at,
                m.last_run_id
            FROM missing m JOIN newest n ON n.ticker = m.ticker AND n.row_key = m.row_key AND n.place = m.place
            ORDER BY m.ticker, m.day, m.row_key""",
        )
    return [DroppedRow(**row) for row in rows]
