"""Replays: the same tables from bronze alone, another shape by a recipe, and nothing lost when one is killed.

Belongs here: `engine.replay`. Does not belong here: the command's output (`cli.test_replay`).
"""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from ops_pipeline.engine.context import Context
from ops_pipeline.engine.replay import Replayed, earlier_recipe, replay
from ops_pipeline.engine.run import new_run_id
from ops_pipeline.errors import UserError
from ops_pipeline.ops.queries import miscounted_tables, unaccounted_files
from ops_pipeline.recipes.models import Column, Recipe
from ops_pipeline.warehouse import Warehouse
from ops_pipeline_tests.engine.home import (
    FEBRUARY,
    JANUARY,
    PRICES,
    RATES,
    assert_tidy,
    bronze_files,
    contents,
    latest,
    ledger,
    make_home,
    prices_recipe,
    rates_recipe,
    run,
)
from ops_pipeline_tests.engine.processes import Process
from ops_pipeline_tests.engine.vendor import Vendor, market

BOUNDARIES = ("replaying %s", "merged %d files", "replayed %d files", "swapping %s", "replaced %s", "swapped %s")


@pytest.fixture(scope="module")
def february(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that holds January, February, which restates its end, and the same answers once more."""
    folder = tmp_path_factory.mktemp("february")
    context = make_home(folder)
    run(context, today=JANUARY)
    run(context)
    run(context, full=True)
    return folder


@pytest.fixture
def home(february: Path, tmp_path: Path) -> Path:
    shutil.copytree(february, tmp_path / "home")
    return tmp_path / "home"


def replayed(context: Context, dataset: str = PRICES, **options: Any) -> Replayed:
    return replay(context, context.catalogue.recipe(dataset), new_run_id(), **options)


def wider() -> Recipe:
    recipe = prices_recipe()
    return prices_recipe(
        columns=[*recipe.columns, Column.model_validate({"name": "shares", "type": "integer", "from": "volume"})]
    )


@pytest.mark.parametrize("dataset", [PRICES, RATES])
def test_a_replay_finds_what_stands(dataset: str, home: Path) -> None:
    vendor = Vendor(market)
    context = make_home(home, vendor)
    before, files = contents(context, lineage=True), bronze_files(context)
    firsts = ledger(context)
    done = replayed(context, dataset)
    assert done.comparison.identical
    assert not done.swapped
    assert done.comparison.standing_rows == len(before[f"silver.{dataset.replace('.', '_')}"]) > 0
    assert (contents(context, lineage=True), bronze_files(context)) == (before, files)
    assert ledger(context, "promotion_kind = 'first'") == firsts
    later = ledger(context, "promotion_kind = 'replay'")
    assert {(row.origin_run_id, row.file_id) for row in later} == {
        row.key for row in firsts if row.dataset_key == dataset and row.bronze_outcome in ("stored", "unchanged")
    }
    assert {row.silver_run_id for row in later} == {done.run_id}
    assert vendor.requests == []
    assert_tidy(context)
    with context.warehouse.reading() as connection:
        assert miscounted_tables(connection) == unaccounted_files(connection) == []


def test_the_next_run_asks_what_it_would_have_asked(home: Path) -> None:
    context = make_home(home)
    replayed(context)
    vendor = Vendor(market)
    run(make_home(home, vendor))
    assert {request.ticker for request in vendor.requests} <= {"DOWN", "EMPTY"}


def test_damage_in_silver_is_found_by_file_and_mended(home: Path) -> None:
    context = make_home(home)
    before = contents(context)
    with context.warehouse.transaction() as connection:
        connection.execute("UPDATE silver.vendor_prices SET close = close + 1 WHERE ticker = 'AAA' AND date = DATE '2024-01-10'")
        connection.execute("DELETE FROM silver.vendor_prices WHERE ticker = 'AAA' AND date = DATE '2024-01-11'")
    looked = replayed(context, to_scratch=True)
    assert not looked.comparison.identical
    assert [c.column for c in looked.comparison.columns if c.column == "close" and not c.same] == ["close"]
    (file,) = looked.comparison.files
    assert (file.added, file.missing, file.changed) == (1, 0, 1)
    assert looked.scratch is not None
    assert looked.scratch.exists()
    assert ledger(context, "promotion_kind = 'replay'") == []
    done = replayed(context, tickers=["AAA"])
    assert done.swapped
    assert not looked.scratch.exists()
    assert contents(context) == before


def test_a_recipe_with_another_column_is_taken_in_by_a_replay(home: Path) -> None:
    context = make_home(home, recipes=[wider(), rates_recipe()])
    with pytest.raises(UserError, match="replay the whole dataset"):
        replayed(context, tickers=["AAA"])
    done = replayed(context)
    assert done.swapped
    assert next(c.standing for c in done.comparison.columns if c.column == "shares") is None
    with context.warehouse.reading() as connection:
        wrong = connection.execute("SELECT count(*) FROM silver.vendor_prices WHERE shares IS DISTINCT FROM volume").fetchone()
        assert wrong == (0,)
        assert miscounted_tables(connection) == []
    assert replayed(context).comparison.identical


def test_an_earlier_recipe_is_read_by_beside_what_stands(home: Path) -> None:
    """Silver of before a recipe's change, as of any time, after a replay has rebuilt the history by the new one."""
    silver, earlier = "silver.vendor_prices", prices_recipe().recipe_hash
    before = contents(make_home(home), lineage=True)
    context = make_home(home, recipes=[wider(), rates_recipe()])
    assert replayed(context).swapped
    stands = contents(context, lineage=True)
    done = replay(context, earlier_recipe(context, PRICES, earlier[:8]), new_run_id(), to_scratch=True)
    assert [c.column for c in done.comparison.columns if c.replayed is None] == ["shares"]
    assert done.scratch is not None
    with Warehouse(done.scratch).reading() as connection:
        again = connection.execute(f"SELECT count(*), min(recipe_hash), max(recipe_hash) FROM {silver}_as_of(now())").fetchone()
        columns = {name for name, *_ in connection.execute(f"DESCRIBE {silver}").fetchall()}
    assert again == (len(before[silver]), earlier, earlier)
    assert "shares" not in columns
    assert contents(context, lineage=True) == stands
    with pytest.raises(UserError, match=f"'zzz' names no recipes of {PRICES}; it was read by: {wider().recipe_hash}"):
        earlier_recipe(context, PRICES, "zzz")


def test_nothing_is_replaced_by_less(home: Path) -> None:
    context = make_home(home)
    before = contents(context, lineage=True)
    for path in (context.settings.bronze_path / "equities").rglob("*.gz"):
        if "/AAA/" in path.as_posix():
            path.write_bytes(b"damaged")
    with pytest.raises(UserError, match="cannot be promoted again"):
        replayed(context)
    assert contents(context, lineage=True) == before
    assert ledger(context, "promotion_kind = 'replay'") == []


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_killed_replays(boundary: str, home: Path) -> None:
    context = make_home(home)
    with context.warehouse.transaction() as connection:
        connection.execute("DELETE FROM silver.vendor_prices WHERE ticker = 'AAA' AND date < DATE '2024-01-20'")
    damaged = contents(context)
    process = Process("replaying", home, dataset=PRICES, kill_at=[boundary, 1])
    assert process.returncode() == -signal.SIGKILL
    context = make_home(home)
    found = contents(context)
    whole = boundary == "swapped %s"
    assert (found == damaged) is not whole
    done = replayed(context)
    assert done.swapped is not whole
    assert replayed(context).comparison.identical
    assert list((home / "replay").glob("*")) == []
    run(context, today=FEBRUARY)
    assert_tidy(context)
    assert latest(context)
