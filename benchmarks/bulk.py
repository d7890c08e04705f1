"""Bulk files: one file of ten thousand symbols a session through bronze, silver and gold, beside tickers with a history of their own.

Belongs here: making such a home in process, and the seconds of each step. Does not belong here: what is right (`ops_pipeline_tests`).

    python -m benchmarks.bulk --symbols 10000 --wanted 500 --sessions 20
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from ops_pipeline.engine.context import Context, build_context
from ops_pipeline.engine.plan import RunOptions, verdicts
from ops_pipeline.engine.run import new_run_id, run_batch
from ops_pipeline.recipes.loading import Catalogue
from ops_pipeline.recipes.models import Recipe
from ops_pipeline.recipes.source import SourceDeclaration
from ops_pipeline.settings import load_settings
from ops_pipeline.sources import Answer, Request

FIRST, SEEDED = date(2020, 1, 1), date(2020, 12, 31)
_DAY = {"name": "date", "type": "date", "required": True}
_PRICES: list[dict[str, Any]] = [{"name": n, "type": "double"} for n in ("open", "high", "low", "close", "adjusted", "volume")]
_COMMON: dict[str, Any] = {
    "source": "vendor", "domain": "equities", "description": "Prices.", "calendar": "weekdays", "date_column": "date",
    "gold": {"object": "fact_eod", "columns": {"close": "close", "adjusted_close": "adjusted"}},
}  # fmt: skip
OWN = Recipe.model_validate(
    _COMMON | {"dataset": "prices", "per_ticker": True, "mode": "window", "first_date": FIRST, "columns": [_DAY, *_PRICES],
               "key": ["date"], "answer": {"format": "json"}, "covered_by": "vendor.bulk"}
)  # fmt: skip
BULK = Recipe.model_validate(
    _COMMON | {"dataset": "bulk", "per_ticker": False, "mode": "by_period", "period": "session", "first_date": SEEDED,
               "columns": [{"name": "symbol", "type": "text", "required": True}, _DAY, *_PRICES], "key": ["symbol", "date"],
               "symbol_column": "symbol", "answer": {"format": "csv"}}
)  # fmt: skip


class Market:
    """A vendor of code, so that what is measured is the pipeline."""

    def __init__(self, symbols: list[str]) -> None:
        """Takes the symbols that its bulk files hold."""
        self.symbols = symbols

    async def fetch(self, request: Request) -> AsyncIterator[Answer]:
        """A file of all symbols, or a window of one."""
        if request.from_date is None or request.to_date is None:
            return
        if request.dataset == "bulk":
            lines = [
                f"{s},{request.from_date},1.5,2.5,0.5,{1 + n % 97 / 7},{1 + n % 89 / 7},1000" for n, s in enumerate(self.symbols)
            ]
            yield Answer("\n".join(["symbol,date,open,high,low,close,adjusted,volume", *lines]).encode())
            return
        days = (request.from_date + timedelta(days=k) for k in range((request.to_date - request.from_date).days + 1))
        prices = {"open": 1.5, "high": 2.5, "low": 0.5, "volume": 1000}
        records = [{"date": str(d), "close": d.day / 7, "adjusted": d.day / 9, **prices} for d in days if d.weekday() < 5]
        yield Answer(json.dumps(records).encode())

    async def aclose(self) -> None:
        """Nothing is held."""


def make_home(folder: Path, symbols: int, wanted: int) -> Context:
    """A migrated home that wants so many of so many symbols."""
    names = [f"S{n:05}" for n in range(symbols)]
    text = json.dumps({"datasets": {OWN.dataset_key: names[:wanted], BULK.dataset_key: []}})
    (folder / "universe.yaml").write_text(text, encoding="utf-8")
    vendor = Market(names)
    context = replace(
        build_context(load_settings(home=folder)),
        catalogue=Catalogue(
            {"vendor": SourceDeclaration(name="vendor", description="A vendor.", client="sample")},
            {recipe.dataset_key: recipe for recipe in (OWN, BULK)},
        ),
        open_source=lambda *_: vendor,
    )
    context.migrate(lambda _: None)
    return context


@contextmanager
def told(what: str) -> Iterator[None]:
    """Prints the seconds on the clock and of the processor that the block takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    sys.stdout.write(f"{what:<64}{time.perf_counter() - wall:8.2f} s{time.process_time() - cpu:8.2f} s of the processor\n")


def run(context: Context, day: date) -> None:
    """One run over everything, to its end."""
    list(run_batch(context, list(context.universe()), RunOptions(today=day), run_id=new_run_id()))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbols", type=int, default=10_000)
    parser.add_argument("--wanted", type=int, default=500)
    parser.add_argument("--sessions", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ops-pipeline-bulk-") as folder:
        context = make_home(Path(folder), given.symbols, given.wanted)
        with told(f"a year of {given.wanted} tickers of their own, and the first file"):
            run(context, SEEDED)
        days = [d for k in range(1, 3 * given.sessions) if (d := SEEDED + timedelta(days=k)).weekday() < 5][: given.sessions]
        for day in days[:-1]:
            with told(f"a file of {given.symbols:,} symbols, {given.wanted} with a history"):
                run(context, day)
        with told(f"what is due, {given.sessions - 1} sessions behind the histories"):
            found = verdicts(context, list(context.universe()), RunOptions(today=days[-2]))
        covered = sum(item.reason.startswith("covered by") for item in found)
        with context.warehouse.reading() as connection:
            gold = connection.execute("SELECT count(*) FROM gold.fact_eod WHERE date > ?", [SEEDED]).fetchone()
            silver = connection.execute(f"SELECT count(*) FROM {BULK.silver_table}").fetchone()
        if (
            covered != given.wanted
            or gold != (given.symbols * (given.sessions - 1),)
            or silver != (given.symbols * given.sessions,)
        ):
            raise SystemExit(f"wrong: {covered} covered, {gold} rows in gold, {silver} in silver")
        sys.stdout.write(f"most memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB\n")


if __name__ == "__main__":
    main()
