"""The dimensions: instruments with stable ids, and dates.

Belongs here: what makes an instrument and a date row, and keeping both in step with the facts. Does not belong here: the facts (`facts`).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pyarrow as pa

from ops_pipeline.recipes.models import NO_TICKER

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    import duckdb


def instrument_id(domain: str, first_symbol: str, since: date | None = None) -> str:
    """The stable id of an instrument: 16 hex digits that depend on its domain and the first symbol it was known by, and on nothing else.

    Args:
        domain: the kind of market.
        first_symbol: the first symbol.
        since: its first day, where another instrument had the symbol before.
    """
    parts = [domain, first_symbol, *([since.isoformat()] if since else [])]
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]


def has_renamed(connection: duckdb.DuckDBPyConnection, domain: str) -> bool:
    """Whether some instrument of a domain had more than one symbol."""
    query = "SELECT 1 FROM gold.dim_instrument WHERE domain = ? AND valid_from IS NOT NULL LIMIT 1"
    return connection.execute(query, [domain]).fetchone() is not None


def siblings(connection: duckdb.DuckDBPyConnection, domain: str, symbols: Iterable[str]) -> dict[str, list[str]]:
    """Symbol -> the other symbols that its instruments have or had; symbols without others are left out."""
    found = connection.execute(
        """SELECT a.symbol, list(DISTINCT b.symbol ORDER BY b.symbol) FROM gold.dim_instrument a
        JOIN gold.dim_instrument b ON b.instrument_id = a.instrument_id AND b.symbol <> a.symbol
        WHERE a.domain = ? AND list_contains(?, a.symbol) GROUP BY a.symbol""",
        [domain, sorted(set(symbols))],
    ).fetchall()
    return dict(found)


def ensure_instruments(connection: duckdb.DuckDBPyConnection, domain: str, symbols: Iterable[str]) -> None:
    """Adds the instruments of symbols that no row knows in this domain."""
    wanted = sorted(set(symbols) - {NO_TICKER})
    table = pa.table(
        {
            "instrument_id": pa.array([instrument_id(domain, s) for s in wanted], pa.string()),
            "symbol": pa.array(wanted, pa.string()),
            "domain": pa.array([domain] * len(wanted), pa.string()),
        }
    )
    connection.register("wanted_instruments", table)
    connection.execute(
        """INSERT INTO gold.dim_instrument SELECT w.instrument_id, w.symbol, w.domain, NULL, NULL FROM wanted_instruments w
        WHERE NOT EXISTS (SELECT 1 FROM gold.dim_instrument i WHERE i.symbol = w.symbol AND i.domain = w.domain)"""
    )
    connection.unregister("wanted_instruments")


def refresh_dates(connection: duckdb.DuckDBPyConnection, written: tuple[date, date] | None = None) -> None:
    """Makes `gold.dim_date` hold exactly the years that the facts fall into.

    Args:
        connection: inside the caller's exclusive transaction.
        written: the first and the last day of the rows that were written since it last did, where none were deleted: if it has both, not
            all days of all facts need to be looked at. None: anything may have changed.
    """
    if written is not None:
        known = connection.execute("SELECT min(date) <= ? AND ? <= max(date) FROM gold.dim_date", list(written)).fetchone()
        if known == (True,):
            return
    low, high = connection.execute(
        """SELECT min(low), max(high) FROM (SELECT min(date) AS low, max(date) AS high FROM gold.fact_eod
        UNION ALL SELECT min(date), max(date) FROM gold.fact_fx
        UNION ALL SELECT min(date), max(date) FROM gold.fact_series)"""
    ).fetchone() or (None, None)
    if low is None or high is None:
        connection.execute("DELETE FROM gold.dim_date")
        return
    years = [low.year, high.year]
    connection.execute("DELETE FROM gold.dim_date WHERE year NOT BETWEEN ? AND ?", years)
    connection.execute(
        """INSERT INTO gold.dim_date
        SELECT d, year(d), quarter(d), month(d), day(d), isoyear(d), weekofyear(d), isodow(d), isodow(d) >= 6, d = last_day(d)
        FROM (SELECT unnest(generate_series(make_date(?::INTEGER, 1, 1), make_date(?::INTEGER, 12, 31), INTERVAL 1 DAY))::DATE AS d)
        WHERE NOT EXISTS (SELECT 1 FROM gold.dim_date t WHERE t.date = d)""",
        years,
    )
