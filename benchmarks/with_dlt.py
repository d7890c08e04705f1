"""dlt (https://dlthub.com) on the same work, set up as well as we know.

Belongs here: the pipeline as a user of dlt would write it. Does not belong here: anything of this project's own pipeline.

One resource and one incremental cursor a ticker, all merged into one table by (symbol, date), loaded as Parquet files, which is
faster into DuckDB than dlt's default, INSERT statements. `.parallelize()` is called after the ticker is bound: with
`parallelized=True` beside an argument that is an incremental cursor, dlt 1.31 fetches one ticker after the other.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

from benchmarks.contract import CONCURRENCY, PATH, Task, finish, read_task

DATABASE = "dlt.duckdb"
NUMBERS = ("open", "high", "low", "close", "change", "changePercent", "vwap")
COLUMNS = {
    "symbol": {"data_type": "text"},
    "date": {"data_type": "date"},
    "volume": {"data_type": "bigint"},
    **{name: {"data_type": "double"} for name in NUMBERS},
}


def load(task: Task) -> None:
    """One run of the pipeline, and the gold table."""
    os.environ |= {
        "DLT_DATA_DIR": str(task.folder / "dlt"),
        "EXTRACT__WORKERS": str(CONCURRENCY),
        "EXTRACT__MAX_PARALLEL_ITEMS": str(2 * CONCURRENCY),
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "RUNTIME__LOG_LEVEL": "ERROR",
    }
    import dlt  # reads its settings from the environment when it is imported
    from dlt.sources.helpers import requests

    cursor = dlt.sources.incremental("date", initial_value=None, range_start="open")

    def prices(ticker: str, last: Any = cursor) -> Iterator[Any]:
        begin = task.first
        if last.last_value is not None:
            begin = date.fromisoformat(str(last.last_value)[:10]) + timedelta(days=1)
        asked = {"symbol": ticker, "from": begin.isoformat(), "to": task.to.isoformat(), "apikey": "k"}
        answer = requests.get(task.url + PATH, params=asked)
        answer.raise_for_status()
        yield answer.json()

    @dlt.source(name="vendor")
    def vendor() -> Iterator[Any]:
        for ticker in task.tickers:
            resource = dlt.resource(
                prices,
                name=f"prices_{ticker}",
                table_name="prices",
                primary_key=("symbol", "date"),
                columns=COLUMNS,
                write_disposition="merge",
            )
            yield resource(ticker).parallelize()

    destination = dlt.destinations.duckdb(str(task.folder / DATABASE))
    pipeline = dlt.pipeline("vendor", destination=destination, dataset_name="silver", pipelines_dir=str(task.folder / "dlt"))
    pipeline.run(vendor(), loader_file_format="parquet")
    with pipeline.sql_client() as client:
        client.execute_sql(
            """CREATE OR REPLACE TABLE silver.returns AS
            SELECT symbol, date, close / lag(close) OVER (PARTITION BY symbol ORDER BY date) - 1 AS simple_return FROM silver.prices"""
        )


def main() -> None:
    task = read_task(__doc__)
    failed: list[str] = []
    try:
        load(task)
    except Exception as error:  # noqa: BLE001 - whatever dlt raises: the load is one package, so one ticker that fails fails all
        print(error, file=sys.stderr)
        failed = task.tickers
    finish(DATABASE, "silver.prices", failed)


if __name__ == "__main__":
    main()
