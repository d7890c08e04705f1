"""The daily schedule, its intraday sister and the sensor of the universe."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from ops_pipeline.clock import utc_now
from ops_pipeline.defs.batch import INLINE_KEYS
from ops_pipeline.engine.plan import RunOptions
from ops_pipeline.engine.run import new_run_id, run_batch
from ops_pipeline_tests.defs.homes import EOD, FX, TICKERS, UNIVERSE, Faulty, Lake, make_home, two_sources

CELLS = [f"{EOD}|{t}" for t in TICKERS]


def tick(lake: Lake, moment: datetime) -> list[dg.RunRequest] | dg.SkipReason:
    schedule = lake.defs.resolve_schedule_def("daily")
    with dg.build_schedule_context(instance=lake.instance, scheduled_execution_time=moment) as context:
        data = schedule.evaluate_tick(context)
    return list(data.run_requests) if data.run_requests else dg.SkipReason(data.skip_message)


def only(requests: list[dg.RunRequest] | dg.SkipReason) -> dg.RunRequest:
    assert isinstance(requests, list), requests
    [request] = requests
    return request


def keys_of(request: dg.RunRequest) -> list[str]:
    return request.run_config["ops"]["lake"]["config"]["partitions"]


def execute(lake: Lake, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
    return lake.defs.resolve_job_def("batch").execute_in_process(
        instance=lake.instance, run_config=request.run_config, tags=request.tags, raise_on_error=False
    )


def test_the_tick_asks_for_what_is_due_and_the_run_does_it(lake: Lake) -> None:
    request = only(tick(lake, datetime(2026, 1, 5, 22, tzinfo=UTC)))
    assert keys_of(request) == CELLS
    assert {k: v for k, v in request.tags.items() if k.startswith("ops_pipeline/")} == {
        "ops_pipeline/source": "sample",
        "ops_pipeline/due": "3",
    }
    assert request.run_config["ops"]["lake"]["config"]["as_of"] == "2026-01-05T22:00:00+00:00"
    result = execute(lake, request)
    assert result.success
    assert {cell for _, cell in lake.told(result)} == set(CELLS)
    for layer in ("bronze", "silver", "gold"):
        assert [lake.status(layer)[c] for c in CELLS] == ["MATERIALIZED"] * 3
    assert lake.rows("SELECT count(*) FROM ops.file_ingestions") == [(3,)]
    skipped = tick(lake, datetime(2026, 1, 6, 22, tzinfo=UTC))
    assert isinstance(skipped, dg.SkipReason)
    assert "nothing is due" in str(skipped.skip_message)


def test_each_source_gets_a_run_of_its_own(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        requests = tick(Lake(two_sources(tmp_path / "home"), instance), datetime(2026, 1, 5, 22, tzinfo=UTC))
        assert isinstance(requests, list)
        assert [(r.tags["ops_pipeline/source"], keys_of(r)) for r in requests] == [
            ("sample", CELLS),
            ("other", [f"other.eod-prices|{t}" for t in TICKERS[:2]]),
        ]
        assert len({r.run_key for r in requests}) == 2


def test_a_repeated_tick_has_the_same_run_key(lake: Lake) -> None:
    moment = datetime(2026, 1, 5, 22, tzinfo=UTC)
    one, two = only(tick(lake, moment)), only(tick(lake, moment))
    assert one.run_key == two.run_key
    assert one.run_config == two.run_config


def test_only_the_failed_key_is_due_again(lake: Lake, source: Faulty) -> None:
    source.failing = {"IBM"}
    assert not lake.batch().success
    assert keys_of(only(tick(lake, datetime(2026, 1, 6, 22, tzinfo=UTC)))) == [CELLS[1]]


def test_a_schedule_on_a_home_without_database_finds_everything_due(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        request = only(tick(Lake(make_home(tmp_path / "home"), instance), datetime(2026, 1, 5, 22, tzinfo=UTC)))
        assert len(keys_of(request)) == 3


def test_a_broken_universe_skips_the_tick_with_its_sentence(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        lake = Lake(make_home(tmp_path / "home"), instance)
        (tmp_path / "home" / "universe.yaml").write_text("datasets:\n  nothing.such: [A]\n")
        skipped = tick(lake, datetime(2026, 1, 5, 22, tzinfo=UTC))
        assert isinstance(skipped, dg.SkipReason)
        assert "nothing.such" in str(skipped.skip_message)


def test_what_runs_by_default(lake: Lake) -> None:
    assert lake.defs.resolve_schedule_def("daily").default_status is dg.DefaultScheduleStatus.RUNNING
    sensors = {s.name: s.default_status is dg.DefaultSensorStatus.RUNNING for s in lake.defs.sensors or []}
    assert sensors == {"universe": True, "dead_runs": True, "intraday": False, "old_runs": False}


OWN = """source: sample
recipes:
  - {dataset: own, domain: fx, description: Rates by a recipe of the home., per_ticker: true, mode: window, first_date: 2005-01-01,
     timezone: America/New_York, settles_at: "18:00", answer: {format: json}, key: [date], date_column: date,
     columns: [{name: date, type: date, required: true}]}
