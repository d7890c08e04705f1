"""`init`, `universe`, `datasets` and `migrate`: what a home holds and wants."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel

from ops_pipeline.errors import UserError
from ops_pipeline.ops.migrations import latest_version
from ops_pipeline.recipes.answers import AnswerFormat, Column, Unpivot
from ops_pipeline.recipes.checks import Checks
from ops_pipeline.recipes.http import ApiKey, ErrorPattern, HttpRequest, HttpSource
from ops_pipeline.recipes.loading import load_catalogue
from ops_pipeline.recipes.models import GoldTarget, Recipe
from ops_pipeline.recipes.source import SourceDeclaration
from ops_pipeline.recipes.universe import PACKAGED
from ops_pipeline.recipes.yaml import load_yaml
from ops_pipeline.settings import PREFIX, Settings
from ops_pipeline.warehouse import Warehouse
from ops_pipeline_tests.cli.command import ok, ops, refused, rows, tree
from ops_pipeline_tests.engine.vendor import price, weekdays
from ops_pipeline_tests.sources.http_home import write_recipe
from ops_pipeline_tests.vendor_server import Reply, Seen, VendorServer


@pytest.fixture
def made(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    ok("init", home)
    return home


def uncommented(example: Path) -> str:
    """The example as its first lines tell the user to make it."""
    lines = example.read_text(encoding="utf-8").splitlines()
    return "\n".join(re.sub("^# ?", "", line) for line in lines if not line.startswith("##"))


# --- init -------------------------------------------------------------------------------------------------------------------------


def test_a_new_home_holds_three_files_and_works_at_once(made: Path) -> None:
    assert [name for name, kind in tree(made).items() if kind != "folder"] == [
        "README.txt",
        "recipes/example.yaml",
        "universe.yaml",
    ]
    assert load_yaml(made / "universe.yaml", UserError) == load_yaml(PACKAGED, UserError)
    assert load_catalogue(made / "recipes") == load_catalogue()
    document = ok("run", "--home", made, "--today", "2000-04-30", "--json").document
    assert len(document["outcomes"]) == 6


def test_the_readme_names_every_setting_with_its_default(made: Path) -> None:
    text = (made / "README.txt").read_text(encoding="utf-8")
    for name, setting in Settings.model_fields.items():
        assert f"{PREFIX}{name.upper()}=" in text
        assert setting.description is not None
        assert setting.description in text
    assert f"{PREFIX}CONCURRENCY=16\n" in text
    assert f"{PREFIX}AUTO_MIGRATE=true\n" in text
    assert str(made) in text


def test_an_empty_file_is_no_obstacle_and_a_full_one_is(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "recipes").mkdir(parents=True)
    (home / "universe.yaml").touch()
    (home / "notes.txt").write_text("mine", encoding="utf-8")
    files = ok("init", home, "--json").document["files"]
    assert files == [str(home / name) for name in ("universe.yaml", "recipes/example.yaml", "README.txt")]
    before = tree(home)
    assert "universe.yaml" in refused("init", home)
    (home / "universe.yaml").unlink()
    assert "example.yaml" in refused("init", home)
    assert tree(home).items() <= before.items()


def test_the_example_explains_every_field_and_works_when_uncommented(made: Path) -> None:
    example = made / "recipes" / "example.yaml"
    text, prose = uncommented(example), example.read_text(encoding="utf-8")
    models: list[type[BaseModel]] = [SourceDeclaration, Recipe, Column, AnswerFormat, Unpivot, GoldTarget, Checks]
    for model in models:
        for name, declared in model.model_fields.items():
            if (model, name) != (Recipe, "source"):
                # What neither example may have stands in a sentence, as code.
                shown = re.search(rf"\b{declared.alias or name}: ?", text) or re.search(rf"`{name}: [^`]+`", prose)
                assert shown, f"{model.__name__}.{name}"
    example.write_text(text, encoding="utf-8")
    added = set(load_catalogue(made / "recipes").recipes) - set(load_catalogue().recipes)
    assert added == {"mine.eod-prices.adjusted", "mine.fx-rates"}
    ok("universe", "add", "IBM", "--dataset", "mine.eod-prices.adjusted", "--home", made)
    ok("universe", "add", "--dataset", "mine.fx-rates", "--home", made)
    about = ("--dataset", "mine.eod-prices.adjusted", "--dataset", "mine.fx-rates", "--home", made, "--json")
    assert ok("run", *about).document["keys"] == {"promoted": 2}
    assert rows(made, "SELECT min(date)::VARCHAR AS d, count(*) > 2000 AS many FROM silver.mine_eod_prices_adjusted") == [
        {"d": "2005-01-03", "many": True}
    ]
    assert rows(made, "SELECT DISTINCT source FROM gold.fact_fx") == [{"source": "mine"}]


def _answer(seen: Seen) -> Reply:
    """What the example's vendor would send."""
    days = weekdays(*seen.window)
    if seen.path.endswith("/rates.csv"):
        return Reply(b"Date,USD,CHF\n" + "".join(f"{day},1.1,N/A\n" for day in days).encode())
    return Reply(json.dumps([price(seen.ticker, day) for day in days]).encode())


