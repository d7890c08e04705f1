"""What the ledger tells: `ops-pipeline runs`, `show` and `coverage`.

Belongs here: filters, tables and JSON of these commands. Does not belong here: the queries (`ops.queries`).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from ops_pipeline.cli import calendar, output
from ops_pipeline.cli.bar import progress
from ops_pipeline.cli.documents import file_document, summary_document
from ops_pipeline.cli.home import open_ledger, require_dataset
from ops_pipeline.cli.options import (
    DatasetOption,
    FailedOption,
    FileStatus,
    HomeOption,
    JsonOption,
    Layer,
    RunArgument,
    TickerOption,
    limit_option,
    parse_day,
)
from ops_pipeline.cli.summary import summary_panel
from ops_pipeline.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from ops_pipeline.engine.context import Context
    from ops_pipeline.ops.ingestion import DatasetInjestion
    from ops_pipeline.ops.queries import RunFilter, RunSummary
    from ops_pipeline.ops.service import OpsService

RUNS_EXAMPLE = "Example: ops-pipeline runs --failed --since 2026-01-01"
SHOW_EXAMPLE = "Example: ops-pipeline show last --failed"
COVERAGE_EXAMPLE = "Example: ops-pipeline coverage --dataset sample.eod-prices"
LAST = "last"


def runs(
    limit: Annotated[int, limit_option("runs, newest first")] = 20,
    since: Annotated[
        date | None,
        typer.Option("--since", metavar="DATE", parser=parse_day, help="Started on or after this day (UTC).", show_default=False),
    ] = None,
    until: Annotated[
        date | None,
        typer.Option(
            "--until", metavar="DATE", parser=parse_day, help="Started on or before this day (UTC).", show_default=False
        ),
    ] = None,
    dataset: DatasetOption = None,
    ticker: TickerOption = None,
    failed: FailedOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List runs with their figures; with --dataset or --ticker only the files of these count.

    Above them a calendar: each day by its worst outcome.
    """
    from ops_pipeline.ops.queries import RunFilter

    if since and until and since > until:
        raise UserError(f"--since {since} is after --until {until}; exchange them.")
    context = open_ledger(home)
    require_dataset(context, dataset)
    wanted = RunFilter(since=since, until=until, dataset=dataset, ticker=ticker, only_failures=failed)
    with progress("reading"):
        found = context.service.list_runs(wanted, limit=limit + 1)
    found, more = found[:limit], len(found) > limit
    if as_json:
        output.print_json({"runs": [summary_document(run) for run in found], "truncated": more})
        return
    if not found:
        output.say("no run matches")
        return
    _print_calendar(context, wanted, found)
    columns = (
        *(output.Column("run", whole=True), output.Column("started", whole=True), output.Column("status", whole=True)),
        *output.figures("seconds", "files", optional=False),
        *output.figures("failures"),
        *output.figures("rows", optional=False),
        *output.figures("created", "updated", "deleted", "rejected"),
        *output.figures("gold", optional=False),
    )
    rows = [
        (
            run.run_id[: output.SHORT_RUN_ID],
            run.started,
            output.status_cell(run.status),
            *(f"{run.seconds:,.1f}", run.files, run.failed_files, run.bronze_rows),
            *(run.silver_rows.get(name, 0) for name in ("created", "updated", "deleted", "failed")),
            run.gold_rows.get("created", 0) + run.gold_rows.get("updated", 0),
        )
        for run in found
    ]
    output.show(output.listing(columns, rows))
    if more:
        output.say(f"the newest {limit:,}; --limit shows more")


def _print_calendar(context: Context, wanted: RunFilter, found: Sequence[RunSummary]) -> None:
    """The days up to the newest of these runs, each by its worst outcome."""
    newest = next((run.started for run in found if run.started), None)
    if newest is None:
        return
    first, last = calendar.span(wanted.since, newest.date())
    days = context.service.days(first, last, replace(wanted, since=None, until=None))
    output.show(*calendar.lines(days, last))


