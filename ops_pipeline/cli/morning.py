"""`ops-pipeline morning`: is everything as it should be, and if not, what to type.

Belongs here: how a home's state is shown, and the exit status. Does not belong here: finding it (`engine.morning`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ops_pipeline.cli import output
from ops_pipeline.cli.bar import progress
from ops_pipeline.cli.documents import summary_document
from ops_pipeline.cli.home import open_home, require_schema
from ops_pipeline.cli.options import HomeOption, JsonOption, TodayOption, limit_option

if TYPE_CHECKING:
    from pathlib import Path

    from ops_pipeline.engine.morning import Morning

EXAMPLE = "Example: ops-pipeline morning --json"
SOMETHING_IS_WRONG = 1


def morning(
    today: TodayOption = None,
    limit: Annotated[int, limit_option("lines in the table; --json has them all")] = 40,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell whether it ran, what failed, is stale, doubtful, deferred or not in a plan, what it cost, and the command that repairs each.

    Measured by the last scheduled time: what was settled then should be stored. Exit status 1 when something failed or is stale.
    """
    from ops_pipeline.engine.morning import look

    context = open_home(home, today=today)
    require_schema(context)
    with progress("looking"):
        found = look(context)
    if as_json:
        output.print_json(
            {
                "moment": found.moment,
                "since": found.since,
                "well": found.is_well,
                "wanted": found.wanted,
                "counts": found.counts,
                "problems": [
                    {
                        "kind": problem.kind,
                        "dataset": problem.dataset,
                        "tickers": problem.tickers,
                        "reason": problem.reason,
                        "repair": output.command(problem.repair, home),
                    }
                    for problem in found.problems
                ],
                "newest_run": summary_document(found.newest) if found.newest else None,
                "runs": [summary_document(run) for run in found.runs],
                "requests": found.requests,
                "seconds": round(found.seconds, 3),
            }
        )
    else:
        _print(found, limit, home)
    if not found.is_well:
        raise typer.Exit(SOMETHING_IS_WRONG)


def _print(found: Morning, limit: int, home: Path | None) -> None:
    for line in _ran(found):
        output.show(line)
    if not found.problems:
        output.show(f"all {output.number(found.wanted, 'partition')} are up to date")
        return
    output.show(f"{output.number(found.wanted, 'partition')} wanted: {output.counts(found.counts)}\n")
    rows = [
        (
            output.status_cell(problem.kind),
            problem.dataset,
            output.first(problem.tickers, 3) if problem.tickers else None,
            problem.reason,
            output.command(problem.repair, home),
        )
        for problem in found.problems[:limit]
    ]
    columns = (output.Column("what", whole=True), *output.texts("dataset", "tickers", "why", "repair"))
    output.show(output.listing(columns, rows))
    if len(found.problems) > limit:
        output.say(f"and {len(found.problems) - limit:,} more; --limit shows them")


def _ran(found: Morning) -> list[str]:
    """Whether it ran, and what it cost."""
    expected = f"the scheduled time {output.moment(found.since)}"
    if found.newest is None or found.newest.started is None:
        return ["nothing ran yet"]
    if not found.runs:
        return [f"nothing ran since {expected}; the newest run began {output.moment(found.newest.started)}"]
    moved = sum(run.bronze_rows for run in found.runs), sum(run.bronze_bytes for run in found.runs)
    return [
        f"{output.number(len(found.runs), 'run')} since {expected}, the newest {output.moment(found.newest.started)}",
        f"cost: {output.number(found.requests, 'request')}, {found.seconds:,.1f} s, {moved[0]:,} rows, {output.size(moved[1])}",
    ]
