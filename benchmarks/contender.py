"""The pipeline as one contender among others: loads daily prices of some tickers from one vendor, and says where the rows are.

Belongs here: a home made of arguments, and one run over it. Does not belong here: the vendor, the other contenders and the clock.
How it is called and what it says at its end stands in `contract`.
"""

from __future__ import annotations

import logging
import os
import sys
from datetime import date
from pathlib import Path

from benchmarks.contract import finish, read_task
from ops_pipeline.light import start_light

KEY = "BENCH_API_KEY"
DATABASE = "ops.duckdb"
DATASET = "vendor.eod-prices"
TABLE = "silver.vendor_eod_prices"
RECIPE = """\
source:
  name: vendor
  description: The vendor of the benchmarks.
  client: http
  concurrency: 16
  http:
    base_url: {url}
    key: {{env: {key}, query: apikey}}
    errors: [{{match: "Error Message", kind: transient}}]
recipes:
  - dataset: eod-prices
    domain: equities
    description: Daily prices.
    per_ticker: true
    mode: window
    first_date: {first}
    calendar: weekdays
    timezone: America/New_York
    settles_at: "18:00"
    request:
      path: /stable/historical-price-eod/full
      params: {{symbol: "{{ticker}}", from: "{{from_date}}", to: "{{to_date}}"}}
    answer: {{format: json}}
    columns:
      - {{name: symbol, type: text, required: true}}
      - {{name: date, type: date, required: true}}
      - {{name: open, type: double}}
      - {{name: high, type: double}}
      - {{name: low, type: double}}
      - {{name: close, type: double, required: true}}
      - {{name: volume, type: integer}}
      - {{name: change, type: double}}
      - {{name: change_percent, from: changePercent, type: double}}
      - {{name: vwap, type: double}}
    key: [date]
    date_column: date
    gold:
      object: fact_eod
      columns: {{close: close, adjusted_close: close, volume: volume}}
"""


def make_home(folder: Path, url: str, first: date, tickers: list[str]) -> None:
    """Writes the recipe and the universe; what is there from an earlier run is written again, with the vendor's present address."""
    (folder / "recipes").mkdir(parents=True, exist_ok=True)
    (folder / "recipes" / "vendor.yaml").write_text(RECIPE.format(url=url, key=KEY, first=first), encoding="utf-8")
    lines = ["datasets:", f"  {DATASET}:", *(f'    - "{ticker}"' for ticker in tickers)]
    (folder / "universe.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def run(folder: Path, to: date) -> tuple[int, list[str]]:
    """One run over the home's universe; gives the number of keys, and the tickers that failed."""
    from ops_pipeline.engine.context import build_context
    from ops_pipeline.engine.outcome import OutcomeKind
    from ops_pipeline.engine.plan import RunOptions
    from ops_pipeline.engine.run import new_run_id, run_batch
    from ops_pipeline.settings import load_settings

    context = build_context(load_settings(home=folder, today=to))
    context.migrate(logging.getLogger(__name__).info)
    failed, keys = [], list(context.universe())
    for outcome in run_batch(context, keys, RunOptions(today=to), run_id=new_run_id()):
        if outcome.kind is OutcomeKind.FAILED:
            failed.append(outcome.key.ticker)
            print(f"{outcome.key}: {outcome.reason}", file=sys.stderr)
    return len(keys), failed


def main() -> None:
    task = read_task(__doc__)
    os.environ.setdefault(KEY, "k")
    start_light()  # as the command line does
    make_home(task.folder, task.url, task.first, task.tickers)
    _, failed = run(task.folder, task.to)
    finish(DATABASE, TABLE, failed)


if __name__ == "__main__":
    main()
