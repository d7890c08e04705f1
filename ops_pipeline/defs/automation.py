"""What runs by itself: the daily batch, its intraday sister, and the sensors that keep tickers and runs in order.

Belongs here: jobs, schedules and sensors. Does not belong here: which keys are due (`engine.plan`) and what a run over
them is told (`due`).
"""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING

from dagster import (
    AddDynamicPartitionsRequest,
    AssetCheckKey,
    AssetKey,
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

from ops_pipeline.alerts.sending import beat
from ops_pipeline.clock import utc_now
from ops_pipeline.defs.checks import RECONCILES
from ops_pipeline.defs.due import BATCH_TAGS, due_by_source, in_hand, recently_failed, run_request
from ops_pipeline.defs.fresh import FreshHome, StoredDatasets
from ops_pipeline.defs.partitions import DATASETS, TICKERS, grid_datasets
from ops_pipeline.defs.retention import forget_old_runs
from ops_pipeline.defs.sweep import fail_dead_runs, fail_unbegun_runs
from ops_pipeline.engine.outcome import LAYERS
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
        tags=BATCH_TAGS,
    )


def build_schedule(home: Context, job: UnresolvedAssetJobDefinition) -> ScheduleDefinition:
    """The daily batch: asks the ledger what is due and launches one run a source.

    Where ticks were missed because the machine slept, Dagster evaluates the newest one alone; it finds everything that became due since.
    """
    settings, fresh = home.settings, FreshHome(home)

    @schedule(
        name="daily",
        job=job,
        cron_schedule=f"0 {settings.schedule_hour} * * *",
        execution_timezone=settings.schedule_timezone,
        default_status=DefaultScheduleStatus.RUNNING,
        description="Every day: one run a source over every partition that is due."
        " OPS_PIPELINE_SCHEDULE_HOUR and _TIMEZONE set the time.",
    )
    def daily(context: ScheduleEvaluationContext) -> list[RunRequest] | SkipReason:
        moment = (context.scheduled_execution_time or utc_now()).astimezone(UTC)
        try:
            now = fresh()
            due = due_by_source(now, moment)
        except UserError as e:
            beat(home.settings.heartbeat_url, well=False, notify=context.log.warning)
            return SkipReason(str(e))
        if not due:
            # No run will tell the watchdog that all is well.
            beat(home.settings.heartbeat_url, well=True, notify=context.log.warning)
            return SkipReason("nothing is due: everything settled is stored")
        # Of a repeated tick, Dagster launches nothing whose key it has seen.
        return [run_request(now, source, keys, moment, f"daily {source} {moment.isoformat()}") for source, keys in due.items()]

    return daily


def build_weekly(home: Context) -> ScheduleDefinition:
    """The weekly look at whether files, ledger and tables agree; it changes nothing but its own result."""
    check = AssetCheckKey(AssetKey("bronze"), RECONCILES)
    job = define_asset_job(
        "reconcile",
        selection=AssetSelection.checks(check),
        description="Compares bronze files, ledger, silver, gold and migrations; mends nothing.",
    )
    return ScheduleDefinition(
        name="weekly",
        job=job,
        cron_schedule="0 12 * * 0",
        execution_timezone=home.settings.schedule_timezone,
        default_status=DefaultScheduleStatus.RUNNING,
        description="Every Sunday at noon: whether files, ledger and tables agree, with every body compared with its hash."
        " OPS_PIPELINE_SCHEDULE_TIMEZONE sets the time zone.",
    )


