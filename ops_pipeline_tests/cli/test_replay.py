"""`replay`: what it says, and that it asks nobody."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ops_pipeline_tests.cli.command import contents, ok, ops, refused
from ops_pipeline_tests.cli.conftest import FIRST_STEP


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("filled") / "home"
    ok(
        "run",
        "--home",
        home,
        "--ticker",
        "AAPL",
        "--dataset",
        "sample.eod-prices",
        "--dataset",
        "sample.fx-rates",
        "--today",
        FIRST_STEP,
    )
    return home


def test_a_replay_finds_what_stands(filled: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(filled, home)
    before = contents(home)
    both = ok("replay", "--home", home, "--json").document["replayed"]
    assert [done["dataset"] for done in both] == ["sample.eod-prices", "sample.fx-rates"]
    for done in both:
        assert done["identical"]
        assert not done["swapped"]
        assert done["standing_rows"] == done["replayed_rows"] > 0
    assert contents(home) == before
    assert ok("show", both[0]["run_id"], "--home", home, "--json").document["run"]["run_id"] == both[0]["run_id"]
    assert "as it was" in ok("replay", "--home", home, "--dataset", "sample.eod-prices").out


def test_slips_of_the_keyboard(filled: Path, tmp_path: Path) -> None:
    assert "sample.nothing" in refused("replay", "--home", filled, "--dataset", "sample.nothing")
    assert "--ticker is for datasets that have tickers" in refused(
        "replay", "--home", filled, "--dataset", "sample.fx-rates", "--ticker", "AAPL"
    )
    assert "give --to-scratch" in refused("replay", "--home", filled, "--dataset", "sample.fx-rates", "--recipe", "abc")
    assert ops("replay", "--home", tmp_path / "empty").status == 2
