"""What runs by itself: the daily batch, and the sensor that keeps the tickers in step with the universe.

Belongs here: jobs, schedules and sensors. Does not belong here: which keys are due (`engine.plan`).
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from dagster import (
    AddDynamicPartitionsRequest,
    AssetSelection,
    DefaultScheduleStatus,
    DefaultSensorStatus,
    DeleteDynamicPartitionsRequest,
    RunRequest,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    define_asset_job,
    schedule,
    sensor,
)

from ops_pipeline.clock import utc_now
from ops_pipeline.defs.batch import run_config
from ops_pipeline.defs.partitions import TICKERS
from ops_pipeline.engine.outcome import LAYERS
from ops_pipeline.engine.plan import RunOptions, due_keys
from ops_pipeline.errors import UserError

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition,
    )

    from ops_pipeline.engine.context import Context

JOB = "batch"


def build_job() -> UnresolvedAssetJobDefinition:
    """One run over many keys: bronze, silver and gold of the keys in the run's config, or of all that is due."""
    return define_asset_job(
        JOB,
        selection=AssetSelection.assets(*LAYERS).without_checks(),
        description="One run over many partitions. Without keys in its config: everything of the universe that is due.",
        tags={"ops_pipeline/kind": "batch"},
    )


def build_schedule(home: Context, job: UnresolvedAssetJobDefinition) -> ScheduleDefinition:
    """The daily batch: asks the ledger what is due and launches one run for all of it."""
    settings = home.settings

    @schedule(
        name="daily",
        job=job,
        cron_schedule=f"0 {settings.schedule_hour} * * *",
        execution_timezone=settings.schedule_timezone,
        default_status=DefaultScheduleStatus.RUNNING,
        description="Every day: one run over every partition that is due. OPS_PIPELINE_SCHEDULE_HOUR and _TIMEZONE set the time.",
    )
    def daily(context: ScheduleEvaluationContext) -> RunRequest | SkipReason:
        moment = (context.scheduled_execution_time or utc_now()).astimezone(UTC)
        try:
            keys = due_keys(home, RunOptions(today=settings.today, now=moment))
        except UserError as e:
            return SkipReason(str(e))
        if not keys:
            return SkipReason("nothing is due: everything settled is stored")
        return RunRequest(
            run_key=f"daily {moment.isoformat()}",
            run_config=run_config(settings.runs_path / "keys", keys, moment),
            tags={"ops_pipeline/due": str(len(keys))},
        )

    return daily


def build_sensor(home: Context) -> SensorDefinition:
    """Keeps Dagster's dynamic partitions `tickers` in step with the universe file; what is stored of a removed ticker stays."""

    @sensor(
        name="universe",
        minimum_interval_seconds=30,
        default_status=DefaultSensorStatus.RUNNING,
        description="Keeps the partitions `tickers` in step with the universe file.",
    )
    def universe(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        try:
            wanted = home.universe().tickers
        except UserError as e:
            return SkipReason(str(e))
        known = dict.fromkeys(context.instance.get_dynamic_partitions(TICKERS))
        kept = set(wanted)
        added, gone = [t for t in wanted if t not in known], [t for t in known if t not in kept]
        if not added and not gone:
            return SkipReason(f"the partitions hold the universe's {len(wanted)} tickers")
        requests: list[AddDynamicPartitionsRequest | DeleteDynamicPartitionsRequest] = []
        if added:
            requests.append(AddDynamicPartitionsRequest(TICKERS, added))
        if gone:
            requests.append(DeleteDynamicPartitionsRequest(TICKERS, gone))
        return SensorResult(dynamic_partitions_requests=requests)

    return universe
