"""The three assets and the one step that moves them.

Belongs here: the assets' declarations and the thin wrapper around the engine's `run_batch`. Does not belong here: the run itself
(`engine`), what is told of a key (`events`).

No `from __future__ import annotations` here: Dagster reads the step's config and resources from annotations that must be classes.

Why one step: with three, a key that fails upstream makes Dagster skip the good keys downstream, and an untagged batch crashes in step two.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

from dagster import (
    AssetExecutionContext,
    AssetKey,
    AssetMaterialization,
    AssetsDefinition,
    AssetSpec,
    BackfillPolicy,
    DagsterExecutionInterruptedError,
    Failure,
    MetadataValue,
    multi_asset,
)
from dagster._core.storage.tags import PARTITION_NAME_TAG

from ops_pipeline import __version__
from ops_pipeline.alerts.sending import beat
from ops_pipeline.defs.batch import BatchConfig, read_keys
from ops_pipeline.defs.checks import log_checks
from ops_pipeline.defs.details import ABOUT, FEW_KEYS, dashboard_address
from ops_pipeline.defs.due import SOURCE_TAG
from ops_pipeline.defs.events import (
    STEP,
    Schemas,
    closes,
    counts,
    failed_layers,
    forget_told,
    materialization,
    report_planned,
    tag_outcomes,
    tag_vendors,
    tell,
)
from ops_pipeline.defs.partitions import (
    add_missing,
    from_dagster,
    partitions_def,
)
from ops_pipeline.defs.resources import OpsDuckDBResource
from ops_pipeline.defs.sweep import fail_dead_runs, step_lease
from ops_pipeline.engine.checks import check_after_run
from ops_pipeline.engine.context import Context
from ops_pipeline.engine.outcome import LAYERS, Outcome, OutcomeKind
from ops_pipeline.engine.plan import RunOptions, due_keys
from ops_pipeline.engine.progress import Progress
from ops_pipeline.engine.published import publish_after_run
from ops_pipeline.engine.run import run_batch
from ops_pipeline.errors import UserError
from ops_pipeline.ops.service import OpsService
from ops_pipeline.recipes.universe import PartitionKey

OWNERS = ["team:market-data"]
SHOWN_FAILURES = 20
PROGRESS_SECONDS = 10.0
# Dagster keeps the objects of logged events, 3.6 kB each, until the step ends: 100,000 keys would take more than a gigabyte.
KEPT_EVENTS = 5_000


def asset_specs(context: Context) -> list[AssetSpec]:
    """The three assets as a user sees them."""
    kinds = {
        "bronze": {"python", "file"},
        "silver": {"duckdb", "table"},
        "gold": {"duckdb", "table"},
    }
    return [
        AssetSpec(
            layer,
            deps=[LAYERS[i - 1]] if i else [],
            description=ABOUT[layer],
            skippable=True,
            group_name="market_data",
            kinds=kinds[layer],
            owners=OWNERS,
            code_version=__version__,
            metadata={
                "ledger": "ops.file_ingestions",
                "datasets": MetadataValue.md(_datasets(context, layer)),
                "dashboard": MetadataValue.url(dashboard_address(context, "coverage")),
            },
        )
        for i, layer in enumerate(LAYERS)
    ]


def _datasets(context: Context, layer: str) -> str:
    """What the universe asked for when the code was loaded; all that could be asked for would take 0.15 s to read, and a screen to show."""
    try:
        recipes = [context.catalogue.recipes[name] for name in context.universe().wanted]
    except UserError:
        recipes = []  # the sensor `universe` tells what is wrong with it
    lines = [f"- `{r.dataset_key}`: {r.description}" for r in recipes if layer != "gold" or r.gold]
    return "\n".join(
        [*lines, "", "`ops-pipeline datasets list` names all that can be asked for, `ops-pipeline universe add` adds one."]
    )


def build_assets(base: Context) -> AssetsDefinition:
    """The assets over a home's catalogue."""

    @multi_asset(
        name=STEP,
        specs=asset_specs(base),
        partitions_def=partitions_def(),
        can_subset=True,
        backfill_policy=BackfillPolicy.single_run(),
    )
    def lake(context: AssetExecutionContext, config: BatchConfig, ops: OpsDuckDBResource) -> Iterator[AssetMaterialization]:
        home = replace(base, service=OpsService(ops.warehouse))
        well = False
        try:
            _run(context, home, config)
            well = True
        except UserError as e:
            raise Failure(str(e), allow_retries=False) from e
        except RuntimeError as e:
            # DuckDB turns an interrupt of the main thread into its own error; Dagster must see the interrupt to call the run cancelled.
            if isinstance(e.__cause__, DagsterExecutionInterruptedError):
                raise e.__cause__ from e
            raise
        finally:
            if SOURCE_TAG in context.run.tags:
                beat(home.settings.heartbeat_url, well=well, notify=context.log.warning)
        yield from ()  # a generator may end without outputs, a function may not; the events are logged, see `events.tell`

    return lake


