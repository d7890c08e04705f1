"""Clients and homes for a vendor on loopback.

Belongs here: a source's recipe file in YAML, the client that it makes, one question, and runs over a home. Does not belong here: the vendor
(`vendor_server`) and expectations.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

from ops_pipeline.engine.context import Context, build_context
from ops_pipeline.engine.outcome import Outcome
from ops_pipeline.engine.plan import RunOptions
from ops_pipeline.engine.run import new_run_id, run_batch
from ops_pipeline.recipes.loading import Catalogue, load_catalogue
from ops_pipeline.settings import load_settings
from ops_pipeline.sources import Answer, Request, SourceError
from ops_pipeline.sources.http import HttpClient
from ops_pipeline_tests.template import place_migrated

VARIABLE = "VENDOR_API_KEY"
KEY = "s3ntinel+KEY/0123456789=="
DATASET = "vendor.prices"
FIRST, LAST = date(2024, 1, 1), date(2024, 1, 31)
ERRORS = [
    {"match": "Error Message", "kind": "permanent"},
    {"match": "Try again", "kind": "transient"},
    {"match": "Limit Reach", "kind": "deferred"},
]
RECIPE: dict[str, Any] = {
    "dataset": "prices",
    "domain": "equities",
    "description": "Prices.",
    "per_ticker": True,
    "mode": "window",
    "first_date": FIRST.isoformat(),
    "calendar": "weekdays",
    "request": {"path": "/prices", "params": {"symbol": "{ticker}", "from": "{from_date}", "to": "{to_date}"}},
    "answer": {"format": "json"},
    "columns": [
        {"name": "date", "type": "date", "required": True},
        {"name": "close", "type": "double", "required": True},
        {"name": "volume", "type": "integer"},
        {"name": "adj_close", "from": "adjClose", "type": "double"},
    ],
    "key": ["date"],
    "date_column": "date",
    "gold": {"object": "fact_eod", "columns": {"close": "close", "adjusted_close": "adj_close", "volume": "volume"}},
}


def write_recipe(folder: Path, url: str, *, recipe: dict[str, Any] | None = None, concurrency: int = 8, **http: Any) -> None:
    """The source's file in a home; JSON is YAML."""
    given = {"base_url": url, "key": {"env": VARIABLE, "query": "apikey"}, "errors": ERRORS, "timeout_seconds": 10} | http
    if given["key"] is None:
        del given["key"]
    source = {"name": "vendor", "description": "A vendor.", "client": "http", "concurrency": concurrency, "http": given}
    (folder / "recipes").mkdir(parents=True, exist_ok=True)
    text = json.dumps({"source": source, "recipes": [RECIPE | (recipe or {})]})
    (folder / "recipes" / "vendor.yaml").write_text(text, encoding="utf-8")


def write_universe(folder: Path, tickers: Iterable[str]) -> None:
    (folder / "universe.yaml").write_text(json.dumps({"datasets": {DATASET: list(tickers)}}), encoding="utf-8")


def catalogue(folder: Path, url: str, **about: Any) -> Catalogue:
    write_recipe(folder, url, **about)
    return load_catalogue(folder / "recipes")


class Asking:
    """One client, asked about single tickers; its pauses are noted and not made."""

    def __init__(self, folder: Path, url: str, **about: Any) -> None:
        known = catalogue(folder, url, **about)
        self.pauses: list[float] = []
        self.client = HttpClient(known.sources["vendor"], known.recipes, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def one(self, ticker: str = "AAA") -> Answer:
        request = Request("equities", "vendor", "prices", "-", ticker, FIRST, LAST)
        (answer,) = [answer async for answer in self.client.fetch(request)]
        return answer

    def all(self, *tickers: str) -> list[Answer | SourceError]:
        """Answers and errors of several tickers at once, in their order; any other exception is raised."""

        async def asked() -> list[Answer | BaseException]:
            try:
                return await asyncio.gather(*(self.one(t) for t in tickers), return_exceptions=True)
            finally:
                await self.client.aclose()

        told = []
        for one in asyncio.run(asked()):
            if isinstance(one, BaseException) and not isinstance(one, SourceError):
                raise one
            told.append(one)
        return told

    def answer(self, ticker: str = "AAA") -> Answer:
        (one,) = self.all(ticker)
        assert isinstance(one, Answer), one
        return one

    def error(self, ticker: str = "AAA") -> SourceError:
        (one,) = self.all(ticker)
        assert isinstance(one, SourceError), one
        return one


def make_home(folder: Path, url: str, tickers: Iterable[str], **about: Any) -> Context:
    """A home whose source stands in a recipe file of its own, migrated."""
    write_recipe(folder, url, **about)
    write_universe(folder, tickers)
    context = build_context(load_settings(home=folder))
    place_migrated(context.settings.database_path)
    context.migrate(lambda _: None)
    return context


def run(context: Context, to: date = LAST, **options: Any) -> dict[str, Outcome]:
    """One run over the whole universe; outcomes by ticker."""
    keys = list(context.universe())
    outcomes = list(run_batch(context, keys, RunOptions(today=to, **options), run_id=new_run_id()))
    assert len(outcomes) == len(keys)
    return {outcome.key.ticker: outcome for outcome in outcomes}