def test_the_example_explains_a_vendor_over_http_and_works_for_one(made: Path) -> None:
    example = made / "recipes" / "example.yaml"
    raw = example.read_text(encoding="utf-8")
    for model in (HttpSource, ApiKey, ErrorPattern, HttpRequest):
        for name in model.model_fields:
            assert re.search(rf"[`{{ ]{name}\b", raw), f"{model.__name__}.{name}"
    text = re.sub("(?m)^( *)# ", r"\1", uncommented(example)).replace("client: sample", "client: http")
    example.write_text(text, encoding="utf-8")
    ok("universe", "add", "BRK.B", "--dataset", "mine.eod-prices.adjusted", "--home", made)
    ok("universe", "add", "--dataset", "mine.fx-rates", "--home", made)
    about = ("--dataset", "mine.eod-prices.adjusted", "--dataset", "mine.fx-rates", "--home", made, "--json")
    with VendorServer(_answer) as vendor:
        env = {"OPS_PIPELINE_SOURCE_MINE_BASE_URL": f"{vendor.url}/v3", "MINE_API_KEY": "0123456789abcdef", "NO_PROXY": "*"}
        assert ok("run", *about, env=env).document["keys"] == {"promoted": 2}
    assert sorted(seen.path for seen in vendor.seen) == ["/v3/prices/BRK.B", "/v3/rates.csv"]
    assert {seen.headers["authorization"] for seen in vendor.seen} == {"Bearer 0123456789abcdef"}
    assert "OPS_PIPELINE_SOURCE_MINE_BASE_URL" in refused(
        "run", *about, env={**env, "OPS_PIPELINE_SOURCE_YOURS_BASE_URL": "https://x.example"}
    )


# --- universe ---------------------------------------------------------------------------------------------------------------------


def test_tickers_come_and_go_and_comments_stay(made: Path) -> None:
    before = (made / "universe.yaml").read_text(encoding="utf-8")
    tickers = ["^GSPC", "BTC/USD", "NO", "[red]", "0700"]
    added = ok("universe", "add", *tickers, "AAPL", "--home", made, "--json").document
    assert added == {"path": str(made / "universe.yaml"), "added": {"sample.eod-prices": tickers}}
    listed = ok("universe", "list", "--home", made, "--json").document["datasets"]
    assert listed[0]["tickers"] == ["AAPL", "FB", "GOOG", "IBM", "MSFT", *tickers]
    assert listed[1] == {"dataset": "sample.fx-rates", "per_ticker": False, "tickers": [], "ended": {}}
    assert "[red]" in ok("universe", "list", "--home", made).out
    assert "already" in ok("universe", "add", "NO", "--home", made).err
    removed = ok("universe", "remove", *tickers, "--home", made, "--json").document["removed"]
    assert removed == {"sample.eod-prices": tickers}
    assert (made / "universe.yaml").read_text(encoding="utf-8") == before


def test_the_first_change_makes_the_file(tmp_path: Path) -> None:
    home = tmp_path / "home"
    ok("universe", "list", "--home", home)
    assert not home.exists()
    ok("universe", "remove", "FB", "--home", home)
    assert [key["ticker"] for key in ok("due", "--home", home, "--json").document["requests"]] == [
        "AAPL",
        "GOOG",
        "IBM",
        "MSFT",
        "-",
    ]


def test_a_new_ticker_is_asked_for(made: Path) -> None:
    ok("universe", "add", "[red]", "--dataset", "sample.eod-prices", "--home", made)
    answer = ok("run", "--ticker", "[red]", "--home", made, "--today", "2000-04-30")
    assert "[red]" in answer.out
    assert "empty" in answer.out


