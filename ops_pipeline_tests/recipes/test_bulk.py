"""What recipes of bulk files must say, and what packaged ones do when a user's take their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ops_pipeline.errors import RecipeError
from ops_pipeline.recipes.bulk import bulk_of, continued_by
from ops_pipeline.recipes.loading import load_catalogue
from ops_pipeline_tests.recipes.files import RECIPE, SOURCE, written

DATE = {"name": "date", "type": "date", "required": True}
SYMBOL = {"name": "symbol", "type": "text", "required": True}
CLOSE = {"name": "close", "type": "double"}
GOLD = {"object": "fact_eod", "columns": {"close": "close"}}
OWN: dict[str, Any] = RECIPE | {
    "dataset": "own", "mode": "window", "first_date": "2000-01-01", "columns": [DATE, CLOSE], "key": ["date"], "date_column": "date",
    "gold": GOLD, "covered_by": "acme.bulk",
}  # fmt: skip
BULK: dict[str, Any] = {k: v for k, v in OWN.items() if k != "covered_by"} | {
    "dataset": "bulk", "mode": "by_period", "period": "session", "per_ticker": False, "columns": [SYMBOL, DATE, CLOSE],
    "key": ["symbol", "date"], "symbol_column": "symbol",
}  # fmt: skip


def declared(recipe: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The recipe with changes; what is None is left out."""
    return {name: value for name, value in (recipe | changes).items() if value is not None}


def test_a_dataset_and_what_covers_it_feed_one_fact(tmp_path: Path) -> None:
    written(tmp_path, BULK, OWN, source=SOURCE)
    recipes = load_catalogue(tmp_path).recipes
    own, bulk = recipes["acme.own"], recipes["acme.bulk"]
    assert (bulk_of(own, recipes), continued_by(bulk, recipes)) == (bulk, own)
    assert (bulk_of(bulk, recipes), continued_by(own, recipes)) == (None, None)
    assert own.gold_table == bulk.gold_table == "gold.fact_eod"


def test_the_packaged_bulk_file_continues_the_prices(tmp_path: Path) -> None:
    recipes = load_catalogue().recipes
    assert continued_by(recipes["tiingo.daily-prices"], recipes) is recipes["tiingo.eod-prices"]
    assert continued_by(recipes["fmp.eod-bulk"], recipes) is recipes["fmp.eod-prices"]
    # Where a user's dataset feeds the fact, the file continues nothing, and says nothing about gold.
    written(tmp_path, declared(OWN, dataset="closes", covered_by=None, request={"path": "/{ticker}"}), source="fmp")
    for lazily in (False, True):
        found = load_catalogue(tmp_path, lazily=lazily)
        keys = ("fmp.closes", "fmp.eod-prices", "fmp.eod-bulk")
        assert [found.recipe(key).gold_table for key in keys] == ["gold.fact_eod", None, None]


@pytest.mark.parametrize(
    ("own", "bulk", "why"),
    [
        ({"covered_by": "acme.none"}, {"gold": None}, "acme.none is no dataset of acme with a symbol_column"),
        ({"covered_by": "sample.fx-rates"}, {"gold": None}, "sample.fx-rates is no dataset of acme with a symbol_column"),
        ({}, {"gold": None}, "must say in a block `gold` which of its columns are close of fact_eod"),
        ({"covered_by": None}, {}, "of the same source feeds fact_eod already"),
        ({"mode": "snapshot", "gold": None}, {"gold": None}, "covered_by: needs per_ticker: true, mode window"),
        ({"refetch_on_restatement": True}, {}, "needs adjusted_by, or action_columns in acme.bulk, or nothing tells"),
        ({}, {"action_columns": {"symbol": 0}}, "action_columns: symbol must be a column of numbers"),
        ({"action_columns": {"close": 0}}, {}, "of a dataset with a symbol_column"),
        ({"continues_only": True}, {}, "continues_only: belongs to a dataset with a symbol_column"),
        ({}, {"symbol_column": "close"}, "names a column of type text in the key"),
        ({}, {"symbol_column": "nothing"}, "names a column of type text in the key"),
        ({"symbol_column": "date"}, {}, "of a dataset with per_ticker: false"),
        ({}, {"symbol_column": None}, "fact_eod does not fit per_ticker: false"),
        ({}, {"key": ["symbol"], "date_column": "date"}, "fact_eod has one row a date and symbol"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, own: dict[str, Any], bulk: dict[str, Any], why: str) -> None:
    written(tmp_path, declared(BULK, **bulk), declared(OWN, **own), source=SOURCE)
    with pytest.raises(RecipeError) as caught:
        load_catalogue(tmp_path)
    assert why in str(caught.value)
