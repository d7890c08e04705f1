"""Alerts and heartbeats: one message for all that failed in a run, nothing twice, no secret, and nothing where nothing is set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import dagster as dg
import pytest
from pydantic import SecretStr

from ops_pipeline.alerts.messages import of_run
from ops_pipeline.alerts.sending import AlertError, beat, send
from ops_pipeline.clock import utc_now
from ops_pipeline.defs.due import SOURCE_TAG
from ops_pipeline.errors import SettingsError
from ops_pipeline.settings import load_settings
from ops_pipeline_tests.alerts.hook import Hook, hook
from ops_pipeline_tests.defs.homes import EOD, TICKERS, Faulty, Lake

CELLS = [f"{EOD}|{t}" for t in TICKERS]


@pytest.fixture
def told() -> Iterator[Hook]:
    with hook() as made:
        yield made


@pytest.fixture
def alerted(lake: Lake, told: Hook) -> Lake:
    """The home with a web hook for both alerts and heartbeats."""
    settings = lake.context.settings.model_copy(
        update={"alert_urls": SecretStr(told.alerts), "heartbeat_url": SecretStr(told.heartbeat)}
    )
    return replace(lake, context=replace(lake.context, settings=settings))


def scheduled(lake: Lake) -> dg.ExecuteInProcessResult:
    """A run as the schedule launches it."""
    return lake.defs.resolve_job_def("batch").execute_in_process(
        instance=lake.instance, raise_on_error=False, tags={SOURCE_TAG: "sample"},
        run_config={"ops": {"lake": {"config": {"partitions": CELLS}}}},
    )  # fmt: skip


def tell_of(lake: Lake, result: dg.ExecuteInProcessResult) -> Any:
    """What the sensor for failed runs does about a run."""
    sensor: Any = lake.defs.resolve_sensor_def("alert_failed_runs")
    (event,) = [e for e in result.all_events if e.event_type is dg.DagsterEventType.RUN_FAILURE]
    context = dg.build_run_status_sensor_context(
        "alert_failed_runs", dagster_event=event, dagster_instance=lake.instance, dagster_run=result.dagster_run
    ).for_run_failure()
    return sensor(context)


def test_there_are_no_alerts_where_no_address_is_set(lake: Lake) -> None:
    assert not [s.name for s in lake.defs.sensors or [] if s.name.startswith("alert")]


def test_one_message_for_a_failed_run_and_none_for_the_same_failure_again(alerted: Lake, source: Faulty, told: Hook) -> None:
    source.failing, source.unreadable = {"IBM", "AAPL"}, {"MSFT"}
    first = scheduled(alerted)
    tell_of(alerted, first)
    (message,) = told.documents
    assert message["title"] == f"3 keys failed in run {first.run_id[:8]}"
    assert "1 x sample.eod-prices: the vendor does not answer for IBM" in message["message"]
    assert f"Repair: ops-pipeline retry {first.run_id[:8]}" in message["message"]
    assert f"Look: http://127.0.0.1:3000/runs/{first.run_id}" in message["message"]
    # The next night the same: known. Then one more: news.
    again = tell_of(alerted, scheduled(alerted))
    assert "same way" in str(again)
    assert len(told.documents) == 1
    source.failing, source.unreadable = {"IBM"}, set()
    tell_of(alerted, scheduled(alerted))
    assert [d["title"][:6] for d in told.documents] == ["3 keys", "1 key "]
    assert told.paths.count("/s3cret-ping/fail") == 3
    source.failing = set()
    assert scheduled(alerted).success
    assert told.paths[-1] == "/s3cret-ping"


def test_a_run_that_nobody_scheduled_sends_no_heartbeat(alerted: Lake, told: Hook) -> None:
    assert alerted.batch(partitions=CELLS[:1]).success
    assert told.paths == []


def test_findings_are_told_when_they_change(alerted: Lake, told: Hook) -> None:
    sensor: Any = alerted.defs.resolve_sensor_def("alert_findings")
    alerted.context.migrate(lambda _: None)

    def tick(cursor: str | None) -> tuple[str, str | None]:
        context = dg.build_sensor_context(instance=alerted.instance, cursor=cursor)
        return str(sensor(context)), context.cursor

    said, cursor = tick(None)  # nothing ran yet: all of the universe is stale
    assert "sent" in said
    assert f"stale: {EOD} (3 tickers)" in told.documents[0]["message"]
    assert tick(cursor)[0].count("nothing new") == 1
    assert alerted.batch(partitions=CELLS).success
    with alerted.context.warehouse.transaction() as connection:
        connection.execute("DELETE FROM silver.sample_eod_prices WHERE ticker = 'IBM'")
        connection.execute("DELETE FROM ops.schema_drift")
    check = dg.AssetCheckKey(dg.AssetKey("silver"), "silver_holds_what_the_ledger_counted")
    job = alerted.defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection=[], asset_check_selection={check})
    job.execute_in_process(instance=alerted.instance)
    _, cursor = tick(cursor)
    assert "silver_holds_what_the_ledger_counted: - `silver.sample_eod_prices`" in told.documents[1]["message"]
    assert "stale" not in told.documents[1]["message"]
    assert len(told.documents) == 2


def test_no_key_and_no_address_is_ever_said(alerted: Lake, told: Hook, caplog: pytest.LogCaptureFixture) -> None:
    told.status = 500
    message = of_run(alerted.context, "0123456789", [("a", "b", "why")] * 2, error="", link="")
    said: list[str] = []
    with pytest.raises(AlertError) as refused:
        send(SecretStr(told.alerts), message)
    with pytest.raises(AlertError) as unknown:
        send(SecretStr(f"{told.alerts} nonsense-s3cret"), message)
    for address in (told.heartbeat, "http://127.0.0.1:1/s3cret", "http://s3cret .x/"):
        beat(SecretStr(address), well=True, notify=said.append)
    assert "address 2 of OPS_PIPELINE_ALERT_URLS" in str(unknown.value)
    assert said[0] == "the heartbeat could not be sent to OPS_PIPELINE_HEARTBEAT_URL (status 500)"
    assert len(said) == 3
    for text in (*said, str(refused.value), str(unknown.value), caplog.text, repr(alerted.context.settings)):
        assert "s3cret" not in text
        assert "127.0.0.1:" + str(told.port) not in text


def test_many_failures_make_a_short_message(lake: Lake) -> None:
    failed = [("a.b", f"T{n}", f"reason {n % 9}") for n in range(40)]
    message = of_run(lake.context, "0123456789", failed, error="", link="")
    assert message.title == "40 keys failed in run 01234567"
    assert message.body.splitlines()[:6] == [
        *(f"5 x a.b: reason {n}" for n in range(4)),
        "4 x a.b: reason 4",
        "and 4 more reasons",
    ]
    whole = of_run(lake.context, "0123456789", [], error="the disk is full", link="http://x")
    assert whole.body == "the disk is full\n\nRepair: ops-pipeline retry 01234567\nLook: http://x"


@pytest.mark.parametrize("address", ["ftp://s3cret", "s3cret"])
def test_an_address_that_cannot_be_used_is_refused_and_not_shown(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPS_PIPELINE_HEARTBEAT_URL", address)
    with pytest.raises(SettingsError, match="OPS_PIPELINE_HEARTBEAT_URL has a value that cannot be used") as refused:
        load_settings()
    assert "s3cret" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_nothing_due_is_a_sign_of_life(alerted: Lake, told: Hook) -> None:
    schedule: Any = alerted.defs.resolve_schedule_def("daily")
    alerted.context.settings.universe_path.write_text("datasets: {}\n", encoding="utf-8")
    said = schedule(dg.build_schedule_context(instance=alerted.instance, scheduled_execution_time=utc_now()))
    assert "nothing is due" in str(said)
    assert told.paths == ["/s3cret-ping"]
