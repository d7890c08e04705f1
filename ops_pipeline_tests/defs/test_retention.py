"""Old runs of Dagster, in the storage that `dagster dev` has."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from ops_pipeline.clock import utc_now
from ops_pipeline.defs.partitions import add_missing
from ops_pipeline.defs.retention import forget_old_runs
from ops_pipeline_tests.defs.homes import EOD, TICKERS, Faulty, Lake, make_home

CELLS = [f"{EOD}|{t}" for t in TICKERS]
FIRST, SECOND, THIRD = (datetime(2013, 1, day, 23, tzinfo=UTC) for day in (8, 9, 10))


@pytest.fixture
def stored(tmp_path: Path, source: Faulty) -> Iterator[Lake]:
    context = make_home(tmp_path / "home", source)
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        add_missing(instance, context.universe())
        yield Lake(context, instance)


def batch(lake: Lake, cells: list[str], at: datetime) -> str:
    result = lake.defs.resolve_job_def("batch").execute_in_process(
        instance=lake.instance,
        run_config={"ops": {"lake": {"config": {"partitions": cells, "as_of": at.isoformat()}}}},
        raise_on_error=False,
    )
    return result.run_id


def states(lake: Lake) -> dict[str, list[str]]:
    return {layer: [lake.status(layer)[c] for c in CELLS] for layer in ("bronze", "silver", "gold")}


def test_what_no_partition_rests_on_is_forgotten_and_every_state_stays(stored: Lake, source: Faulty) -> None:
    all_three = batch(stored, CELLS, FIRST)
    nothing_new = batch(stored, CELLS, FIRST)
    one_of_them = batch(stored, CELLS[:1], SECOND)
    source.failing = {TICKERS[1]}
    failed = batch(stored, CELLS[1:2], SECOND)
    before, rows = states(stored), stored.rows("SELECT count(*) FROM ops.file_ingestions")
    assert before["bronze"] == ["MATERIALIZED", "FAILED", "MATERIALIZED"]
    later = utc_now() + timedelta(seconds=1)
    assert forget_old_runs(stored.instance, utc_now() - timedelta(days=1)) == []
    # The first run is what the third ticker rests on.
    assert forget_old_runs(stored.instance, later) == [nothing_new]
    assert states(stored) == before
    source.failing = set()
    again = batch(stored, CELLS[1:], THIRD)
    before = states(stored)
    assert before["bronze"] == ["MATERIALIZED"] * 3
    assert all_three in forget_old_runs(stored.instance, later + timedelta(minutes=5))
    assert states(stored) == before
    left = {record.dagster_run.run_id for record in stored.instance.get_run_records()}
    assert {one_of_them, again} <= left <= {one_of_them, again, failed}
    assert stored.rows("SELECT count(*) FROM ops.file_ingestions") > rows


def test_the_sensor_forgets_nothing_unless_it_is_told_to(stored: Lake) -> None:
    batch(stored, CELLS, FIRST)
    sensor = stored.defs.resolve_sensor_def("old_runs")
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
    with dg.build_sensor_context(instance=stored.instance) as context:
        data = sensor.evaluate_tick(context)
    assert "KEEP_RUNS_DAYS" in str(data.skip_message)
    assert len(stored.instance.get_run_records()) == 1