def build_intraday(home: Context, job: UnresolvedAssetJobDefinition) -> SensorDefinition:
    """The sensor that launches a run a source as soon as something becomes due, for datasets that settle at different hours."""
    minutes, fresh = home.settings.sensor_minutes, FreshHome(home)

    @sensor(
        name="intraday",
        job=job,
        minimum_interval_seconds=minutes * 60,
        # The daily run asks little of a vendor's quota and comes at an hour that everyone knows; more is the user's decision.
        default_status=DefaultSensorStatus.STOPPED,
        description=f"Every {minutes} minutes: one run a source over the partitions that have become due, without those that a run has in"
        " hand or that have just failed. OPS_PIPELINE_SENSOR_MINUTES and OPS_PIPELINE_RETRY_MINUTES set the times.",
    )
    def intraday(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        moment = utc_now()
        try:
            now = fresh()
            due = due_by_source(now, moment)
            held = recently_failed(now, moment) | in_hand(now, context.instance, moment) if due else set()
        except UserError as e:
            return SkipReason(str(e))
        # An evaluation that Dagster repeats because its daemon died falls into the same slot.
        slot = int(moment.timestamp()) // (minutes * 60)
        requests = []
        for source, keys in due.items():
            free = [key for key in keys if key not in held]
            if free:
                requests.append(run_request(home, source, free, moment, f"intraday {source} {slot}"))
        if not requests:
            waiting = sum(map(len, due.values()))
            return SkipReason(
                f"{waiting} keys are due; runs have them in hand, or they failed less than {home.settings.retry_minutes} minutes ago"
                if waiting
                else "nothing is due: everything settled is stored"
            )
        return SensorResult(run_requests=requests)

    return intraday


def build_sweep(home: Context) -> SensorDefinition:
    """The sensor that fails runs whose process is gone; Dagster's own launcher would let them hold their places for ever."""

    @sensor(
        name="dead_runs",
        minimum_interval_seconds=60,
        default_status=DefaultSensorStatus.RUNNING,
        description="Fails runs whose process was killed, so that they do not hold their places in the queue for ever.",
    )
    def dead_runs(context: SensorEvaluationContext) -> SkipReason:
        origin = context.code_location_origin
        failed = fail_dead_runs(home, context.instance)
        failed += fail_unbegun_runs(home, context.instance, origin.location_name if origin else None)
        return SkipReason(f"failed {', '.join(failed)}: the process was gone" if failed else "every run's process is alive")

    return dead_runs


def build_retention(home: Context) -> SensorDefinition:
    """The sensor that forgets old runs of Dagster, where a setting says after how many days; the ledger keeps every row."""
    days = home.settings.keep_runs_days

    @sensor(
        name="old_runs",
        minimum_interval_seconds=3600,
        default_status=DefaultSensorStatus.RUNNING if days else DefaultSensorStatus.STOPPED,
        description="Forgets Dagster's runs that are older than OPS_PIPELINE_KEEP_RUNS_DAYS, but for those that the state of a partition"
        " rests on. The ledger keeps all its rows.",
    )
    def old_runs(context: SensorEvaluationContext) -> SkipReason:
        if days is None:
            return SkipReason("OPS_PIPELINE_KEEP_RUNS_DAYS is not set: every run is kept")
        removed = forget_old_runs(context.instance, utc_now() - timedelta(days=days))
        return SkipReason(f"forgot {len(removed)} runs" if removed else f"no run is older than {days} days and not needed")

    return old_runs


def build_sensor(home: Context) -> SensorDefinition:
    """Keeps Dagster's dynamic partitions `tickers` and `datasets` in step with the universe, recipes and ledger.

    What is stored of a removed ticker or dataset stays. A dataset that has files stays in the grid.
    """
    fresh, stored = FreshHome(home), StoredDatasets()

    @sensor(
        name="universe",
        minimum_interval_seconds=30,
        default_status=DefaultSensorStatus.RUNNING,
        description="Keeps the partitions `tickers` and `datasets` in step with the universe file, the recipes and what is stored.",
    )
    def universe(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        try:
            now = fresh()
            listed = now.universe()
        except UserError as e:
            return SkipReason(str(e))
        try:
            held = stored.of(now)
        except UserError as e:
            context.log.warning("no dataset is taken out of the partitions: %s", e)
            held = list(context.instance.get_dynamic_partitions(DATASETS))
        datasets = grid_datasets(now, listed, held)
        requests: list[AddDynamicPartitionsRequest | DeleteDynamicPartitionsRequest] = []
        for dimension, names in ((TICKERS, listed.tickers), (DATASETS, datasets)):
            known, kept = dict.fromkeys(context.instance.get_dynamic_partitions(dimension)), set(names)
            added, gone = [n for n in names if n not in known], [n for n in known if n not in kept]
            if added:
                requests.append(AddDynamicPartitionsRequest(dimension, added))
            if gone:
                requests.append(DeleteDynamicPartitionsRequest(dimension, gone))
        if not requests:
            return SkipReason(f"the partitions hold the universe's {len(listed.tickers)} tickers and {len(datasets)} datasets")
        return SensorResult(dynamic_partitions_requests=requests)

    return universe
