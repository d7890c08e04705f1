"""`ops-pipeline checks`: what the checks of the data found, and making them now.

Belongs here: the listing, and the exit status. Does not belong here: making the checks (`engine.checks`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ops_pipeline.cli import output
from ops_pipeline.cli.bar import progress
from ops_pipeline.cli.home import open_home, require_dataset, require_schema
from ops_pipeline.cli.options import DatasetOption, HomeOption, JsonOption, TodayOption, limit_option

if TYPE_CHECKING:
    from ops_pipeline.ops.check_results import CheckResult

EXAMPLE = "Example: ops-pipeline checks --dataset sample.eod-prices --run"
AN_ERROR_WAS_FOUND = 1
SHOWN_FINDINGS = 5


def checks(
    dataset: DatasetOption = None,
    run: Annotated[
        bool, typer.Option("--run", help="Make the checks now, over all rows, instead of listing the latest results.")
    ] = False,
    today: TodayOption = None,
    limit: Annotated[int, limit_option("lines in the table; --json has them all")] = 100,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the latest result of every check of the data, or make the checks now.

    Exit status 1 when a check failed that is declared an error; warnings do not count.
    """
    from ops_pipeline.engine.checks import check_now, standing_results

    context = open_home(home, today=today)
    require_schema(context)
    require_dataset(context, dataset)
    if run:
        with progress("checking") as tell:
            check_now(context, [dataset] if dataset else None, tell=tell)
    with context.warehouse.reading() as connection:
        found = standing_results(context, connection, dataset)
    if as_json:
        output.print_json({"checks": found})
    else:
        _print(found, limit)
    if any(not it.passed and it.severity == "error" for it in found):
        raise typer.Exit(AN_ERROR_WAS_FOUND)


def _print(found: list[CheckResult], limit: int) -> None:
    if not found:
        output.say("no check was made yet; a run makes them at its end, and --run makes them now")
        return
    rows = [
        (
            output.status_cell("ok" if it.passed else {"error": "failed", "warn": "warning"}[it.severity]),
            it.dataset_key,
            it.check_name,
            it.findings,
            "all" if it.partitions is None else f"{it.partitions:,} touched",
            it.checked_at,
        )
        for it in found[:limit]
    ]
    columns = (
        output.Column("result", whole=True),
        *output.texts("dataset", "check"),
        *output.figures("findings", optional=False),
        *output.texts("partitions", "checked at"),
    )
    output.show(output.listing(columns, rows))
    if len(found) > limit:
        output.say(f"and {len(found) - limit:,} more; --limit shows them")
    for it in found[:limit]:
        if not it.passed:
            output.show(f"{it.dataset_key}, {it.check_name}:")
            output.show(*(f"  {one.where}: {one.what}" for one in it.first_findings[:SHOWN_FINDINGS]))
            if it.findings > SHOWN_FINDINGS:
                output.show(f"  and {it.findings - SHOWN_FINDINGS:,} more; --json has the first 20")
