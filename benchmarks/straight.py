"""The straight script: what the pipeline promises of this one dataset, in one course and with nothing that another one would need.

Belongs here: a ledger that knows a request before it is sent; raw files, hashed, compressed and synced; typed rows, the refused ones kept;
a merge that tells created, updated and unchanged, and its history; a fact with returns and volatility; lineage columns. Does not belong
here: what makes a pipeline of it: recipes, retries, limits, calendars, late files, recovery, other processes, bounded memory. It tells how
much of the time the promises take, and how much the engine.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import duckdb
import pyarrow as pa
from isal import igzip

from benchmarks.bare import COLUMNS
from benchmarks.contract import CONCURRENCY, PATH, Task, finish, read_task
from ops_pipeline.light import start_light

DATABASE = "straight.duckdb"
LAGS = range(1, 20)
RETURNS = " + ".join(["log_return", *(f"r{k}" for k in LAGS)])
SQUARES = " + ".join(f"({r} - mean) * ({r} - mean)" for r in ["log_return", *(f"r{k}" for k in LAGS)])
LINEAGE = "bronze_file_id VARCHAR, run_id VARCHAR, known_at TIMESTAMPTZ"
DECLARED = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
OWN = ", ".join(COLUMNS)
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS files (file_id VARCHAR PRIMARY KEY, run_id VARCHAR, symbol VARCHAR, from_date DATE, to_date DATE,
    asked_at TIMESTAMPTZ, received_at TIMESTAMPTZ, status INTEGER, filename VARCHAR, payload_hash VARCHAR, bytes BIGINT,
    first_date DATE, last_date DATE, rows_created BIGINT, rows_updated BIGINT, rows_unchanged BIGINT, rows_refused BIGINT,
    merged_at TIMESTAMPTZ, gold_rows BIGINT, built_at TIMESTAMPTZ);
CREATE TABLE IF NOT EXISTS prices ({DECLARED}, {LINEAGE}, merged_at TIMESTAMPTZ);
CREATE TABLE IF NOT EXISTS history ({DECLARED}, {LINEAGE}, merged_at TIMESTAMPTZ, operation VARCHAR);
CREATE TABLE IF NOT EXISTS refused (file_id VARCHAR, raw VARCHAR);
CREATE TABLE IF NOT EXISTS fact (symbol VARCHAR, date DATE, close DOUBLE, volume BIGINT, simple_return DOUBLE, log_return DOUBLE,
    volatility_20d DOUBLE, {LINEAGE}, built_at TIMESTAMPTZ);
"""


def plan(connection: duckdb.DuckDBPyConnection, task: Task, run: str) -> list[tuple[str, str, str]]:
    """(file id, ticker, first day) of each request, which the ledger holds afterwards."""
    last = dict(connection.execute("SELECT symbol, max(last_date) FROM files GROUP BY symbol").fetchall())
    wanted = [(uuid.uuid4().hex, t, last[t] + timedelta(days=1) if last.get(t) else task.first) for t in task.tickers]
    asked = pa.table({"file_id": [w[0] for w in wanted], "symbol": [w[1] for w in wanted], "from_date": [w[2] for w in wanted]})
    connection.register("asked", asked)
    connection.execute(
        "INSERT INTO files BY NAME SELECT *, ? AS run_id, ?::DATE AS to_date, now() AS asked_at FROM asked", [run, task.to]
    )
    return [(file_id, ticker, day.isoformat()) for file_id, ticker, day in wanted]


async def fetch(
    task: Task, wanted: Iterator[tuple[str, str, str]], folder: Path
) -> list[tuple[str, datetime, int, str | None, str, int]]:
    """Stores every answer compressed, under a name that is its own once it is whole; gives what the ledger is told."""
    told = []
    connector = aiohttp.TCPConnector(limit=CONCURRENCY)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def take() -> None:
            for file_id, ticker, first in wanted:
                asked = {"symbol": ticker, "from": first, "to": task.to.isoformat(), "apikey": "k"}
                async with session.get(task.url + PATH, params=asked) as answer:
                    body = await answer.read()
                name = None
                if answer.status == 200:
                    name = f"{file_id}.json.gz"
                    place = folder / name
                    (folder / f"{file_id}.part").write_bytes(igzip.compress(body, 1))
                    (folder / f"{file_id}.part").replace(place)
                told.append((file_id, datetime.now(UTC), answer.status, name, hashlib.sha256(body).hexdigest(), len(body)))

        await asyncio.gather(*(take() for _ in range(CONCURRENCY)))
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        list(pool.map(_sync, [*(folder / name for _, _, _, name, *_ in told if name), folder]))
    return told


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """The tables `typed` and `bad`: each record from its text, so that no value is bent and a refused one can be shown."""
    connection.execute(
        f"""CREATE TEMP TABLE typed AS SELECT left(parse_filename(filename), 32) AS file_id, json,
            {", ".join(f"TRY_CAST(texts[{i}] AS {kind}) AS {name}" for i, (name, kind) in enumerate(COLUMNS.items(), 1))},
            {" OR ".join(f"(texts[{i}] IS NOT NULL AND {name} IS NULL)" for i, name in enumerate(COLUMNS, 1))}
                OR symbol IS NULL OR date IS NULL OR close IS NULL AS bad
        FROM (SELECT filename, json, json_extract_string(json, {[f"/{name}" for name in COLUMNS]}) AS texts
            FROM read_json_objects('{folder}/*.json.gz', format = 'array', compression = 'gzip', filename = true))"""
    )


