"""`ops-pipeline dropped`: rows that vendors no longer send, hiding them on confirmation, and bringing them back.

Belongs here: which rows are meant, what is shown of them, asking. Does not belong here: finding them (`engine.dropped`), and carrying a
decision out (`engine.decisions`).
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from ops_pipeline.cli import output
from ops_pipeline.cli.bar import progress
from ops_pipeline.cli.home import open_ledger, require_dataset
from ops_pipeline.cli.options import DatasetOption, HomeOption, JsonOption, TickerOption, dataset_option, limit_option, parse_day
from ops_pipeline.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from ops_pipeline.engine.context import Context
    from ops_pipeline.engine.decisions import Decided
    from ops_pipeline.ops.decisions import Decision
    from ops_pipeline.silver.dropped import DroppedRow

app = typer.Typer(
    help="Rows that vendors no longer send; lists them.",
    epilog="Example: ops-pipeline dropped --dataset fmp.eod-prices",
)

OneDatasetOption = Annotated[str, dataset_option("Of this dataset.")]
DaysOption = Annotated[
    list[date] | None,
    typer.Option("--date", metavar="DATE", parser=parse_day, help="Rows of this day; may be repeated.", show_default=False),
]
AllOption = Annotated[bool, typer.Option("--all", help="Every row that is listed, of the dataset or of --ticker.")]
ReasonOption = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="Why; `explain` tells it.", show_default=False)
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask; needed where nobody can answer.")]
Limit = Annotated[int, limit_option("lines in the table; --json has them all")]


@app.callback(invoke_without_command=True)
def dropped(
    ctx: typer.Context,
    dataset: DatasetOption = None,
    ticker: TickerOption = None,
    limit: Limit = 100,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List rows that vendors dropped: silver has them, and the newest answer over their day does not; nothing is hidden or deleted."""
    if ctx.invoked_subcommand is not None:
        # The options mean the same before and after the subcommand.
        given = {"home": home, "as_json": as_json, "ticker": ticker, **({"dataset": dataset} if dataset else {})}
        ctx.default_map = dict.fromkeys(("hide", "restore", "hidden"), given)
        return
    from ops_pipeline.engine.repair import chosen

    context = open_ledger(home)
    found = _dropped(context, dataset, ticker)
    if as_json:
        output.print_json({"dropped": [asdict(row) for row in found]})
        return
    if not found:
        output.say("no row was dropped: the newest answer over each row's day has it")
        return
    output.show(_table(found[:limit]))
    more = f"; the first {limit:,} are shown" if len(found) > limit else ""
    output.say(f"{output.number(len(found), 'row')} in silver that the newest answer does not have{more}")
    command = output.command(f"dropped hide {chosen(found[0].dataset, [found[0].ticker])} --date {found[0].day}", home)
    output.say(f"`{command}` hides the first of them from silver and gold")


