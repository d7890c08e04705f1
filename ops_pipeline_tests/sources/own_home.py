"""Homes with a source of a user's own, and runs over them.

Belongs here: writing the recipe file, the code and the universe, and one run. Does not belong here: expectations.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ops_pipeline.engine.context import Context, build_context
from ops_pipeline.engine.outcome import Outcome
from ops_pipeline.engine.plan import RunOptions
from ops_pipeline.engine.run import new_run_id, run_batch
from ops_pipeline.settings import load_settings
from ops_pipeline_tests.template import place_migrated

RECIPE: dict[str, Any] = {
    "dataset": "prices",
    "domain": "equities",
    "description": "Prices.",
    "per_ticker": True,
    "mode": "window",
    "first_date": "2024-01-01",
    "last_date": "2024-01-31",
    "answer": {"format": "json"},
    "columns": [
        {"name": "date", "type": "date", "required": True},
        {"name": "close", "type": "double", "required": True},
        {"name": "note", "type": "text"},
    ],
    "key": ["date"],
    "date_column": "date",
    "gold": {"object": "fact_eod", "columns": {"close": "close"}},
}


def make_home(folder: Path, source: dict[str, Any], *recipes: dict[str, Any], tickers: tuple[str, ...] = ("AAA",)) -> Context:
    """A home, migrated, whose one source of its own is `own`; the universe lists the tickers for each dataset that has some."""
    # None takes a field away.
    given = [{k: v for k, v in (RECIPE | recipe).items() if v is not None} for recipe in recipes or ({},)]
    (folder / "recipes").mkdir(parents=True, exist_ok=True)
    declared = {"name": "own", "description": "Of the user's own."} | source
    (folder / "recipes" / "own.yaml").write_text(json.dumps({"source": declared, "recipes": given}))
    wanted = {f"own.{recipe['dataset']}": list(tickers) if recipe["per_ticker"] else "" for recipe in given}
    (folder / "universe.yaml").write_text(json.dumps({"datasets": wanted}))
    context = build_context(load_settings(home=folder))
    place_migrated(context.settings.database_path)
    context.migrate(lambda _: None)
    return context


def run(context: Context, **options: Any) -> dict[str, Outcome]:
    """One run over the universe: its outcomes by ticker."""
    chosen = RunOptions(**options)
    return {o.key.ticker: o for o in run_batch(context, list(context.universe()), chosen, run_id=new_run_id())}


def rows(context: Context, query: str) -> list[tuple[Any, ...]]:
    with context.warehouse.reading() as connection:
        return connection.execute(query).fetchall()
