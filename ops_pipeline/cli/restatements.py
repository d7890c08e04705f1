"""What vendors changed afterwards: `ops-pipeline restatements`.

Belongs here: filters and how the lines are shown. Does not belong here: the views (`silver.restatements`), rows that are missing from later
answers (`dropped`).
"""

from __future__ import annotations

from datetime import date
from typing import Annotated

import typer

from ops_pipeline.cli import output
from ops_pipeline.cli.bar import progress
from ops_pipeline.cli.home import open_ledger, require_dataset
from ops_pipeline.cli.options import DatasetOption, HomeOption, JsonOption, TickerOption, limit_option, parse_day

EXAMPLE = "Example: ops-pipeline restatements --dataset sample.eod-prices --since 2026-01-01"


def restatements(
    dataset: DatasetOption = None,
    ticker: TickerOption = None,
    since: Annotated[
        date | None,
        typer.Option("--since", metavar="DATE", parser=parse_day, help="Stored on or after this day (UTC).", show_default=False),
    ] = None,
    limit: Annotated[int, limit_option("lines, newest first")] = 100,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List values that vendors changed or removed after they were stored, and rows that wait for their history to be asked again."""
    from ops_pipeline.silver.restatements import read_restatements

    context = open_ledger(home)
    require_dataset(context, dataset)
    with progress("reading"), context.warehouse.reading() as connection:
        found = read_restatements(connection, dataset=dataset, ticker=ticker, since=since, limit=limit)
    if as_json:
        mixed = [{"dataset": d, "ticker": t, "reason": r, "rows": n} for (d, t, r), n in found.mixed.items()]
        output.print_json({"restatements": found.rows, "total": found.total, "mixed_basis": mixed})
        return
    if found.rows:
        names = ("dataset", "ticker", "row_key", "column_name", "old_value", "new_value", "operation", "known_at", "run_id")
        columns = output.texts("dataset", "ticker", "key", "column", "old", "new", "operation", "known at", "run")
        output.show(output.listing(columns, ([row[name] for name in names] for row in found.rows)))
    else:
        output.say("nothing was restated")
    if found.total > len(found.rows):
        output.say(f"the newest {len(found.rows):,} of {found.total:,}; --limit shows more")
    for (name, symbol, reason), count in found.mixed.items():
        output.say(
            f"{name} {symbol}: {output.number(count, 'row')} on an old adjustment basis, {reason}; the next run asks it all again"
        )