"""


def test_the_sensor_keeps_tickers_and_datasets_in_step(tmp_path: Path) -> None:
    context = make_home(tmp_path / "home", Faulty())
    sensor = Lake(context, dg.DagsterInstance.ephemeral()).defs.resolve_sensor_def("universe")
    with dg.DagsterInstance.ephemeral() as instance:

        def step() -> None:
            with dg.build_sensor_context(instance=instance) as sensor_context:
                data = sensor.evaluate_tick(sensor_context)
            for request in data.dynamic_partitions_requests or []:
                if isinstance(request, dg.AddDynamicPartitionsRequest):
                    instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
                else:
                    for key in request.partition_keys:
                        instance.delete_dynamic_partition(request.partitions_def_name, key)

        step()
        assert set(instance.get_dynamic_partitions("tickers")) == set(TICKERS)
        assert instance.get_dynamic_partitions("datasets") == [EOD]
        (tmp_path / "home" / "universe.yaml").write_text(UNIVERSE.replace("IBM", "BRK.B") + "  sample.fx-rates:\n")
        step()
        assert set(instance.get_dynamic_partitions("tickers")) == {"AAPL", "MSFT", "BRK.B", "-"}
        assert set(instance.get_dynamic_partitions("datasets")) == {EOD, FX}
        assert Lake(context, instance).batch(partitions=[f"{FX}|-"]).success
        # A recipe that came while the server ran; and a dataset that nobody wants any more, one with files and one without.
        context.settings.recipes_path.mkdir()
        (context.settings.recipes_path / "own.yaml").write_text(OWN)
        (tmp_path / "home" / "universe.yaml").write_text("datasets: {sample.own: [AAPL]}\n")
        step()
        assert set(instance.get_dynamic_partitions("tickers")) == {"AAPL"}
        assert set(instance.get_dynamic_partitions("datasets")) == {"sample.own", FX}


# --- the intraday sensor ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """The sensor's clock, as a list of one: a test sets it forward."""
    moments = [utc_now()]
    monkeypatch.setattr("ops_pipeline.defs.automation.utc_now", lambda: moments[0])
    return moments


def look(lake: Lake) -> list[dg.RunRequest] | dg.SkipReason:
    with dg.build_sensor_context(instance=lake.instance) as context:
        data = lake.defs.resolve_sensor_def("intraday").evaluate_tick(context)
    return list(data.run_requests) if data.run_requests else dg.SkipReason(data.skip_message)


def queue(lake: Lake, request: dg.RunRequest, status: dg.DagsterRunStatus) -> str:
    """What the daemon makes of a request: a run that waits or goes on."""
    tags = {**lake.defs.resolve_job_def("batch").tags, **request.tags}
    run = create_run_for_test(lake.instance, job_name="batch", run_config=request.run_config, tags=tags, status=status)
    return run.run_id


