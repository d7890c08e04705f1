from __future__ import annotations

from datetime import date, time
from typing import Any

import pytest
from pydantic import ValidationError

from ops_pipeline.recipes.answers import ColumnType
from ops_pipeline.recipes.loading import load_catalogue
from ops_pipeline.recipes.models import Recipe
from ops_pipeline.recipes.modes import RequestMode
from ops_pipeline.recipes.source import SourceDeclaration
from ops_pipeline_tests.recipes.files import RECIPE, SOURCE, without

PRICES = load_catalogue().recipes["sample.eod-prices"]
RATES = load_catalogue().recipes["sample.fx-rates"]


def price_fields(**changed: Any) -> dict[str, Any]:
    return {**PRICES.model_dump(mode="json", by_alias=True), **changed}


def prices(**changed: Any) -> Recipe:
    return Recipe.model_validate(price_fields(**changed))


# --- the built-in recipes -------------------------------------------------------------------------------------------------------


def test_the_names_that_others_rely_on() -> None:
    assert (PRICES.dataset_key, RATES.dataset_key) == ("sample.eod-prices", "sample.fx-rates")
    assert (PRICES.silver_table, PRICES.history_table) == ("silver.sample_eod_prices", "silver.sample_eod_prices_history")
    assert (RATES.silver_table, RATES.gold_table, PRICES.gold_table) == (
        "silver.sample_fx_rates",
        "gold.fact_fx",
        "gold.fact_eod",
    )
    raw = prices(discriminator="raw-2")
    assert (raw.dataset_key, raw.silver_table) == ("sample.eod-prices.raw-2", "silver.sample_eod_prices_raw_2")


def test_a_ticker_is_part_of_the_key_where_there_is_one() -> None:
    assert (PRICES.silver_key, PRICES.silver_columns[0]) == (["ticker", "date"], ("ticker", "VARCHAR"))
    assert (RATES.silver_key, RATES.silver_columns[0]) == (["currency", "date"], ("currency", "VARCHAR"))


def test_built_in_values() -> None:
    assert (PRICES.first_date, PRICES.last_date, PRICES.lookback_days) == (date(2000, 3, 1), date(2013, 3, 1), 0)
    assert (RATES.first_date, RATES.settles_at, RATES.timezone) == (date(1999, 1, 4), time(16, 30), "Europe/Berlin")
    assert [c.source_field for c in PRICES.columns][-2:] == ["volume", "adjClose"]


def test_only_windows_and_vintages_have_watermarks() -> None:
    assert {m for m in RequestMode if m.has_watermark} == {RequestMode.WINDOW, RequestMode.BY_VINTAGE}


def test_every_column_type_has_an_sql_type() -> None:
    assert len({t.sql for t in ColumnType}) == len(ColumnType)


# --- hashes ---------------------------------------------------------------------------------------------------------------------


def test_a_hash_identifies_what_the_recipe_says() -> None:
    assert prices().recipe_hash == PRICES.recipe_hash
    assert Recipe.model_validate_json(PRICES.text) == PRICES
    assert len(PRICES.recipe_hash) == len(PRICES.columns_hash) == 16


# Every field, and whether it changes what silver's rows mean.
CHANGES: dict[str, tuple[Any, bool]] = {
    "source": ("other", False),
    "dataset": ("other", False),
    "discriminator": ("raw", False),
    "domain": ("other", False),
    "description": ("other", False),
    "url": ("other", False),
    "per_ticker": (False, True),
    "mode": ("snapshot", False),
    "first_date": ("1990-01-01", False),
    "last_date": (None, False),
    "lookback_days": (5, False),
    "cadence": ("weekly", False),
    "calendar": ("daily", False),
    "timezone": ("UTC", False),
    "settles_at": ("17:00", False),
    "settles_after_days": (1, False),
    "past_days": (0, False),
    "future_days": (0, False),
    "last_n": (5, False),
    "period": ("year", False),
    "recent_periods": (0, False),
    "every_session": (False, False),
    "request": ({"path": "/prices/{ticker}"}, False),
    "files": ("{ticker}.csv", False),
    "answer": ({"format": "csv"}, True),
    "columns": (price_fields()["columns"][::-1], True),
    "key": (["date", "close"], True),
    "date_column": (None, True),
    "available_at": ("date", False),
    "refetch_on_restatement": (True, False),
    "adjusted_by": (["sample.splits"], False),
    "symbol_column": ("name", True),
    "covered_by": ("sample.bulk", False),
    "action_columns": ({"close": 0}, True),
    "continues_only": (True, True),
    "max_reject_share": (0, False),
    "checks": ({"sample": 9}, False),
    "gold": (None, False),
}

OF_MANY: dict[str, Any] = {
    "per_ticker": False,
    "columns": [*price_fields()["columns"], {"name": "name", "type": "text", "required": True}],
    "key": ["name", "date"],
}