def _run(context: AssetExecutionContext, home: Context, config: BatchConfig) -> None:
    with step_lease(home, context.run.run_id):
        home.migrate(context.log.info)
        for run_id in fail_dead_runs(home, context.instance):
            context.log.info("run %s was reported as ended: its process is gone", run_id)
        planned = context.run.is_partitioned
        layers = [
            layer for layer in LAYERS if AssetKey(layer) in context.selected_asset_keys and (planned or layer in config.layers)
        ]
        family = ancestors(context)
        options = config.options(layers, home.settings.today, frozenset(family))
        if options.now is None and family:
            options = replace(options, now=_began(context, family[-1]))
        keys = _keys(context, home, config, options)
        tag_outcomes(context, None)
        tag_vendors(context, keys)
        context.log.info("in the dashboard: %s", dashboard_address(home, "run", run_id=context.run.run_id))
        outcomes, failed = _follow(context, home, keys, options, layers)
        context.log.info("%d keys: %s", len(keys), counts(outcomes))
        tag_outcomes(context, outcomes)
        if not planned:
            for outcome in failed:
                for layer in failed_layers(outcome, layers):
                    report_planned(context, layer, outcome)
        check_after_run(home, context.run.run_id, context.log.warning)
        log_checks(context, home, layers)
        published = publish_after_run(home, context.log.warning)
        if published and published.created:
            context.log.info("published version %s", published.version)
        if failed:
            raise _failure(failed, outcomes, dashboard_address(home, "run", run_id=context.run.run_id, tab="Errors"))


def _follow(
    context: AssetExecutionContext, home: Context, keys: Sequence[PartitionKey], options: RunOptions, layers: Sequence[str]
) -> tuple[Counter[OutcomeKind], list[Outcome]]:
    """Runs the keys to their end, telling Dagster of each as soon as its outcome is known.

    Returns:
        how many keys came to which outcome, and those that failed.
    """
    outcomes: Counter[OutcomeKind] = Counter()
    failed: list[Outcome] = []
    told = 0
    schemas = Schemas(home)
    closely = len(keys) <= FEW_KEYS
    progress = Progress(len(set(keys)), every_seconds=PROGRESS_SECONDS)
    with closing(run_batch(home, keys, options, run_id=context.run.run_id)) as run:
        for outcome in run:
            outcomes[outcome.kind] += 1
            if outcome.kind is OutcomeKind.FAILED:
                failed.append(outcome)
                context.log.error("%s failed in %s: %s", outcome.key, outcome.failed_layer, outcome.reason)
            for layer in layers:
                if closes(layer, outcome, planned=context.run.is_partitioned):
                    tell(context, materialization(home, schemas, layer, outcome, closely=closely))
                    told += 1
                    if told % KEPT_EVENTS == 0:
                        forget_told(context)
            progress.take(outcome)
            news = progress.news()
            if news:
                context.log.info(news)
    return outcomes, failed


def _keys(
    context: AssetExecutionContext,
    home: Context,
    config: BatchConfig,
    options: RunOptions,
) -> Sequence[PartitionKey]:
    if context.run.is_partitioned:
        keys = _planned_by_dagster(context)
    else:
        keys = read_keys(home.settings.runs_path / "keys", config) or due_keys(home, options)
    if keys and all(key.dataset not in home.catalogue.recipes for key in keys):
        home.catalogue.recipe(keys[0].dataset)  # raises: nothing of what the run is for can be done
    added = add_missing(context.instance, keys)
    if added:
        context.log.info("added %d tickers or datasets to Dagster's partitions", added)
    return keys


def _planned_by_dagster(context: AssetExecutionContext) -> Sequence[PartitionKey]:
    """The cells that Dagster gave to the run.

    A single one is taken from its tag: it may be of a run that is executed again, and have left the grid with its ticker or dataset.
    """
    single = context.run.tags.get(PARTITION_NAME_TAG)
    if single is not None:
        return [from_dagster(single)]
    keys = [from_dagster(str(k)) for k in context.partition_keys]
    if not keys:
        raise UserError("the partition range holds no partition: its end lies before its start. Choose the range again.")
    return keys


def ancestors(context: AssetExecutionContext) -> list[str]:
    """The runs that this one re-executes, its parent first, over all generations: what they completed is not done again."""
    found: list[str] = []
    parent = context.run.parent_run_id
    while parent is not None and parent not in found:
        found.append(parent)
        run = context.instance.get_run_by_id(parent)
        parent = run.parent_run_id if run else None
    return found


def _began(context: AssetExecutionContext, run_id: str) -> datetime | None:
    """When a run began: its re-executions decide as at that time where its config names none; None when the run was deleted."""
    record = context.instance.get_run_record_by_id(run_id)
    return datetime.fromtimestamp(record.start_time, UTC) if record and record.start_time else None


def _failure(failed: Sequence[Outcome], outcomes: Counter[OutcomeKind], dashboard: str) -> Failure:
    shown = "\n".join(f"- `{o.key}` in {o.failed_layer}: {o.reason}" for o in failed[:SHOWN_FAILURES])
    more = f"\n- and {len(failed) - SHOWN_FAILURES} more: `ops-pipeline show` lists them" if len(failed) > SHOWN_FAILURES else ""
    return Failure(
        f"{len(failed)} of {outcomes.total()} keys failed; every other key is stored. "
        "Re-execute this run from failure to do only what is left.",
        metadata={
            "failed": MetadataValue.md(shown + more),
            "outcomes": MetadataValue.json({k.value: n for k, n in outcomes.items()}),
            "dashboard": MetadataValue.url(dashboard),
        },
        allow_retries=False,
    )