def show(
    run_id: RunArgument,
    stage: Annotated[
        Layer | None,
        typer.Option(
            "--stage", metavar="LAYER", help="Only files that the run moved in bronze, silver or gold.", show_default=False
        ),
    ] = None,
    status: Annotated[
        FileStatus | None,
        typer.Option("--status", metavar="STATUS", help=f"Only files that are {', '.join(FileStatus)}.", show_default=False),
    ] = None,
    dataset: DatasetOption = None,
    ticker: TickerOption = None,
    failed: FailedOption = False,
    limit: Annotated[int, limit_option("files")] = 100,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a run: its figures and its files with what became of each."""
    from ops_pipeline.ops.queries import RunFilter

    context = open_ledger(home)
    require_dataset(context, dataset)
    run = find_run(context.service, run_id)
    wanted = RunFilter(
        dataset=dataset,
        ticker=ticker,
        only_failures=failed,
        stage=stage.value if stage else None,
        status=status.value if status else None,
    )
    files = context.service.run_files(run.run_id, wanted, limit=limit + 1)
    files, more = files[:limit], len(files) > limit
    if as_json:
        output.print_json({"run": summary_document(run), "files": [file_document(file) for file in files], "truncated": more})
        return
    output.show(summary_panel(run.run_id, run))
    if not files:
        output.say("no file matches")
        return
    output.show(_file_table(files))
    if more:
        output.say(f"the first {limit:,} files; --limit shows more, and --failed, --status, --dataset or --ticker less")


def find_run(service: OpsService, given: str) -> RunSummary:
    """The run that is meant by an id, the beginning of one, or `last`.

    Raises:
        UserError: when there is none, or several begin so.
    """
    if given == LAST:
        newest = service.list_runs(limit=1)
        if not newest:
            raise UserError("there is no run yet: run `ops-pipeline run` first.")
        return newest[0]
    found = service.find_runs(given, limit=6)
    if len(found) > 1 and given not in found:
        raise UserError(f"several runs begin with {given!r}: {output.first(found)}; write more of the one that you mean.")
    summary = service.run_summary(given if given in found else found[0]) if found else None
    if summary is None:
        raise UserError(f"no run begins with {given!r}; `ops-pipeline runs` lists them, and `show last` shows the newest.")
    return summary


def _file_table(files: Sequence[DatasetInjestion]) -> Table:
    columns = (
        output.Column("status", whole=True),
        *output.texts("dataset", "ticker", "dates"),
        *output.figures("rows", optional=False),
        *output.figures("created", "updated", "unchanged", "superseded", "out of window", "deleted", "rejected", "gold"),
        output.Column("error", optional=True),
    )
    rows = [
        (
            output.status_cell(file.status),
            *(file.dataset_key, file.ticker, _dates(file), file.bronze_rows),
            *(file.silver_rows_created, file.silver_rows_updated, file.silver_rows_unchanged, file.silver_rows_superseded),
            *(file.silver_rows_out_of_window, file.silver_rows_deleted, file.silver_rows_failed),
            file.gold_rows_created + file.gold_rows_updated,
            file.error,
        )
        for file in files
    ]
    return output.listing(columns, rows)


def _dates(file: DatasetInjestion) -> str:
    """The dates in the file, or those asked for where it has none."""
    found = output.span(file.bronze_from_date, file.bronze_to_date)
    asked = output.span(file.requested_from_date, file.requested_to_date)
    return f"asked {asked}" if found == "-" and asked != "-" else found


def coverage(
    dataset: DatasetOption = None,
    ticker: TickerOption = None,
    limit: Annotated[int, limit_option("partitions")] = 1000,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what is stored of each dataset and ticker: first and last date, holes between them, and files that stand in the way."""
    from ops_pipeline.ops.queries import RunFilter

    context = open_ledger(home)
    require_dataset(context, dataset)
    with progress("reading"):
        found = context.service.coverage(RunFilter(dataset=dataset, ticker=ticker), limit=limit + 1)
    found, more = found[:limit], len(found) > limit
    if as_json:
        output.print_json({"coverage": found, "truncated": more})
        return
    if not found:
        output.say("nothing matches")
        return
    names = ("dataset", "ticker", "from_date", "to_date", "last_answer", "files", "holes", "failed_files", "pending_files")
    columns = (
        *output.texts("dataset", "ticker", "from", "to", "last answer"),
        *output.figures("files", optional=False),
        *output.figures("holes", "failed", "pending"),
    )
    output.show(output.listing(columns, ([row[name] for name in names] for row in found)))
    if more:
        output.say(f"the first {limit:,} partitions; --limit shows more")
