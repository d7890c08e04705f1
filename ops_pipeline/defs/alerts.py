"""The sensors that send alerts: one a failed run, one for findings; there are none where no address is set.

Belongs here: when something is told, and that it is not told twice. Does not belong here: what is said and how it is sent (`alerts`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster import (
    AssetCheckKey,
    AssetCheckSeverity,
    AssetKey,
    DagsterEventType,
    DagsterRunStatus,
    DefaultSensorStatus,
    RunFailureSensorContext,
    RunsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
    run_failure_sensor,
    sensor,
)

from ops_pipeline.alerts.messages import failed_keys, of_findings, of_run
from ops_pipeline.alerts.sending import send
from ops_pipeline.defs.checks import CHECKS
from ops_pipeline.defs.due import SOURCE_TAG
from ops_pipeline.defs.fresh import FreshHome
from ops_pipeline.engine.morning import look
from ops_pipeline.errors import UserError

if TYPE_CHECKING:
    from dagster import DagsterInstance, DagsterRun

    from ops_pipeline.engine.context import Context

_FINDINGS_SECONDS = 600
# What the message of the run tells already.
_TOLD_BY_RUNS = "no_partitions_left_failed"
_ENDED = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE]
_SHOWN = 300


def build_alerts(home: Context) -> list[SensorDefinition]:
    """The sensors of a home that has somebody to tell."""
    if home.settings.alert_urls is None:
        return []
    return [_of_runs(home), _of_findings(home)]


def _of_runs(home: Context) -> SensorDefinition:
    @run_failure_sensor(
        name="alert_failed_runs",
        default_status=DefaultSensorStatus.RUNNING,
        description="Sends one message for each failed run, with the first reasons; none where the source's run before failed in the same"
        " way. OPS_PIPELINE_ALERT_URLS says where to.",
    )
    def alert_failed_runs(context: RunFailureSensorContext) -> SkipReason | None:
        run = context.dagster_run
        failed = failed_keys(home, run.run_id)
        before = _run_before(context.instance, run)
        if failed and before and before.status is DagsterRunStatus.FAILURE and failed_keys(home, before.run_id) == failed:
            return SkipReason("the source's run before failed in the same way, which was told then")
        message = of_run(home, run.run_id, failed, error=_error(context), link=_link(home, run.run_id))
        if home.settings.alert_urls is not None:
            send(home.settings.alert_urls, message)
        return None

    return alert_failed_runs


def _of_findings(home: Context) -> SensorDefinition:
    fresh = FreshHome(home)

    @sensor(
        name="alert_findings",
        minimum_interval_seconds=_FINDINGS_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        description="Sends one message about failing checks and stale or doubtful data when they change. OPS_PIPELINE_ALERT_URLS says"
        " where to.",
    )
    def alert_findings(context: SensorEvaluationContext) -> SkipReason:
        try:
            problems = [problem for problem in look(fresh()).problems if problem.kind in ("stale", "doubtful")]
        except UserError as e:
            return SkipReason(str(e))
        message = of_findings(home, _failing_checks(context.instance), problems)
        digest = message.digest if message else ""
        if digest == (context.cursor or ""):
            return SkipReason("nothing new" if message else "no finding")
        if message and home.settings.alert_urls is not None:
            send(home.settings.alert_urls, message)
        context.update_cursor(digest)
        return SkipReason(f"sent: {message.title}" if message else "no finding any more")

    return alert_findings


def _run_before(instance: DagsterInstance, run: DagsterRun) -> DagsterRun | None:
    """The run of the same source that ended before this one; None for one that nobody scheduled."""
    source = run.tags.get(SOURCE_TAG)
    if source is None:
        return None
    # Newest first.
    runs = list(instance.get_runs(RunsFilter(tags={SOURCE_TAG: source}, statuses=_ENDED), limit=20))
    ids = [one.run_id for one in runs]
    return next(iter(runs[ids.index(run.run_id) + 1 :]), None) if run.run_id in ids else None


def _error(context: RunFailureSensorContext) -> str:
    """The first line of what went wrong."""
    for event in context.get_step_failure_events():
        failure = event.step_failure_data
        if failure.user_failure_data and failure.user_failure_data.description:
            return str(failure.user_failure_data.description)
        if failure.error:
            return str(failure.error.message).strip().partition("\n")[0]
    return context.failure_event.message or "no reason was recorded"


def _link(home: Context, run_id: str) -> str:
    return f"{home.settings.dagster_url.rstrip('/')}/runs/{run_id}"


def _failing_checks(instance: DagsterInstance) -> list[tuple[str, str]]:
    """Checks whose latest evaluation found errors, with the beginning of what they found; a warning wakes nobody."""
    found = []
    for check in CHECKS:
        if check.name == _TOLD_BY_RUNS:
            continue
        record = instance.get_latest_asset_check_evaluation_record(AssetCheckKey(AssetKey(check.layer), check.name))
        event = record.event.dagster_event if record and record.event else None
        evaluation = (
            event.asset_check_evaluation_data if event and event.event_type is DagsterEventType.ASSET_CHECK_EVALUATION else None
        )
        if evaluation is not None and not evaluation.passed and evaluation.severity is AssetCheckSeverity.ERROR:
            first = evaluation.metadata.get("first")
            found.append((check.name, str(first.value)[:_SHOWN] if first else "failed"))
    return found