MORE: dict[str, dict[str, Any]] = {
    "date_column": {"mode": "snapshot", "gold": None},
    "adjusted_by": {"refetch_on_restatement": True},
    "symbol_column": {**OF_MANY, "gold": None},
    "action_columns": {**OF_MANY, "symbol_column": "name"},
    "continues_only": {**OF_MANY, "symbol_column": "name"},
    "past_days": {"mode": "rolling", "future_days": 9},
    "future_days": {"mode": "rolling", "past_days": 9},
    "last_n": {"mode": "last_n"},
    "period": {"mode": "by_period"},
    "recent_periods": {"mode": "by_period", "period": "month"},
}


def test_every_field_is_tried() -> None:
    assert set(CHANGES) == set(Recipe.model_fields)


@pytest.mark.parametrize("field", CHANGES)
def test_every_field_changes_the_recipes_hash_and_some_its_shape(field: str) -> None:
    value, shape = CHANGES[field]
    more = MORE.get(field, {})
    changed = prices(**{**more, field: value})
    assert changed.recipe_hash != PRICES.recipe_hash
    assert (changed.columns_hash != PRICES.columns_hash) == shape


def test_a_comment_changes_no_shape_and_a_type_does() -> None:
    columns = price_fields()["columns"]
    assert prices(columns=[{**c, "comment": "other"} for c in columns]).columns_hash == PRICES.columns_hash
    for change in ({"type": "text"}, {"from": "other"}, {"required": True}):
        assert prices(columns=[*columns[:1], {**columns[1], **change}, *columns[2:]]).columns_hash != PRICES.columns_hash


def test_what_an_answer_and_a_column_do_not_say_is_in_no_hash() -> None:
    assert PRICES.model_dump(mode="json", by_alias=True)["answer"].keys() == {"format", "missing", "unpivot", "ignored"}
    assert PRICES.model_dump(mode="json", by_alias=True)["columns"][1].keys() == {"name", "type", "from", "required", "comment"}
    ignoring = prices(answer={"format": "json", "ignored": ["vwap"]})
    assert (ignoring.columns_hash, ignoring.recipe_hash == PRICES.recipe_hash) == (PRICES.columns_hash, False)
    assert ignoring.known_fields == PRICES.known_fields - {"symbol"} | {"vwap"}
    below = prices(answer={"format": "json", "records": "/a/*"})
    assert below.columns_hash != PRICES.columns_hash
    assert Recipe.model_validate_json(below.text) == below


def test_recipes_stay_as_they_are() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        PRICES.lookback_days = 3  # type: ignore[misc]


# --- what is refused ------------------------------------------------------------------------------------------------------------