def test_the_sensor_launches_what_is_due_and_waits_while_a_run_has_it_in_hand(lake: Lake, now: list[datetime]) -> None:
    request = only(look(lake))
    assert keys_of(request) == CELLS
    assert request.run_config["ops"]["lake"]["config"]["as_of"] == now[0].isoformat()
    assert only(look(lake)).run_key == request.run_key, "an evaluation that is repeated at once launches nothing new"
    for status in (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING):
        run_id = queue(lake, request, status)
        assert "in hand" in str(look(lake).skip_message)
        lake.instance.delete_run(run_id)
    now[0] += timedelta(minutes=15)
    again = only(look(lake))
    assert keys_of(again) == CELLS
    assert again.run_key != request.run_key, "the same keys, due at another time, are another run"
    assert execute(lake, again).success
    assert "nothing is due" in str(look(lake).skip_message)


def test_the_sensor_launches_what_becomes_due_beside_a_run_that_goes_on(lake: Lake, now: list[datetime]) -> None:
    request = only(look(lake))
    queue(lake, request, dg.DagsterRunStatus.STARTED)
    (lake.context.settings.universe_path).write_text(UNIVERSE.replace("IBM", "IBM, GOOG"), encoding="utf-8")
    assert keys_of(only(look(lake))) == [f"{EOD}|GOOG"]


@pytest.mark.parametrize("under_dagster", [False, True])
def test_the_sensor_leaves_a_failed_key_alone_for_a_while(
    lake: Lake, source: Faulty, now: list[datetime], under_dagster: bool
) -> None:
    source.failing = {"IBM"}
    if under_dagster:
        assert not execute(lake, only(look(lake))).success
    else:
        lake.context.migrate(lambda _: None)
        list(run_batch(lake.context, list(lake.context.universe()), RunOptions(), run_id=new_run_id()))
    now[0] = utc_now()
    assert "failed less than 60 minutes ago" in str(look(lake).skip_message)
    now[0] += timedelta(minutes=59)
    assert isinstance(look(lake), dg.SkipReason)
    now[0] += timedelta(minutes=2)
    assert keys_of(only(look(lake))) == [CELLS[1]]


def test_the_sensor_does_not_launch_at_once_what_someone_cancelled(lake: Lake, now: list[datetime]) -> None:
    run_id = queue(lake, only(look(lake)), dg.DagsterRunStatus.STARTED)
    lake.instance.report_run_canceled(lake.instance.get_run_by_id(run_id))
    assert isinstance(look(lake), dg.SkipReason)
    now[0] = utc_now() + timedelta(minutes=61)
    assert keys_of(only(look(lake))) == CELLS


def test_a_slow_source_holds_only_itself(tmp_path: Path, now: list[datetime]) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        lake = Lake(two_sources(tmp_path / "home"), instance)
        requests = look(lake)
        assert isinstance(requests, list)
        queue(lake, requests[1], dg.DagsterRunStatus.STARTED)
        assert only(look(lake)).tags["ops_pipeline/source"] == "sample"


def test_a_long_key_list_is_known_to_be_in_hand_too(tmp_path: Path, now: list[datetime]) -> None:
    names = ", ".join(f"T{i}" for i in range(INLINE_KEYS + 1))
    with dg.DagsterInstance.ephemeral() as instance:
        lake = Lake(make_home(tmp_path / "home", universe=f"datasets:\n  {EOD}: [{names}]\n"), instance)
        request = only(look(lake))
        assert "partitions" not in request.run_config["ops"]["lake"]["config"]
        queue(lake, request, dg.DagsterRunStatus.NOT_STARTED)
        assert isinstance(look(lake), dg.SkipReason)


def test_a_broken_universe_skips_the_sensor_with_its_sentence(lake: Lake) -> None:
    lake.context.settings.universe_path.write_text("datasets:\n  nothing.such: [A]\n")
    assert "nothing.such" in str(look(lake).skip_message)
