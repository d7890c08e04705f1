"""The bare script: what someone writes in an afternoon, and about as fast as the work can be done from Python.

Belongs here: concurrent requests, raw files, one statement that reads and merges them, one gold table. Does not belong here: anything that
makes a load safe: no ledger, no hashes, no fsync, no rejected rows, no lineage, no retry; one unreadable answer stops the load.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import aiohttp
import duckdb

from benchmarks.contract import CONCURRENCY, PATH, Task, finish, read_task

DATABASE = "bare.duckdb"
COLUMNS = {
    "symbol": "VARCHAR", "date": "DATE", "open": "DOUBLE", "high": "DOUBLE", "low": "DOUBLE", "close": "DOUBLE", "volume": "BIGINT",
    "change": "DOUBLE", "changePercent": "DOUBLE", "vwap": "DOUBLE",
}  # fmt: skip


async def fetch(task: Task, windows: Iterator[tuple[str, str]], folder: Path) -> list[str]:
    """Stores every ticker's answer as it came; gives the tickers that got none."""
    failed = []
    connector = aiohttp.TCPConnector(limit=CONCURRENCY)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def take() -> None:
            for ticker, first in windows:
                asked = {"symbol": ticker, "from": first, "to": task.to.isoformat(), "apikey": "k"}
                async with session.get(task.url + PATH, params=asked) as answer:
                    body = await answer.read()
                if answer.status == 200:
                    (folder / f"{ticker}.json").write_bytes(body)
                else:
                    failed.append(ticker)

        await asyncio.gather(*(take() for _ in range(CONCURRENCY)))
    return failed


def main() -> None:
    task = read_task(__doc__)
    raw = task.folder / "bronze" / task.to.isoformat()
    raw.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(task.folder / DATABASE)) as connection:
        declared = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
        connection.execute(f"CREATE TABLE IF NOT EXISTS prices ({declared})")
        last = dict(connection.execute("SELECT symbol, max(date) FROM prices GROUP BY symbol").fetchall())
        windows = ((t, (last[t] + timedelta(days=1) if t in last else task.first).isoformat()) for t in task.tickers)
        failed = asyncio.run(fetch(task, windows, raw))
        connection.execute(
            f"""MERGE INTO prices t USING (FROM read_json('{raw}/*.json', format = 'array', columns = {COLUMNS})) s
            ON t.symbol = s.symbol AND t.date = s.date
            WHEN MATCHED THEN UPDATE WHEN NOT MATCHED THEN INSERT"""
        )
        connection.execute(
            """CREATE OR REPLACE TABLE returns AS
            SELECT symbol, date, close / lag(close) OVER (PARTITION BY symbol ORDER BY date) - 1 AS simple_return FROM prices"""
        )
    finish(DATABASE, "prices", failed)


if __name__ == "__main__":
    main()
