"""`ops-pipeline rejects`: what silver refused, and taking it in once the recipe is mended.

Belongs here: the commands' options and what they print. Does not belong here: which files are refused (`ops.rejects`), and reading them
again (`engine.rejects`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ops_pipeline.cli import completion, output
from ops_pipeline.cli.bar import progress
from ops_pipeline.cli.home import open_ledger, require_dataset
from ops_pipeline.cli.ledger import find_run
from ops_pipeline.cli.options import DatasetOption, HomeOption, JsonOption, TickerOption, limit_option
from ops_pipeline.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.table import Table

    from ops_pipeline.engine.context import Context
    from ops_pipeline.engine.rejects import Reading, Retried
    from ops_pipeline.ops.rejects import RefusedFile, RefusedRecord

STILL_REFUSED = 1

app = typer.Typer(
    help="Records and files that silver refused; lists the files.",
    epilog="Example: ops-pipeline rejects list --dataset sample.eod-prices",
)

RunOption = Annotated[
    str | None,
    typer.Option(
        "--run",
        metavar="RUN_ID",
        help="Only files that this run fetched or promoted; the beginning of its id will do, or `last`.",
        show_default=False,
        autocompletion=completion.run_ids,
    ),
]
_ANY = 20


@app.callback(invoke_without_command=True)
def rejects(ctx: typer.Context, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the files of which silver refused records, or all; or do something about them with a subcommand."""
    if ctx.invoked_subcommand is None:
        list_(home=home, as_json=as_json)
        return
    # The options mean the same before and after the subcommand.
    ctx.default_map = {name: {"home": home, "as_json": as_json} for name in ("list", "show", "retry")}


