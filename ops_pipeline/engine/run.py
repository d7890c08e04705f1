"""A run: many keys through bronze, silver and gold.

Belongs here: `run_batch`, the generator that plans, fetches, promotes and tells each key's outcome as soon as it is known. Does not belong
here: any of these steps' own work, Dagster, the terminal.

The caller's thread only takes outcomes: the work goes on (`pipeline`) while it writes its events or draws its progress bar.
"""

from __future__ import annotations

import logging
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from ops_pipeline.engine.context import steps
from ops_pipeline.engine.heal import heal, left_by_dead
from ops_pipeline.engine.identify import declared_anew, identify
from ops_pipeline.engine.outcome import Outcome
from ops_pipeline.engine.pipeline import Pipeline
from ops_pipeline.engine.plan import RunOptions, ask, decide, question
from ops_pipeline.engine.promote import LOG_BYTES_LEFT, Promoter
from ops_pipeline.errors import UserError
from ops_pipeline.sources import prepare

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from ops_pipeline.engine.context import Context
    from ops_pipeline.engine.plan import PlannedKey
    from ops_pipeline.recipes.universe import PartitionKey

log = logging.getLogger("ops_pipeline.engine")


def new_run_id() -> str:
    """An id for a run that Dagster did not start."""
    return str(uuid.uuid4())


def run_batch(
    context: Context, keys: Sequence[PartitionKey], options: RunOptions, *, run_id: str
) -> Generator[Outcome, None, None]:
    """Runs the keys and gives one outcome a key, as soon as it is known.

    Closing the generator, or raising into it, stops the run: what is fetched is recorded, what is not is marked, and no lock is left.

    Args:
        context: the home; its migrations must be applied.
        keys: the partitions; repeated ones count once.
        options: what may and must be done.
        run_id: the ledger's run id.

    Raises:
        UserError: when the run as a whole cannot go on (full disk, database held by a foreign process for too long); what was stored by
            then is finished by the next run.
    """
    # A retry under the same run id goes on where its earlier attempt ended.
    options = replace(options, after_runs=options.after_runs | {run_id})
    with context.leases.held(run_id):
        steps.debug("started")
        datasets = {key.dataset for key in keys} & context.catalogue.recipes.keys()
        prepare(context.catalogue.sources[context.catalogue.recipes[dataset].source] for dataset in datasets)
        promoter = Promoter(context, run_id, options.layers)
        planned = _planned(context, keys, options, run_id, promoter)
        work = [p for p in planned if p.verdict is None]
        for item in planned:
            if item.verdict is not None:
                yield Outcome(item.key, item.verdict, item.reason)
        if work:
            try:
                yield from Pipeline(context, run_id, options.layers, promoter, work).outcomes()
            finally:
                _tidy(context, run_id)
            promoter.fold(LOG_BYTES_LEFT)
        steps.debug("finished")


def _planned(
    context: Context, keys: Sequence[PartitionKey], options: RunOptions, run_id: str, promoter: Promoter
) -> list[PlannedKey]:
    """The plans, with instruments and the rows of dead runs in order: nearly always they are, and one opening of the database tells."""
    universe = context.universe()
    asked = question(context, universe, keys, options)
    with context.warehouse.reading():
        anew, left = declared_anew(context, universe), left_by_dead(context, run_id)
        known = None if anew or left.rows else ask(context, asked, options)
    if anew:
        identify(context, universe)
    heal(context, run_id, promoter, left)
    return decide(context, asked, known or ask(context, asked, options), options)


def _tidy(context: Context, run_id: str) -> None:
    try:
        context.store.discard_temporary(run_id)
    except UserError as e:
        log.warning("%s", e)  # what went wrong with the disk is told by what could not be stored
