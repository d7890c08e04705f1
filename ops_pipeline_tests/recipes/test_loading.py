from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ops_pipeline.errors import RecipeError, SettingsError
from ops_pipeline.recipes import loading
from ops_pipeline.recipes.loading import load_catalogue
from ops_pipeline_tests.recipes.files import RECIPE, SOURCE, without, written

GOLD = {
    "mode": "window",
    "first_date": "2000-01-01",
    "columns": [{"name": "date", "type": "date", "required": True}, {"name": "close", "type": "double"}],
    "key": ["date"],
    "date_column": "date",
}


def refusal(folder: Path) -> str:
    with pytest.raises(RecipeError) as caught:
        load_catalogue(folder)
    text = str(caught.value)
    assert "\n" not in text
    assert "pydantic" not in text
    return text


def test_the_packaged_catalogue_alone(tmp_path: Path) -> None:
    for overlay in (None, tmp_path, tmp_path / "missing"):
        catalogue = load_catalogue(overlay)
        assert {"sample.eod-prices", "sample.fx-rates", "ecb.fx-rates", "fmp.eod-prices"} <= catalogue.recipes.keys()
        assert list(catalogue.sources) == ["coinbase", "ecb", "fmp", "fred", "sample", "tiingo"]


def test_an_unknown_dataset_is_answered_with_those_that_there_are() -> None:
    for key in ("sample.nothing", "", "x'; --"):
        with pytest.raises(RecipeError, match=re.escape(f"{key!r}") + ".*ecb.fx-rates.*sample.eod-prices, sample.fx-rates"):
            load_catalogue().recipe(key)
    assert load_catalogue().recipe("sample.fx-rates").dataset == "fx-rates"


# --- the overlay ----------------------------------------------------------------------------------------------------------------


def test_a_users_file_adds_to_a_source_and_replaces_a_recipe(tmp_path: Path) -> None:
    prices = (
        load_catalogue().recipe("sample.eod-prices").model_dump(mode="json", by_alias=True, exclude={"source"}, exclude_none=True)
    )
    written(tmp_path, RECIPE, {**prices, "lookback_days": 9})
    catalogue = load_catalogue(tmp_path)
    assert set(catalogue.recipes) - set(load_catalogue().recipes) == {"sample.profile"}
    assert catalogue.recipe("sample.eod-prices").lookback_days == 9
    assert catalogue.recipe("sample.eod-prices").recipe_hash != load_catalogue().recipe("sample.eod-prices").recipe_hash
    assert catalogue.sources == load_catalogue().sources


def test_a_users_file_declares_a_source_of_its_own_and_a_later_file_uses_it(tmp_path: Path) -> None:
    written(tmp_path, source=SOURCE, name="a.yaml")
    written(tmp_path, {**RECIPE, "discriminator": "annual"}, RECIPE, source="acme", name="b.yml")
    catalogue = load_catalogue(tmp_path)
    assert list(catalogue.recipes)[:2] == ["acme.profile.annual", "acme.profile"]
    assert catalogue.sources["acme"].concurrency == 8


def test_files_apply_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name, days in (("b.yml", 2), ("a.yaml", 1), ("c.yaml", 3)):
        written(tmp_path, {**RECIPE, "lookback_days": days}, name=name)
    assert load_catalogue(tmp_path).recipe("sample.profile").lookback_days == 3


def test_a_later_file_replaces_a_source(tmp_path: Path) -> None:
    written(tmp_path, source={**SOURCE, "name": "sample", "concurrency": 2})
    catalogue = load_catalogue(tmp_path)
    assert catalogue.sources["sample"].concurrency == 2
    assert catalogue == load_catalogue() or catalogue.recipes == load_catalogue().recipes


@pytest.mark.parametrize("text", ["", "# comments only\n", "---\n"])
def test_a_file_of_comments_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    assert load_catalogue(tmp_path) == load_catalogue()


def test_other_files_are_not_read(tmp_path: Path) -> None:
    for name in ("notes.txt", "old.yaml.bak", "._mine.yaml", ".#mine.yaml"):
        (tmp_path / name).write_bytes(b"\x00\xff")
    (tmp_path / ".#lock.yaml").symlink_to("nowhere")
    assert load_catalogue(tmp_path) == load_catalogue()


def test_a_folder_without_recipe_files_of_the_package_is_an_incomplete_installation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(loading, "PACKAGED", tmp_path)
    assert "incomplete" in refusal(tmp_path)