@app.command("list", epilog="Example: ops-pipeline rejects list --ticker AAPL --run last")
def list_(
    dataset: DatasetOption = None,
    ticker: TickerOption = None,
    run: RunOption = None,
    limit: Annotated[int, limit_option("files, newest first")] = 40,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the files of which the latest promotion refused records, or which it refused as a whole, with the reason."""
    context = open_ledger(home)
    found = _chosen(context, dataset, ticker, run)
    if as_json:
        output.print_json({"total": len(found), "files": found[:limit]})
        return
    if not found:
        output.say("nothing is refused: every record of every file could be typed")
        return
    output.show(_table(found[:limit]))
    if len(found) > limit:
        output.say(f"and {len(found) - limit:,} more; --limit shows them")
    newest = found[0]
    output.say(
        f"`{output.command(f'rejects show {newest.file_id[:12]}', home)}` shows records as the vendor sent them;"
        f" `{output.command(f'rejects retry --dataset {newest.dataset}', home)}` takes them in once the recipe is mended"
    )


@app.command(epilog="Example: ops-pipeline rejects show 3f2a9c")
def show(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="The file's id, or the beginning of one, as `list` shows it.", show_default=False),
    ],
    run: RunOption = None,
    limit: Annotated[int, limit_option("records")] = 40,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a file's refused records: the reason and the text as the vendor sent it, and what the recipe in force makes of the file.

    Of a file that was refused as a whole no record was kept; its body is read again, by the recipe in force.
    """
    from ops_pipeline.engine.rejects import read_again
    from ops_pipeline.ops.rejects import refused_records

    context = open_ledger(home)
    one = _one(context, file, run)
    with context.warehouse.reading() as connection:
        records = refused_records(connection, one, limit=limit)
    reading, why_not = None, None
    try:
        reading = read_again(context, one, limit=limit)
    except UserError as e:
        why_not = str(e)
    if as_json:
        output.print_json({"file": one, "records": records, "now": reading, "now_error": why_not})
        return
    output.show(_table([one]))
    shown = records or (reading.first if reading and one.whole else [])
    if shown:
        output.show(_records(shown))
        refused = one.refused if records else reading.refused if reading else None
        if refused and refused > len(shown):
            output.say(f"and {refused - len(shown):,} more; --limit shows them")
    if one.whole:
        output.show(output.cell(f"refused as a whole: {one.reason}"))
    output.show(output.cell(_now(one, reading) if reading else f"it cannot be read again: {why_not}"))


@app.command(epilog="Example: ops-pipeline rejects retry --dataset sample.eod-prices")
def retry(
    dataset: DatasetOption = None,
    ticker: TickerOption = None,
    run: RunOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Promote the refused files once more, by the recipes in force; nothing is asked of any vendor.

    Each file's partition is read again, so that the file is merged in its place; where the recipe's columns changed, its whole dataset.
    Exit status 1 when something of the chosen files is still refused.
    """
    from ops_pipeline.engine.rejects import retry as retry_files

    context = open_ledger(home)
    chosen = _chosen(context, dataset, ticker, run)
    with progress("reading again"):
        done = retry_files(context, chosen) if chosen else []
    if as_json:
        output.print_json({"retried": [_document(one) for one in done]})
    elif not done:
        output.say("nothing is refused")
    for one in [] if as_json else done:
        _print(one, home)
    if any(one.left for one in done):
        raise typer.Exit(STILL_REFUSED)


def _chosen(context: Context, dataset: str | None, ticker: str | None, run: str | None) -> list[RefusedFile]:
    from ops_pipeline.ops.queries import RunFilter
    from ops_pipeline.ops.rejects import refused_files

    require_dataset(context, dataset)
    run_id = find_run(context.service, run).run_id if run else None
    with context.warehouse.reading() as connection:
        return refused_files(connection, RunFilter(dataset=dataset, ticker=ticker), run_id=run_id, limit=None)


def _one(context: Context, file: str, run: str | None) -> RefusedFile:
    """The newest refused file whose id begins so.

    Raises:
        UserError: there is none, or different ones begin so.
    """
    from ops_pipeline.ops.rejects import refused_files

    run_id = find_run(context.service, run).run_id if run else None
    with context.warehouse.reading() as connection:
        found = refused_files(connection, run_id=run_id, file_id=file, limit=_ANY)
    if not found:
        raise UserError(
            f"of no file that begins with {file!r} is anything refused; `ops-pipeline rejects list` lists those there are."
        )
    ids = list(dict.fromkeys(one.file_id for one in found))
    if len(ids) > 1:
        raise UserError(f"several files begin with {file!r}: {output.first(ids)}; write more of the one that you mean.")
    return found[0]


def _table(files: Sequence[RefusedFile]) -> Table:
    rows = [
        (
            f.dataset,
            f.ticker,
            f.file_id[:12],
            f.run_id[: output.SHORT_RUN_ID],
            "all" if f.refused is None else f"{f.refused:,}",
            f.records,
            f.reason,
            f.refused_at,
        )
        for f in files
    ]
    columns = (
        *output.texts("dataset", "ticker", "file", "run"),
        *output.figures("refused", "of", optional=False),
        *output.texts("reason", "refused at"),
    )
    return output.listing(columns, rows)


def _records(records: Sequence[RefusedRecord]) -> Table:
    columns = (*output.figures("record", optional=False), *output.texts("refused because", "as sent"))
    return output.listing(columns, [(r.record, r.reason, r.text) for r in records])


def _now(file: RefusedFile, reading: Reading) -> str:
    if reading.refusal:
        return f"by the recipe in force it is refused: {reading.refusal}"
    refused = f"{reading.refused:,} of {output.number(reading.records, 'record')} are refused"
    if reading.refused:
        return f"by the recipe in force {refused}"
    return f"by the recipe in force nothing of it is refused: `ops-pipeline rejects retry --dataset {file.dataset}` takes it in"


def _document(one: Retried) -> dict[str, object]:
    from ops_pipeline.cli.replay import document

    return {
        "dataset": one.dataset,
        "chosen": one.chosen,
        "left": one.left,
        "whole_dataset": one.everything,
        "replayed": document(one.replayed),
    }


def _print(one: Retried, home: Path | None) -> None:
    from ops_pipeline.cli.replay import show as show_replayed

    if one.everything:
        output.say(f"the recipe's columns changed: all files of {one.dataset} were read")
    show_replayed(one.replayed)
    taken = len(one.chosen) - len(one.left)
    output.show(f"{taken:,} of {output.number(len(one.chosen), 'refused file')} taken in, with nothing refused")
    if one.left:
        output.show(_table(one.left))
        output.say(
            f"`{output.command(f'rejects show {one.left[0].file_id[:12]}', home)}` shows why; mend the recipe and try again"
        )