# --- datasets ---------------------------------------------------------------------------------------------------------------------


def test_datasets_with_and_without_list(tmp_path: Path) -> None:
    bare, listed = ok("datasets", "--json", cwd=tmp_path), ok("datasets", "list", "--json", cwd=tmp_path)
    assert bare == listed
    assert {"sample.eod-prices", "sample.fx-rates", "ecb.fx-rates"} <= {d["dataset"] for d in bare.document["datasets"]}
    assert "sample.fx-rates" in ok("datasets", cwd=tmp_path).out
    assert tree(tmp_path) == {}


def test_the_options_of_datasets_hold_before_and_after_the_subcommand(made: Path) -> None:
    example = made / "recipes" / "example.yaml"
    example.write_text(uncommented(example), encoding="utf-8")
    before = ok("datasets", "--home", made, "--json", "show", "mine.fx-rates")
    after = ok("datasets", "show", "mine.fx-rates", "--home", made, "--json")
    assert before == after
    assert after.document["recipe"]["answer"]["unpivot"]["name_to"] == "currency"


def test_a_contract_names_every_column(tmp_path: Path) -> None:
    shown = ok("datasets", "show", "sample.eod-prices", cwd=tmp_path).out
    for text in (
        "ticker, date",
        "silver.sample_eod_prices",
        "gold.fact_eod",
        "adjClose",
        "2000-03-01 .. 2013-03-01",
        "America/New_York",
    ):
        assert text in shown
    document = ok("datasets", "show", "sample.eod-prices", "--json", cwd=tmp_path).document
    for column in document["recipe"]["columns"]:
        assert column["name"] in shown
        assert column["comment"] in shown


def test_a_contract_tells_how_a_vendor_is_asked_and_never_its_key(tmp_path: Path) -> None:
    key = {"env": "VENDOR_API_KEY", "query": "apikey"}
    write_recipe(tmp_path, "https://api.example.com/v3", key=key)
    for value, told in (("s3ntinel0123", "is set"), ("", "is not set"), ("s3ntinel 0123", "is not set")):
        env = {"VENDOR_API_KEY": value}
        shown = ok("datasets", "show", "vendor.prices", "--home", tmp_path, env=env).out
        text = " ".join(shown.split())
        for part in (
            "GET https://api.example.com/v3/prices",
            "symbol={ticker}, from={from_date}, to={to_date}",
            f"environment variable VENDOR_API_KEY, which {told}; sent as query parameter apikey",
        ):
            assert part in text
        answer = ok("datasets", "show", "vendor.prices", "--home", tmp_path, "--json", env=env)
        assert answer.document["api_key"] == {
            "variable": "VENDOR_API_KEY",
            "set": told == "is set",
            "place": "query parameter apikey",
        }
        assert answer.document["recipe"]["request"]["path"] == "/prices"
        assert answer.document["source_declaration"]["http"]["base_url"] == "https://api.example.com/v3"
        assert "s3ntinel" not in shown + answer.out
    assert ok("datasets", "show", "sample.fx-rates", "--json", cwd=tmp_path).document["api_key"] is None


# --- migrate ----------------------------------------------------------------------------------------------------------------------


def test_migrate_shows_and_applies(tmp_path: Path) -> None:
    home = tmp_path / "home"
    shown = ok("migrate", "--home", home, "--json").document
    assert shown["pending"] == latest_version()
    assert not home.exists()
    applied = ok("migrate", "--apply", "--home", home, "--json").document
    assert (applied["pending"], len(applied["applied"]), applied["backup"]) == (0, latest_version(), None)
    table = ok("migrate", "--home", home)
    assert table.out.count("applied") == 1 + latest_version()
    assert "pending" not in table.err


def test_migrating_a_database_with_rows_prints_how_to_restore_it(whole_home: Path, copy_of: Callable[[Path], Path]) -> None:
    home = copy_of(whole_home)
    with Warehouse(home / "ops.duckdb").transaction() as connection:
        connection.execute("DELETE FROM ops.schema_migrations WHERE version = ?", [latest_version()])
    assert "--apply" in ok("migrate", "--home", home).err
    answer = ops("migrate", "--apply", "--home", home)
    assert answer.status == 0
    (copy,) = home.glob("ops.before-*.duckdb")
    assert f"cp -- {copy} {home / 'ops.duckdb'}" in answer.err
    assert ok("run", "--home", home, "--ticker", "IBM", "--json").document["keys"] == {"up_to_date": 1}
