"""Trying a recipe on an answer: the figures of a run, and nothing stored.

Belongs here: `try_answer`, and one call of the command. Does not belong here: how answers are read (`silver` tests).
"""

from __future__ import annotations

import gzip
import json
from datetime import date
from pathlib import Path

import pytest

from ops_pipeline.engine.trial import try_answer
from ops_pipeline.errors import UserError
from ops_pipeline_tests.cli.command import ok, ops, refused
from ops_pipeline_tests.lake import body_of, price_recipe, snapshot_recipe
from ops_pipeline_tests.sources.own_home import RECIPE, make_home

RECORDS = [
    {"date": "2024-01-02", "close": 1},
    {"date": "2024-01-02", "close": 2, "vwap": 9},
    {"date": "2024-01-03", "close": "x"},
    {"date": "1999-12-31", "close": 3},
    {"date": "2024-02-01", "close": 4},
]


def test_the_figures_are_those_of_a_run() -> None:
    trial = try_answer(price_recipe(max_reject_share=0.5), body_of(RECORDS), "AAA", to_date=date(2024, 1, 31))
    (profile,) = trial.staged.profiles
    assert (profile.rows, profile.good, profile.failed, profile.out_of_window, profile.superseded) == (5, 1, 1, 2, 1)
    assert (trial.from_date, trial.to_date, trial.refusal) == (date(2000, 1, 1), date(2024, 1, 31), None)
    assert [u.field for u in trial.staged.unknown] == ["vwap"]
    assert trial.staged.good.to_pylist()[0]["close"] == 2.0


def test_a_refusal_is_the_one_that_a_run_would_tell() -> None:
    trial = try_answer(price_recipe(max_reject_share=0.1), body_of(RECORDS), "AAA")
    assert trial.refusal == (
        "1 of 5 records refused, more than the declared share of 10%; the first: close: x is not of type double"
    )
    assert "was cut" in (try_answer(price_recipe(), b"[1", "AAA").refusal or "")


def test_a_bronze_file_is_an_answer_and_a_dataset_without_dates_has_no_window() -> None:
    body = gzip.compress(body_of([{"symbol": "AAA", "name": "A"}]))
    trial = try_answer(snapshot_recipe(), body, "-")
    assert (trial.staged.profiles[0].good, trial.from_date, trial.to_date) == (1, None, None)
    with pytest.raises(UserError, match="compressed and damaged"):
        try_answer(snapshot_recipe(), body[:-9], "-")


def test_the_command_tries_a_recipe_that_no_home_has_and_stores_nothing(tmp_path: Path) -> None:
    make_home(tmp_path / "home", {"client": "python", "python": {"call": "own.py:fetch"}})
    new, answer = tmp_path / "new.yaml", tmp_path / "answer.json"
    recipe = {k: v for k, v in RECIPE.items() if k != "gold"} | {"dataset": "new", "max_reject_share": 0.5}
    new.write_text(json.dumps({"source": "own", "recipes": [recipe]}))
    answer.write_bytes(body_of(RECORDS[:3]))
    before = sorted(p for p in tmp_path.rglob("*"))
    about = ("datasets", "try", answer, "--home", tmp_path / "home")
    tried = ops(*about, "--recipe", new, "--ticker", "AAA", "--json")
    assert (tried.status, tried.document["dataset"]) == (1, "own.new")
    assert tried.document["refusals"][0]["reason"] == "close: x is not of type double"
    answer.write_bytes(body_of(RECORDS[1:2]))
    shown = ok(*about, "--dataset", "own.prices", "--ticker", "AAA").out
    assert "vwap" in shown
    assert "1 record: 1 good" in shown
    assert "say with --ticker whose answer it is" in refused(*about, "--dataset", "own.prices")
    assert sorted(p for p in tmp_path.rglob("*")) == before