@app.command(epilog="Example: ops-pipeline dropped hide --dataset fmp.eod-prices --ticker AAPL --date 2026-11-05")
def hide(
    dataset: OneDatasetOption,
    ticker: TickerOption = None,
    day: DaysOption = None,
    everything: AllOption = False,
    reason: ReasonOption = None,
    yes: YesOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hide rows that the vendor dropped from silver and gold, once you have confirmed it.

    From then on they are gone, for replays too; as of an earlier time they are there. An answer that has one again brings it back.
    """
    from ops_pipeline.engine.decisions import hide as hide_rows
    from ops_pipeline.engine.run import new_run_id

    _must_choose(day, everything)
    context = open_ledger(home)
    found = _dropped(context, dataset, ticker)
    chosen = [row for row in found if everything or row.day in (day or ())]
    if not chosen:
        raise UserError(
            f"none of these rows of {dataset} was dropped by the vendor, so none can be hidden: `ops-pipeline dropped --dataset {dataset}`"
            " lists those that were."
        )
    if not as_json:
        output.show(_table(chosen))
    partitions = len({row.ticker for row in chosen})
    _confirm(
        f"Hide {output.number(len(chosen), 'row')} of {output.number(partitions, 'partition')} from silver and gold?", yes=yes
    )
    done = hide_rows(context, chosen, run_id=new_run_id(), reason=reason)
    _tell(context, done, "hidden", as_json=as_json)


@app.command(epilog="Example: ops-pipeline dropped restore --dataset fmp.eod-prices --ticker AAPL --all")
def restore(
    dataset: OneDatasetOption,
    ticker: TickerOption = None,
    day: DaysOption = None,
    everything: AllOption = False,
    reason: ReasonOption = None,
    yes: YesOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring hidden rows back to silver and gold, with the values that they had."""
    from ops_pipeline.engine.decisions import find_hidden
    from ops_pipeline.engine.decisions import restore as restore_rows
    from ops_pipeline.engine.run import new_run_id

    _must_choose(day, everything)
    context = open_ledger(home)
    require_dataset(context, dataset)
    chosen = [row for row in find_hidden(context, dataset, ticker) if everything or row.day in (day or ())]
    if not chosen:
        raise UserError(
            f"none of these rows of {dataset} is hidden: `ops-pipeline dropped hidden --dataset {dataset}` lists those that are."
        )
    if not as_json:
        output.show(_hidden_table(chosen))
    _confirm(f"Bring {output.number(len(chosen), 'row')} back to silver and gold?", yes=yes)
    done = restore_rows(context, chosen, run_id=new_run_id(), reason=reason)
    _tell(context, done, "brought back", as_json=as_json)


@app.command(epilog="Example: ops-pipeline dropped hidden --dataset fmp.eod-prices")
def hidden(
    dataset: DatasetOption = None,
    ticker: TickerOption = None,
    limit: Limit = 100,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the rows that are hidden now: since when, why, and by whose decision."""
    from ops_pipeline.engine.decisions import find_hidden

    context = open_ledger(home)
    require_dataset(context, dataset)
    found = find_hidden(context, dataset, ticker)
    if as_json:
        output.print_json({"hidden": [asdict(row) for row in found]})
    elif found:
        output.show(_hidden_table(found[:limit]))
        if len(found) > limit:
            output.say(f"the first {limit:,} of {len(found):,}; --limit shows more")
    else:
        output.say("no row is hidden")


def _dropped(context: Context, dataset: str | None, ticker: str | None) -> list[DroppedRow]:
    from ops_pipeline.engine.dropped import find_dropped

    require_dataset(context, dataset)
    with progress("looking for dropped rows") as tell:
        return find_dropped(context, None if dataset is None else {dataset}, ticker, tell=tell)


def _must_choose(days: Sequence[date] | None, everything: bool) -> None:
    if bool(days) == everything:
        raise UserError("Say which rows: --date DATE, which may be repeated, or --all; one of them.")


def _confirm(question: str, *, yes: bool) -> None:
    """Asks on a terminal.

    Raises:
        UserError: nobody can answer.
        typer.Abort: the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UserError(f"{question} Nothing was done: answer on a terminal, or give --yes.")
    typer.confirm(question, abort=True, err=True)


def _tell(context: Context, done: Sequence[Decided], what: str, *, as_json: bool) -> None:
    from ops_pipeline.engine.published import publish_after_run

    publish_after_run(context, output.say)
    if as_json:
        output.print_json({"decided": [asdict(one) for one in done]})
        return
    rows = sum(one.rows for one in done)
    output.say(f"{output.number(rows, 'row')} {what} by decision {done[0].run_id}")


def _table(rows: Sequence[DroppedRow]) -> Table:
    columns = output.texts("dataset", "ticker", "key", "known since", "from run", "not in the answer of", "of run")
    lines = [
        (
            *(row.dataset, row.ticker, row.row_key, row.known_at, row.last_run_id[: output.SHORT_RUN_ID]),
            *(row.dropped_at, row.run_id[: output.SHORT_RUN_ID]),
        )
        for row in rows
    ]
    return output.listing(columns, lines)


def _hidden_table(rows: Sequence[Decision]) -> Table:
    columns = output.texts("dataset", "ticker", "key", "hidden since", "by", "because", "decision")
    lines = [
        (
            *(row.dataset_key, row.ticker, row.row_key, row.decided_at, row.decided_by, row.reason),
            row.run_id[: output.SHORT_RUN_ID],
        )
        for row in rows
    ]
    return output.listing(columns, lines)
