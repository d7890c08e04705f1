"""What docs/security.md promises: hostile names and bytes stay data, and nothing that came from outside is run."""

from __future__ import annotations

import ast
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ops_pipeline.errors import RecipeError, UniverseError
from ops_pipeline.recipes.loading import load_catalogue
from ops_pipeline.sources import Answer, Request
from ops_pipeline_tests.cli.command import PROJECT
from ops_pipeline_tests.engine.home import JANUARY, PRICES, contents, ledger, make_home, run
from ops_pipeline_tests.engine.vendor import Vendor, body, prices
from ops_pipeline_tests.ops.rows import HOSTILE

PACKAGE = PROJECT / "ops_pipeline"
# Each makes code of data, or data of another program's code.
_RUNS_WHAT_IT_GETS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "pickle",
    "cPickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
}
# Runs the file that its user's recipe names, which is what it is for.
_RUNS_THE_USERS_CODE = ("ops_pipeline/sources/python.py",)
# Names of what a vendor sends: they become columns of nothing, and text of everything.
FIELDS = (
    '"',
    "'; DROP TABLE silver.vendor_prices; --",
    "a\"; ATTACH 'x' AS y; --",
    "/a/b~1",
    "$.*",
    "\u202e",
    "__proto__",
    "x" * 5_000,
)


def modules() -> list[tuple[Path, ast.Module]]:
    return [(path, ast.parse(path.read_text(encoding="utf-8"))) for path in sorted(PACKAGE.rglob("*.py"))]


def test_nothing_in_the_package_runs_or_unpickles_what_it_gets() -> None:
    found = []
    parsed = modules()
    for path, tree in parsed:
        if path.relative_to(PROJECT).as_posix() in _RUNS_THE_USERS_CODE:
            continue
        for node in ast.walk(tree):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name.partition(".")[0] for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [(node.module or "").partition(".")[0]]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                names = [node.func.id]
            found += [f"{path.relative_to(PROJECT)}:{node.lineno} {n}" for n in names if n in _RUNS_WHAT_IT_GETS]  # type: ignore[attr-defined]
            if isinstance(node, ast.keyword) and node.arg == "shell":
                found.append(f"{path.relative_to(PROJECT)}: shell=")
            if isinstance(node, ast.Attribute) and node.attr in ("unsafe_load", "full_load", "FullLoader", "UnsafeLoader"):
                found.append(f"{path.relative_to(PROJECT)}: yaml.{node.attr}")
    assert found == []
    assert len(parsed) > 80, "the scan looked at the package"


def test_hostile_tickers_are_names_and_nothing_else(tmp_path: Path) -> None:
    wanted = [ticker for ticker in HOSTILE if ticker != "BTC/USD"]
    vendor = Vendor(_honest)
    home = make_home(tmp_path / "home", vendor, tickers=["AAA"])
    lines = ["datasets:", f"  {PRICES}:", *(f"    - {json.dumps(ticker, ensure_ascii=False)}" for ticker in ["AAA", *wanted])]
    (tmp_path / "home" / "universe.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    outcomes = run(home, today=JANUARY)
    assert {key.ticker: outcome.kind for key, outcome in outcomes.items()} == dict.fromkeys(["AAA", *wanted], "promoted")
    assert {request.ticker for request in vendor.requests} == {"AAA", *wanted}
    tables = contents(home)
    with home.warehouse.reading() as connection:
        counts = dict(connection.execute("SELECT ticker, count(*) FROM silver.vendor_prices GROUP BY ALL").fetchall())
        symbols = {s for (s,) in connection.execute("SELECT DISTINCT symbol FROM gold.dim_instrument").fetchall()}
    assert counts == dict.fromkeys(["AAA", *wanted], counts["AAA"])
    assert symbols == {"AAA", *wanted}
    assert {row.ticker for row in ledger(home)} == {"AAA", *wanted}
    assert len(tables["gold.fact_eod"]) == counts["AAA"] * (len(wanted) + 1)
    assert [p.name for p in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize("ticker", ["-", "a|b", "a\nb", "a\x00b", "", "[...]", "\x1b[31m", "x" * 100_000])
def test_a_universe_refuses_what_no_ticker_is(tmp_path: Path, ticker: str) -> None:
    home = make_home(tmp_path, tickers=["AAA"])
    (tmp_path / "universe.yaml").write_text(f"datasets:\n  {PRICES}:\n    - {json.dumps(ticker)}\n", encoding="utf-8")
    with pytest.raises(UniverseError) as refused:
        home.universe()
    assert len(str(refused.value)) < 2_000


@pytest.mark.parametrize("field", ["dataset", "domain", "columns", "key", "discriminator", "date_column"])
@pytest.mark.parametrize("name", ["x; DROP TABLE y", 'a"b', "../up", "Ops", "a b", "x'--", "ops.file_ingestions"])
def test_a_recipe_refuses_names_that_are_no_identifiers(tmp_path: Path, field: str, name: str) -> None:
    recipe: dict[str, object] = {
        "dataset": "prices", "domain": "equities", "description": "x", "per_ticker": True, "mode": "snapshot",
        "answer": {"format": "json"}, "columns": [{"name": "close", "type": "double", "required": True}], "key": ["close"],
    }  # fmt: skip
    hostile = {"columns": [{"name": name, "type": "double", "required": True}], "key": [name]}
    document = {
        "source": {"name": "vendor", "description": "x", "client": "http", "http": {"base_url": "https://example.com"}},
        "recipes": [{**recipe, "request": {"path": "/x"}, field: hostile.get(field, name)}],
    }
    (tmp_path / "vendor.yaml").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(RecipeError, match=r"vendor\.yaml"):
        load_catalogue(tmp_path)


def test_a_recipe_file_makes_no_objects(tmp_path: Path) -> None:
    marker = tmp_path / "run"
    (tmp_path / "vendor.yaml").write_text(
        f"source: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{marker}']]\n"
    )
    with pytest.raises(RecipeError):
        load_catalogue(tmp_path)
    assert not marker.exists()


def test_hostile_fields_of_an_answer_are_text(tmp_path: Path) -> None:
    async def hostile(request: Request) -> AsyncIterator[Answer]:
        yield Answer(
            body([{**record, **dict.fromkeys(FIELDS, "'; DROP TABLE ops.file_ingestions; --")} for record in prices(request)])
        )

    plain, odd = (
        make_home(tmp_path / "plain", Vendor(_honest), tickers=["AAA"]),
        make_home(tmp_path / "odd", Vendor(hostile), tickers=["AAA"]),
    )
    for home in (plain, odd):
        run(home, *(key for key in home.universe() if key.ticker == "AAA"), today=JANUARY)
    assert [row[1:] for row in contents(odd)["gold.fact_eod"]] == [row[1:] for row in contents(plain)["gold.fact_eod"]]
    with odd.warehouse.reading() as connection:
        columns = {
            c
            for (c,) in connection.execute(
                "SELECT column_name FROM duckdb_columns() WHERE table_name = 'vendor_prices'"
            ).fetchall()
        }
        fields = {f for (f,) in connection.execute("SELECT field FROM ops.schema_drift").fetchall()}
    assert columns.isdisjoint(FIELDS)
    assert {f[:200] for f in FIELDS} <= {f[:200] for f in fields}


async def _honest(request: Request) -> AsyncIterator[Answer]:
    yield Answer(body(prices(request)), status_code=200)
