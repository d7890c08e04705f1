"""The ledger's SQL on a real database: what is written, by whom, and how often."""

from __future__ import annotations

import pytest

from ops_pipeline.ops.ingestion import DatasetInjestion, Stage
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.ops.sql import LEDGER
from ops_pipeline_tests.ops.rows import (
    DAY,
    PRICES,
    asked,
    at,
    built,
    day,
    deferred,
    empty,
    failed,
    merged,
    receive,
    recipe,
    stored,
    unchanged,
)


def everything(repo: OpsRepo) -> list[DatasetInjestion]:
    keys = repo.connection.execute(f"SELECT run_id, file_id FROM {LEDGER} ORDER BY ALL").fetchall()
    return list(repo.get(keys).values())


def only(repo: OpsRepo) -> DatasetInjestion:
    (row,) = everything(repo)
    return row


# --- asking ---------------------------------------------------------------------------------------------------------------------


def test_asking_twice_is_asking_once(repo: OpsRepo) -> None:
    rows = [asked(ticker=t) for t in ("AAPL", "IBM")]
    repo.ask(rows)
    repo.ask(rows)
    assert sorted(everything(repo), key=lambda r: r.ticker) == rows
    repo.ask([])


@pytest.mark.parametrize("before", [asked, failed, deferred])
def test_asking_again_in_the_same_run_takes_a_failure_back(repo: OpsRepo, before: type) -> None:
    repo.upsert([before()], Stage.BRONZE)
    repo.ask([asked(minute=7)])
    row = only(repo)
    assert (row.bronze_outcome, row.bronze_error, row.bronze_injest_start_time) == ("asked", None, at(7))
    repo.upsert([stored(minute=7)], Stage.BRONZE)
    assert only(repo).bronze_outcome == "stored"


@pytest.mark.parametrize("build", [stored, empty, unchanged])
def test_asking_again_leaves_an_answer_alone(repo: OpsRepo, build: type) -> None:
    repo.upsert([build()], Stage.BRONZE)
    before = only(repo)
    repo.ask([asked(minute=99)])
    assert only(repo) == before


# --- upsert ---------------------------------------------------------------------------------------------------------------------


def test_a_files_whole_life_stage_by_stage(repo: OpsRepo) -> None:
    row = asked()
    repo.ask([row])
    receive(row, "body", 1)
    row.bronze_finished(10, DAY, day(9))
    row.request_complete = True
    for stage, step in ((Stage.BRONZE, lambda r: r), (Stage.SILVER, merged), (Stage.GOLD, lambda r: built(r, created=10))):
        step(row)
        repo.upsert([row], stage)
        repo.upsert([row], stage)
        assert only(repo) == row
    assert row.status == "promoted"


@pytest.mark.parametrize("stage", list(Stage))
def test_a_row_that_is_new_is_written_whole(repo: OpsRepo, stage: Stage) -> None:
    row = built(merged(stored()), created=3)
    repo.upsert([row], stage)
    assert only(repo) == row


def test_bronze_writes_only_rows_that_still_owe_their_answer(repo: OpsRepo) -> None:
    """Two runs settle a dead run's row at once: the second must not undo what the first has promoted since."""
    row = stored()
    repo.upsert([row], Stage.BRONZE)
    repo.upsert([merged(stored())], Stage.SILVER)
    promoted = only(repo)
    for late in (failed(error="the run ended"), stored(body="other", rows=1, data=(0, 0)), unchanged()):
        repo.upsert([late], Stage.BRONZE)
        assert only(repo) == promoted


@pytest.mark.parametrize("before", [failed, deferred, empty, unchanged, stored])
def test_a_recorded_answer_stays(repo: OpsRepo, before: type) -> None:
    repo.upsert([before()], Stage.BRONZE)
    kept = only(repo)
    repo.upsert([stored(body="later", minute=50)], Stage.BRONZE)
    assert only(repo) == kept


def test_a_stage_writes_its_own_columns_only(repo: OpsRepo) -> None:
    row = stored()
    repo.upsert([row], Stage.BRONZE)
    stale = merged(stored(body="stale"))
    stale.bronze_error, stale.gold_errors, stale.ticker = "not silver's", "not silver's", "not silver's"
    repo.upsert([stale], Stage.SILVER)
    expected = merged(stored())
    assert only(repo) == expected
    stale = built(merged(stored(body="stale"), unchanged=10), created=1)
    stale.silver_errors = "not gold's"
    repo.upsert([stale], Stage.GOLD)
    assert only(repo) == built(expected, created=1)


def test_a_batch_holds_rows_of_every_kind(repo: OpsRepo) -> None:
    known = [asked(ticker=f"T{i}") for i in range(50)]
    repo.ask(known)
    answers = [stored(ticker=f"T{i}") for i in range(100)]
    repo.upsert(answers, Stage.BRONZE)
    assert {r.key: r for r in everything(repo)} == {r.key: r for r in answers}


def test_recipes_are_remembered_once_by_hash(repo: OpsRepo) -> None:
    mended = recipe(description="mended")
    for _ in range(2):
        repo.remember_recipes([PRICES, mended, PRICES])
    found = dict(repo.connection.execute("SELECT recipe_hash, recipe_text FROM ops.recipes").fetchall())
    assert found == {PRICES.recipe_hash: PRICES.text, mended.recipe_hash: mended.text}


def test_a_silver_tables_shape_is_the_last_one_remembered(repo: OpsRepo) -> None:
    assert repo.silver_columns_hash(PRICES.silver_table) is None
    repo.remember_silver_table(PRICES)
    changed = recipe(columns=[c.model_dump(by_alias=True) for c in PRICES.columns[:5]], gold=None)
    repo.remember_silver_table(changed)
    assert repo.silver_columns_hash(PRICES.silver_table) == changed.columns_hash != PRICES.columns_hash
    assert repo.silver_columns_hash("silver.'; DROP TABLE ops.silver_tables; --") is None