def merge(connection: duckdb.DuckDBPyConnection, run: str) -> None:
    """Silver, its history, what was refused, and what the ledger is told of it."""
    values = [name for name in COLUMNS if name not in ("symbol", "date")]
    differs = f"({', '.join(f's.{v}' for v in values)}) IS DISTINCT FROM ({', '.join(f't.{v}' for v in values)})"
    connection.execute(
        f"""CREATE TEMP TABLE acts AS SELECT s.* EXCLUDE (json, bad), f.received_at,
            CASE WHEN t.merged_at IS NULL THEN 'C' WHEN {differs} THEN 'U' ELSE 'N' END AS act
        FROM (SELECT * FROM typed WHERE NOT bad QUALIFY row_number() OVER (PARTITION BY file_id, symbol, date) = 1) s
        JOIN files f USING (file_id) LEFT JOIN prices t ON t.symbol = s.symbol AND t.date = s.date"""
    )
    connection.execute("BEGIN")
    connection.execute(
        f"""MERGE INTO prices t USING (FROM acts WHERE act <> 'N') s ON t.symbol = s.symbol AND t.date = s.date
        WHEN MATCHED THEN UPDATE SET {", ".join(f"{v} = s.{v}" for v in values)}, bronze_file_id = s.file_id, run_id = '{run}',
            known_at = s.received_at, merged_at = now()
        WHEN NOT MATCHED THEN INSERT VALUES ({", ".join(f"s.{c}" for c in COLUMNS)}, s.file_id, '{run}', s.received_at, now())"""
    )
    connection.execute(f"INSERT INTO history SELECT {OWN}, file_id, '{run}', received_at, now(), act FROM acts WHERE act <> 'N'")
    connection.execute("INSERT INTO refused SELECT file_id, json FROM typed WHERE bad")
    connection.execute(
        """UPDATE files f SET first_date = a.first, last_date = a.last, rows_created = a.c, rows_updated = a.u, rows_unchanged = a.same,
            rows_refused = (SELECT count(*) FROM typed b WHERE b.file_id = f.file_id AND b.bad), merged_at = now()
        FROM (SELECT file_id, min(date) AS first, max(date) AS last, count(*) FILTER (act = 'C') AS c,
            count(*) FILTER (act = 'U') AS u, count(*) FILTER (act = 'N') AS same FROM acts GROUP BY file_id) a
        WHERE a.file_id = f.file_id"""
    )
    connection.execute("COMMIT")


def build(connection: duckdb.DuckDBPyConnection) -> None:
    """The fact's rows from the first changed day on, each series read twenty rows further back."""
    connection.execute(
        "CREATE TEMP TABLE reached AS SELECT symbol, min(date) AS since FROM acts WHERE act <> 'N' GROUP BY symbol"
    )
    connection.execute("BEGIN")
    connection.execute(
        "DELETE FROM fact f WHERE EXISTS (SELECT 1 FROM reached r WHERE r.symbol = f.symbol AND f.date >= r.since)"
    )
    connection.execute(
        f"""INSERT INTO fact SELECT symbol, date, close, volume, simple_return, log_return, sqrt(({SQUARES}) / 19), bronze_file_id, run_id,
            known_at, now()
        FROM (SELECT *, ({RETURNS}) / 20 AS mean FROM (SELECT *,
                {", ".join(f"lag(log_return, {k}) OVER by_date AS r{k}" for k in LAGS)}
            FROM (SELECT p.*, r.since, close / lag(close) OVER by_date - 1 AS simple_return,
                    ln(close / lag(close) OVER by_date) AS log_return
                FROM prices p JOIN reached r USING (symbol) WHERE p.date >= r.since - 60
                WINDOW by_date AS (PARTITION BY symbol ORDER BY date))
            WINDOW by_date AS (PARTITION BY symbol ORDER BY date)))
        WHERE date >= since"""
    )
    connection.execute(
        """UPDATE files f SET gold_rows = a.n, built_at = now()
        FROM (SELECT file_id, count(*) AS n FROM acts WHERE act <> 'N' GROUP BY file_id) a WHERE a.file_id = f.file_id"""
    )
    connection.execute("COMMIT")


def main() -> None:
    start_light()  # as the engine does
    task, run = read_task(__doc__), str(uuid.uuid4())
    raw = task.folder / "bronze" / task.to.isoformat()
    raw.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(task.folder / DATABASE)) as connection:
        connection.execute(SCHEMA)
        told = asyncio.run(fetch(task, iter(plan(connection, task, run)), raw))
        names = ("file_id", "received_at", "status", "filename", "payload_hash", "bytes")
        connection.register("told", pa.table(dict(zip(names, (list(c) for c in zip(*told, strict=True)), strict=True))))
        connection.execute(
            f"UPDATE files f SET {', '.join(f'{n} = t.{n}' for n in names[1:])} FROM told t WHERE t.file_id = f.file_id"
        )
        read(connection, raw)
        merge(connection, run)
        build(connection)
        failed = [
            t for (t,) in connection.execute("SELECT symbol FROM files WHERE run_id = ? AND status <> 200", [run]).fetchall()
        ]
    finish(DATABASE, "prices", failed)


if __name__ == "__main__":
    main()