# --- refusals name file, dataset and field --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "dataset", "field"),
    [
        ({"lookback_days": "many"}, "sample.profile", "field lookback_days"),
        ({"discriminator": "annual", "lookback_days": "many"}, "sample.profile.annual", "field lookback_days"),
        ({"discriminator": "-", "lookback_days": "many"}, "sample.profile,", "field lookback_days"),
        ({"dataset": "Bad Name"}, "sample.Bad Name", "field dataset"),
        ({"columns": [{"name": "a", "type": "b"}]}, "sample.profile", "field columns.0.type"),
        ({"answer": {"format": "json", "missing": "N/A"}}, "sample.profile", "field answer.missing"),
        ({"surprise": "1"}, "sample.profile", "field surprise"),
        ({"timezone": "Mars"}, "sample.profile", "field timezone"),
        ({"key": ["price"]}, "sample.profile", "key: price"),
        ({"source": "other"}, "sample.profile", "field source"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, changed: dict[str, Any], dataset: str, field: str) -> None:
    path = written(tmp_path, RECIPE | {"dataset": "fine"}, {**RECIPE, **changed})
    text = refusal(tmp_path)
    assert text.startswith(f"{path}: dataset {dataset}")
    assert field in text


def test_a_missing_field_is_named_and_a_recipe_without_name_by_its_place(tmp_path: Path) -> None:
    path = written(tmp_path, without(RECIPE, "domain"))
    assert refusal(tmp_path) == f"{path}: dataset sample.profile, field domain: Field required."
    written(tmp_path, RECIPE, without(RECIPE, "dataset"))
    assert refusal(tmp_path) == f"{path}: dataset sample.(recipe 2), field dataset: Field required."


def test_the_value_is_shown_and_further_problems_are_counted(tmp_path: Path) -> None:
    written(tmp_path, {**RECIPE, "lookback_days": "many", "cadence": "hourly", "x": "y"})
    text = refusal(tmp_path)
    assert "(given: 'many')" in text
    assert text.endswith("(2 more in the same entry).")


@pytest.mark.parametrize(
    ("gold", "changed", "why"),
    [
        ({"object": "fact_eod"}, {}, "field gold.columns: fact_eod needs one of adjusted_close, close"),
        (
            {"object": "fact_eod", "columns": {"close": "close", "bid": "close"}},
            {},
            "field gold.columns: fact_eod does not know bid",
        ),
        ({"object": "fact_eod", "columns": {"close": "close"}}, {"per_ticker": False}, "does not fit per_ticker: false"),
        ({"object": "fact_fx", "columns": {"rate": "close"}}, {"per_ticker": False}, "fact_fx needs currency"),
        ({"object": "fact_fx", "columns": {"currency": "close", "rate": "close"}}, {}, "does not fit per_ticker: true"),
    ],
)
def test_a_gold_object_gets_what_it_needs(tmp_path: Path, gold: dict[str, Any], changed: dict[str, Any], why: str) -> None:
    path = written(tmp_path, {**RECIPE, **GOLD, **changed, "gold": gold})
    text = refusal(tmp_path)
    assert text.startswith(f"{path}: dataset sample.profile, field gold.")
    assert why in text


CLOSES = {"gold": {"object": "fact_eod", "columns": {"close": "close"}}}
VENUE = {"name": "venue", "type": "text", "required": True}


def test_a_gold_object_that_has_it_is_taken(tmp_path: Path) -> None:
    written(tmp_path, {**RECIPE, **GOLD, **CLOSES}, source=SOURCE)
    assert load_catalogue(tmp_path).recipe("acme.profile").gold_table == "gold.fact_eod"


def test_two_datasets_of_one_source_do_not_feed_one_fact(tmp_path: Path) -> None:
    written(tmp_path, {**RECIPE, **GOLD, **CLOSES}, {**RECIPE, **GOLD, **CLOSES, "dataset": "light"}, source=SOURCE)
    assert "dataset acme.light, field gold.object: acme.profile of the same source feeds fact_eod already" in refusal(tmp_path)


def test_a_users_recipe_takes_the_fact_from_a_packaged_one(tmp_path: Path) -> None:
    written(tmp_path, {**RECIPE, **GOLD, **CLOSES, "dataset": "closes"}, source="sample")
    found = load_catalogue(tmp_path, lazily=True)
    assert (found.recipe("sample.closes").gold_table, found.recipe("sample.eod-prices").gold_table) == ("gold.fact_eod", None)
    assert load_catalogue().recipe("sample.eod-prices").gold_table == "gold.fact_eod"


def test_packaged_vendors_are_read_when_they_are_looked_up(tmp_path: Path) -> None:
    catalogue = load_catalogue(tmp_path, lazily=True)
    assert (list(catalogue.recipes), "ecb.fx-rates" in catalogue.recipes) == ([], True)
    assert catalogue.recipes["fred.series"] == load_catalogue().recipes["fred.series"]
    assert {key.partition(".")[0] for key in catalogue.recipes} == catalogue.sources.keys() == {"ecb", "fred"}
    assert (catalogue.recipes.get("tiingo.nothing"), "nothing" in catalogue.recipes) == (None, False)
    with pytest.raises(KeyError):
        catalogue.recipes["nothing.at-all"]
    assert catalogue.complete() == load_catalogue()
    moved = load_catalogue(lazily=True, variables={"OPS_PIPELINE_SOURCE_ECB_BASE_URL": "http://localhost:1"})
    assert moved.sources["ecb"].http is not None
    assert moved.sources["ecb"].http.base_url == "http://localhost:1"
    with pytest.raises(SettingsError, match="such variables here: OPS_PIPELINE_SOURCE_COINBASE_BASE_URL, "):
        load_catalogue(lazily=True, variables={"OPS_PIPELINE_SOURCE_SAMPLE_BASE_URL": "http://localhost:1"})


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"columns": [GOLD["columns"][0], {"name": "close", "type": "text"}]}, "close must be of type double or integer"),
        ({"columns": [*GOLD["columns"], VENUE], "key": ["date", "venue"]}, "field key: fact_eod has one row a date"),
    ],
)
def test_a_gold_object_can_hold_what_it_gets(tmp_path: Path, changed: dict[str, Any], why: str) -> None:
    written(tmp_path, {**RECIPE, **GOLD, **CLOSES, **changed}, source=SOURCE)
    assert why in refusal(tmp_path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("- a", "expected the keys `source` and `recipes`"),
        ("x", "expected the keys `source` and `recipes`"),
        ("recipes: []", "expected the keys `source` and `recipes`"),
        ("source: sample\nrecipe: []", "unknown key 'recipe'"),
        ("source: sample\nrecipes: x", "must be a list"),
        ("source: sample\nrecipes: {a: b}", "must be a list"),
        ("source: sample\nrecipes: [x]", "recipe 1 must be a mapping"),
        ("source: other", "source 'other' is not declared; known sources: coinbase, ecb, fmp, fred, sample, tiingo"),
        ("source:", "source '' is not declared"),
        ("source: [a]", "source: Input should be a valid dictionary"),
        ("source: {name: a, client: sample}", "source, field description: Field required"),
        ("source: sample\nsource: sample", "line 2: not valid YAML: the key 'source' stands twice"),
        ("source: [", "not valid YAML"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert refusal(tmp_path).startswith(str(path))
    assert why in refusal(tmp_path)


def test_a_dataset_stands_once_in_a_file(tmp_path: Path) -> None:
    path = written(tmp_path, RECIPE, RECIPE)
    assert refusal(tmp_path) == f"{path}: dataset sample.profile is declared twice in this file."


@pytest.mark.parametrize(
    ("source", "recipes", "tables"),
    [
        (
            "sample",
            [{"dataset": "a", "discriminator": "b"}, {"dataset": "a-b"}],
            "sample.a-b would share the table silver.sample_a_b with sample.a.b",
        ),
        (
            "sample",
            [{"dataset": "a"}, {"dataset": "a-history"}],
            "sample.a-history would share the table silver.sample_a_history with sample.a",
        ),
        (
            "sample",
            [{"dataset": "eod", "discriminator": "prices"}],
            "would share the table silver.sample_eod_prices with sample.eod-prices",
        ),
        ({**SOURCE, "name": "rejected"}, [{"dataset": "rows"}], "rejected.rows would share the table silver.rejected_rows"),
        ({**SOURCE, "name": "sample-eod"}, [{"dataset": "prices"}], "would share the table silver.sample_eod_prices"),
    ],
)
def test_two_datasets_never_share_a_table(tmp_path: Path, source: object, recipes: list[dict[str, Any]], tables: str) -> None:
    path = written(tmp_path, *({**RECIPE, **r} for r in recipes), source=source)
    assert refusal(tmp_path).startswith(f"{path}: dataset ")
    assert tables in refusal(tmp_path)
