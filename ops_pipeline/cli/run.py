"""`ops-pipeline run`: many keys through the layers, shown while it goes.

Belongs here: the command's options and the course of one run, to its exit status. Does not belong here: the work (`engine.run`) and how
it looks (`run_view`).
"""

from __future__ import annotations

import contextlib
import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops_pipeline.cli.bar import progress
from ops_pipeline.cli.home import open_home
from ops_pipeline.cli.interrupt import StopSignals
from ops_pipeline.cli.options import DatasetsOption, HomeOption, JsonOption, Layer, TickersOption, TodayOption, parse_day
from ops_pipeline.cli.planning import accept_missing_ledger, report_dry_run
from ops_pipeline.cli.run_view import RunScreen
from ops_pipeline.cli.selection import read_tickers, select_keys
from ops_pipeline.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from ops_pipeline.engine.context import Context
    from ops_pipeline.engine.outcome import Outcome
    from ops_pipeline.engine.plan import RunOptions
    from ops_pipeline.recipes.universe import PartitionKey

EXAMPLE = "Example: ops-pipeline run --dataset sample.eod-prices --ticker AAPL --today 2013-03-01"
SOME_KEY_FAILED = 1


def run(
    dataset: DatasetsOption = None,
    ticker: TickersOption = None,
    tickers_file: Annotated[
        Path | None,
        typer.Option("--tickers-file", metavar="FILE", help="Only the tickers of this file, one a line.", show_default=False),
    ] = None,
    from_date: Annotated[
        date | None,
        typer.Option("--from", metavar="DATE", parser=parse_day, help="Ask again from this day.", show_default=False),
    ] = None,
    to_date: Annotated[
        date | None,
        typer.Option("--to", metavar="DATE", parser=parse_day, help="Ask for nothing after this day.", show_default=False),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Ask for the whole history again.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Ask also what the vendor's plan was said not to hold, and what waits for a pause.")
    ] = False,
    lookback: Annotated[
        int | None,
        typer.Option(
            "--lookback",
            metavar="DAYS",
            min=0,
            max=3660,
            help="Overlap with what is stored, instead of the recipe's.",
            show_default=False,
        ),
    ] = None,
    today: TodayOption = None,
    layer: Annotated[
        list[Layer] | None,
        typer.Option(
            "--layer", metavar="LAYER", help="Only bronze (fetch), silver or gold; may be repeated.", show_default=False
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the requests; send and write nothing.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch what is missing and promote it to silver and gold.

    Without options: every key of the universe, from the day after the last one stored. A span asked again never moves that day back.
    Ctrl-C stops in order: what was fetched is recorded, and the next run goes on from there. Exit status 1 when some key failed.
    """
    _check(from_date, to_date, full=full, lookback=lookback)
    screen = RunScreen(as_json=as_json, home=home)
    context = open_home(home, today=today, screen=screen.err)
    tickers = [*(ticker or []), *(read_tickers(tickers_file) if tickers_file else [])]
    keys = select_keys(context, dataset or [], tickers)

    from ops_pipeline.engine.plan import RunOptions, plan

    options = RunOptions(
        layers=frozenset(chosen.value for chosen in layer or Layer),
        from_date=from_date,
        to_date=to_date,
        full=full,
        force=force,
        lookback_days=lookback,
        today=context.settings.today,
    )
    if dry_run:
        accept_missing_ledger(context)
        report_dry_run(context, plan(context, keys, options), as_json=as_json)
        return
    conduct(context, keys, options, screen)


def conduct(context: Context, keys: Sequence[PartitionKey], options: RunOptions, screen: RunScreen) -> None:
    """Runs the keys, shows them, and ends the command with its exit status when a key failed or the user stopped the run.

    Raises:
        UserError: when the run as a whole cannot go on.
        typer.Exit: when the exit status is not 0.
    """
    from ops_pipeline.engine.checks import check_after_run
    from ops_pipeline.engine.published import publish_after_run

    failed = False
    with StopSignals(screen.say) as stop:
        run_id, failed = _go(context, keys, options, screen, stop)
        with progress("checking and publishing"):
            if stop.received is None:
                check_after_run(context, run_id, screen.say)
            publish_after_run(context, screen.say)
    if stop.received is not None:
        raise typer.Exit(stop.exit_status)
    if failed:
        raise typer.Exit(SOME_KEY_FAILED)


def _check(from_date: date | None, to_date: date | None, *, full: bool, lookback: int | None) -> None:
    """Refuses options that contradict each other."""
    if from_date and to_date and from_date > to_date:
        raise UserError(f"--from {from_date} is after --to {to_date}; exchange them.")
    if full and from_date:
        raise UserError("--full asks for the whole history, --from for a part of it; give one of them.")
    if lookback is not None and (full or from_date):
        raise UserError("--lookback is about what follows the stored data; it does not go with --full or --from.")


def _go(
    context: Context, keys: Sequence[PartitionKey], options: RunOptions, screen: RunScreen, stop: StopSignals
) -> tuple[str, bool]:
    """Runs the keys and shows them.

    Returns:
        the run's id, and whether some key failed.
    """
    from ops_pipeline.engine.run import new_run_id, run_batch

    started = time.monotonic()
    run_id = new_run_id()
    screen.begin(run_id, len(keys))
    try:
        context.migrate(screen.say)
        _follow(run_batch(context, keys, options, run_id=run_id), screen, started)
    finally:
        if stop.received is not None:
            screen.stopped(stop.received.name, time.monotonic() - started)
    screen.finished(context.service.run_summary(run_id), time.monotonic() - started)
    return run_id, screen.failed > 0


def _follow(run: Generator[Outcome, None, None], screen: RunScreen, started: float) -> None:
    """Shows a run to its end; tells what is done when the run as a whole breaks off."""
    try:
        # Closed in every path, also when it is this side that fails: closing is what stops the run and flushes the ledger.
        with screen.progress(), contextlib.closing(run) as outcomes:
            for outcome in outcomes:
                screen.told(outcome)
    except UserError as e:
        screen.broken_off(str(e), time.monotonic() - started)
        raise
