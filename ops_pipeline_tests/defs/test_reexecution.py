"""Re-execution: the same key list and day, and only what is left, over two generations."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.reconstruct import ReconstructableJob

from ops_pipeline.defs.partitions import partitions_def
from ops_pipeline_tests.defs import targets
from ops_pipeline_tests.defs.homes import EOD, LAYERS, TICKERS, make_home, materializations

CELLS = [f"{EOD}|{t}" for t in TICKERS]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv(targets.HOME, str(home))
    # Caches that would give every test the first one's home.
    ReconstructableJob.get_repository_definition.cache_clear()
    ReconstructableJob.get_definition.cache_clear()
    return home


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        yield instance


def asked(home: Path) -> list[str]:
    """Tickers asked since the last call, sorted."""
    path = home / targets.ASKED
    found = sorted(path.read_text().split()) if path.exists() else []
    path.unlink(missing_ok=True)
    return found


@pytest.mark.parametrize("from_failure", [False, True])
@pytest.mark.parametrize("full", [False, True])
def test_only_what_is_left_over_two_generations(home: Path, instance: dg.DagsterInstance, full: bool, from_failure: bool) -> None:
    def execute(parent: dg.ExecuteJobResult | None) -> dg.ExecuteJobResult:
        config = {"ops": {"lake": {"config": {"partitions": CELLS, "full": full, "as_of": "2026-01-31T22:00:00+00:00"}}}}
        options = None
        if parent is not None and from_failure:
            options = dg.ReexecutionOptions.from_failure(parent.run_id, instance)
        elif parent is not None:
            options = dg.ReexecutionOptions(parent_run_id=parent.run_id)
        return dg.execute_job(
            dg.reconstructable(targets.batch_job),
            instance=instance,
            run_config=config,
            reexecution_options=options,
            raise_on_error=False,
        )

    (home / targets.FAILING).write_text("IBM MSFT")
    with execute(None) as first:
        assert not first.success
        assert asked(home) == ["AAPL", "IBM", "MSFT"]
        (home / targets.FAILING).write_text("MSFT")
        with execute(first) as second:
            assert not second.success
            assert asked(home) == ["IBM", "MSFT"]
            assert {str(m.partition) for m in materializations(instance, second.run_id)} == {CELLS[1]}
            (home / targets.FAILING).write_text("")
            with execute(second) as third:
                assert third.success
                assert asked(home) == ["MSFT"]
    definition = partitions_def()
    for layer in LAYERS:
        status = instance.get_status_by_partition(dg.AssetKey(layer), CELLS, definition) or {}
        assert {v.value for v in status.values() if v} == {"MATERIALIZED"}
        assert len(status) == len(CELLS)


def test_the_day_of_a_re_execution_is_the_original_one(home: Path, instance: dg.DagsterInstance) -> None:
    config = {"ops": {"lake": {"config": {"partitions": CELLS[:1], "as_of": "2013-02-01T12:00:00+00:00"}}}}
    (home / targets.FAILING).write_text("AAPL")
    with dg.execute_job(
        dg.reconstructable(targets.batch_job), instance=instance, run_config=config, raise_on_error=False
    ) as first:
        (home / targets.FAILING).write_text("")
        options = dg.ReexecutionOptions(parent_run_id=first.run_id)
        with dg.execute_job(
            dg.reconstructable(targets.batch_job), instance=instance, run_config=config, reexecution_options=options
        ) as second:
            assert second.success
    with make_home(home).warehouse.reading() as connection:
        days = connection.execute("SELECT DISTINCT requested_to_date FROM ops.file_ingestions").fetchall()
    assert [str(d[0]) for d in days] == ["2013-01-31"], "12:00 UTC is before the session of 1 February has settled in New York"


def test_without_a_day_in_its_config_a_re_execution_decides_as_at_the_first_runs_start(
    home: Path, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    def execute(parent: str | None) -> str:
        options = dg.ReexecutionOptions(parent_run_id=parent) if parent else None
        with dg.execute_job(
            dg.reconstructable(targets.batch_job), instance=instance, reexecution_options=options, raise_on_error=False
        ) as result:
            return result.run_id

    (home / targets.FAILING).write_text("AAPL")
    first = execute(None)
    [storage] = tmp_path.rglob("runs.db")
    with sqlite3.connect(storage) as database:
        began = datetime(2013, 2, 1, 12, tzinfo=UTC).timestamp()
        database.execute("UPDATE runs SET start_time = ? WHERE run_id = ?", [began, first])
    second = execute(first)
    (home / targets.FAILING).write_text("")
    third = execute(second)
    with make_home(home).warehouse.reading() as connection:
        asked = connection.execute("SELECT run_id, ticker, requested_to_date::VARCHAR FROM ops.file_ingestions").fetchall()
    assert [(t, day) for run, t, day in asked if run == second] == [("AAPL", "2013-01-31")]
    assert [(t, day) for run, t, day in asked if run == third] == [("AAPL", "2013-01-31")]
    assert {day for run, _, day in asked if run == first} == {"2013-03-01"}