COLUMNS = price_fields()["columns"]
UNPIVOT = {"keep": ["Date"], "name_to": "currency", "value_to": "rate"}


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"dataset": "Eod"}, "dataset"),
        ({"dataset": "a.b"}, "dataset"),
        ({"dataset": "a b"}, "dataset"),
        ({"dataset": "a\n"}, "dataset"),
        ({"dataset": "x'; DROP TABLE y; --"}, "dataset"),
        ({"dataset": "a" * 61}, "dataset"),
        ({"discriminator": "--"}, "discriminator"),
        ({"discriminator": ""}, "discriminator"),
        ({"description": ""}, "description"),
        ({"surprise": "1"}, "surprise"),
        ({"mode": "sometimes"}, "mode"),
        ({"cadence": "hourly"}, "cadence"),
        ({"calendar": "nyse"}, "calendar"),
        ({"timezone": "Mars"}, "IANA"),
        ({"settles_at": "18:00Z"}, "local time"),
        ({"settles_at": "18:00+02:00"}, "local time"),
        ({"settles_at": "18"}, "settles_at"),
        ({"settles_at": "25:00"}, "settles_at"),
        ({"first_date": "0"}, "YYYY-MM-DD"),
        ({"first_date": "946684800"}, "YYYY-MM-DD"),
        ({"first_date": "2000-03"}, "YYYY-MM-DD"),
        ({"first_date": "1/3/2000"}, "YYYY-MM-DD"),
        ({"first_date": "2001-02-29"}, "first_date"),
        ({"first_date": None}, "needs date_column and first_date"),
        ({"date_column": None, "gold": None}, "needs date_column and first_date"),
        ({"last_date": "1999-01-01"}, "before first_date"),
        ({"lookback_days": "-1"}, "lookback_days"),
        ({"lookback_days": "1.5"}, "lookback_days"),
        ({"max_reject_share": "1.1"}, "max_reject_share"),
        ({"max_reject_share": "nan"}, "max_reject_share"),
        ({"columns": []}, "columns"),
        ({"columns": [*COLUMNS, COLUMNS[1]]}, "open declared twice"),
        ({"columns": [*COLUMNS, {"name": "run_id", "type": "text"}]}, "run_id are kept"),
        ({"columns": [*COLUMNS, {"name": "ticker", "type": "text"}]}, "ticker are kept"),
        ({"columns": [*COLUMNS, {"name": "operation", "type": "text"}]}, "operation are kept"),
        ({"columns": [*COLUMNS, {"name": "x; --", "type": "text"}]}, "columns"),
        ({"columns": [*COLUMNS, {"name": "x", "type": "varchar"}]}, "columns"),
        ({"columns": [*COLUMNS, {"name": "x", "type": "text", "field": "y"}]}, "columns"),
        ({"key": []}, "key"),
        ({"key": ["day"]}, "key: day is not among the columns"),
        ({"key": ["open"]}, "key: open must be declared `required: true`"),
        ({"key": ["date", "date"]}, "key: a column stands twice"),
        ({"date_column": "open"}, "date_column: open must be a required column of type date"),
        ({"date_column": "day"}, "date_column: day"),
        ({"answer": {"format": "xml"}}, "answer"),
        ({"answer": {"format": "json", "unpivot": UNPIVOT}}, "csv answers only"),
        ({"answer": {"format": "csv", "unpivot": UNPIVOT}}, "not among the fields that unpivot makes"),
        ({"answer": {"format": "csv", "unpivot": {**UNPIVOT, "value_to": "currency"}}}, "all be different"),
        ({"answer": {"format": "csv", "unpivot": {**UNPIVOT, "name_to": "Date"}}}, "all be different"),
        ({"answer": {"format": "csv", "unpivot": {**UNPIVOT, "keep": []}}}, "keep"),
        ({"answer": {"format": "csv", "records": "/a/*"}}, "records does not work on csv answers"),
        ({"answer": {"format": "json", "delimiter": ";"}}, "delimiter does not work on json answers"),
        ({"answer": {"format": "csv", "delimiter": "a"}}, "use a character such as"),
        ({"answer": {"format": "csv", "header": False, "unpivot": UNPIVOT}}, "unpivot needs a header"),
        ({"answer": {"format": "csv", "header": False}}, "`from` is a position"),
        ({"answer": {"format": "json", "records": "a/*"}}, "a pointer begins with /"),
        ({"answer": {"format": "json", "records": "/a~b"}}, "~ is written ~0"),
        ({"answer": {"format": "json", "record": "parallel"}}, "needs `records`"),
        ({"answer": {"format": "json", "record": "array"}}, "`from` is a position"),
        ({"columns": [*COLUMNS, {"name": "x", "type": "text", "up": 2}]}, "up 2 is further out than the answer, which is up 1"),
        ({"columns": [*COLUMNS, {"name": "x", "type": "text", "up": 1, "record_name": True}]}, "stands under none"),
        ({"columns": [*COLUMNS, {"name": "x", "type": "text", "from": "a", "path": "/a"}]}, "exclude each other"),
        ({"columns": [*COLUMNS, {"name": "x", "type": "text", "path": "a"}]}, "a pointer begins with /"),
        ({"columns": [*COLUMNS, {"name": "x", "type": "text", "zone": "UTC"}]}, "for columns of type date and timestamp"),
        ({"columns": [*COLUMNS, {"name": "x", "type": "timestamp", "zone": "Mars"}]}, "IANA"),
        ({"columns": [*COLUMNS, {"name": "x", "type": "date", "zone": "UTC"}]}, "a day has no zone"),
        ({"columns": [*COLUMNS, {"name": "x", "type": "date", "format": "%Q"}]}, "%Q is not understood"),
        ({"columns": [*COLUMNS, {"name": "x", "type": "date", "format": "%d %B"}]}, "a pattern with year"),
        ({"columns": [*COLUMNS, {"name": "x", "type": "timestamp", "format": "epoch_s", "zone": "UTC"}]}, "leave zone out"),
        ({"columns": [*COLUMNS, {"name": "x", "type": "text", "zero_is_missing": True}]}, "double and integer"),
        ({"gold": {"object": "fact_x"}}, "gold"),
        ({"gold": {"object": "fact_eod", "columns": {"close": "price"}}}, "price, which is not among the columns"),
        (
            {"gold": {"object": "fact_eod", "columns": {"close": "close"}}, "mode": "snapshot", "date_column": None},
            "needs a date_column",
        ),
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError) as caught:
        prices(**changed)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    "field", ["source", "dataset", "domain", "description", "per_ticker", "mode", "answer", "columns", "key"]
)
def test_what_a_recipe_must_say(field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        Recipe.model_validate(without({**RECIPE, "source": "acme"}, field))


@pytest.mark.parametrize(
    "changed", [{"concurrency": "0"}, {"client": "http"}, {"floor": "0"}, {"floor": "2000"}, {"name": "A B"}, {"key": "x"}]
)
def test_a_source_that_makes_no_sense_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(changed))):
        SourceDeclaration.model_validate({**SOURCE, **changed})


def test_a_recipe_without_request_keeps_the_hash_that_it_had_before_there_were_requests() -> None:
    assert "request" not in PRICES.text
    asked = [prices(request={"path": "/a/{ticker}"}), prices(request={"path": "/a", "params": {"t": "{ticker}"}})]
    assert len({PRICES.recipe_hash, *(recipe.recipe_hash for recipe in asked)}) == 3
    assert all(Recipe.model_validate_json(recipe.text) == recipe for recipe in asked)


def test_a_source_has_a_floor() -> None:
    assert SourceDeclaration.model_validate({**SOURCE, "floor": "1998-01-02"}).floor == date(1998, 1, 2)
