"""Values that a gold formula cannot take fail their own key, and no other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ops_pipeline.engine.outcome import OutcomeKind
from ops_pipeline.gold.build import commit_gold
from ops_pipeline.ops.ingestion import DatasetInjestion
from ops_pipeline.recipes.models import Recipe
from ops_pipeline.sources import Answer, Request
from ops_pipeline_tests.engine.home import key, ledger, make_home, prices_recipe, run
from ops_pipeline_tests.engine.vendor import Vendor, body, prices


def build_but_not_odd(
    connection: duckdb.DuckDBPyConnection, recipe: Recipe, files: Sequence[DatasetInjestion], run_id: str, **about: Any
) -> list[DatasetInjestion]:
    """The real build, then a real error of DuckDB about a value of ODD: the formulas of today have none left that data can cause."""
    built = commit_gold(connection, recipe, files, run_id, **about)
    if any(file.ticker == "ODD" for file in files):
        connection.execute("SELECT 9223372036854775807::BIGINT + 1::BIGINT")
    return built


async def sane(request: Request) -> AsyncIterator[Answer]:
    yield Answer(body(prices(request)))


def test_the_key_fails_in_gold_alone_and_heals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops_pipeline.engine.promote.commit_gold", build_but_not_odd)
    context = make_home(tmp_path, Vendor(sane), tickers=("AAA", "ODD", "ZZZ"), recipes=[prices_recipe()])
    told = run(context)
    assert {k.ticker: o.kind for k, o in told.items()} == {
        "AAA": OutcomeKind.PROMOTED,
        "ODD": OutcomeKind.FAILED,
        "ZZZ": OutcomeKind.PROMOTED,
    }
    assert told[key("ODD")].failed_layer == "gold"
    [row] = ledger(context, "ticker = 'ODD'")
    assert row.gold_errors is not None
    assert "gold.fact_eod cannot be built from these values" in row.gold_errors
    assert row.silver_can_promote
    assert (row.gold_rows_created, row.gold_rows_updated) == (0, 0)
    monkeypatch.undo()
    healed = run(context)
    assert healed[key("ODD")].kind is OutcomeKind.PROMOTED
    assert all(r.fully_promoted for r in ledger(context))
