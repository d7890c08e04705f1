"""What a run would do: `ops-pipeline due`, and the listing of `ops-pipeline run --dry-run`.

Belongs here: showing plans. Does not belong here: making them (`engine.plan`).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

from ops_pipeline.cli import output
from ops_pipeline.cli.home import open_home, require_schema
from ops_pipeline.cli.options import HomeOption, JsonOption, TodayOption, limit_option
from ops_pipeline.errors import DatabaseMissingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops_pipeline.engine.context import Context
    from ops_pipeline.engine.plan import PlannedKey

DUE_EXAMPLE = "Example: ops-pipeline due --today 2013-03-01"


def due(
    today: TodayOption = None,
    limit: Annotated[int, limit_option("lines in the table; --json has them all")] = 50,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the wanted keys that have something to do, what would be asked, and why; nothing is sent."""
    from ops_pipeline.engine.plan import RunOptions, due_keys, plan

    context = open_home(home, today=today)
    accept_missing_ledger(context)
    options = RunOptions(today=context.settings.today)
    keys = due_keys(context, options)
    planned = plan(context, keys, options)
    if as_json:
        output.print_json({"today": context.settings.today, **_document(planned)})
        return
    if not planned:
        output.say("nothing is due")
        return
    _print(planned, limit)
    output.say(f"{output.number(len(planned), 'key')} due; to ask: {output.command('run', home)}")


def accept_missing_ledger(context: Context) -> None:
    """Checks the ledger where there is one: before the first run everything is still to be asked.

    Raises:
        MigrationError: when migrations are pending, so that what is stored cannot be read.
    """
    try:
        require_schema(context)
    except DatabaseMissingError:
        return


def report_dry_run(planned: Sequence[PlannedKey], *, as_json: bool) -> None:
    """Shows the requests that a run would send, and what it would do besides."""
    if as_json:
        output.print_json({"dry_run": True, **_document(planned)})
        return
    busy = [item for item in planned if item.verdict is None]
    if busy:
        _print(busy, None)
    requests = sum(len(item.requests) for item in planned)
    idle = Counter(item.verdict.value for item in planned if item.verdict is not None)
    rest = f"; {output.counts(idle)}" if idle else ""
    sent = f"{output.number(requests, 'request')} for {output.number(len(busy), 'key')}"
    output.say(f"{sent}{rest}; nothing was sent or written")


def _document(planned: Sequence[PlannedKey]) -> dict[str, Any]:
    return {
        "requests": [
            {
                "dataset": item.key.dataset,
                "ticker": item.key.ticker,
                "from": request.from_date,
                "to": request.to_date,
                "reason": item.reason,
            }
            for item in planned
            for request in item.requests
        ],
        "waiting": [
            {"dataset": item.key.dataset, "ticker": item.key.ticker, "files": len(item.pending)}
            for item in planned
            if item.pending
        ],
        "idle": [
            {"dataset": item.key.dataset, "ticker": item.key.ticker, "outcome": item.verdict.value, "reason": item.reason}
            for item in planned
            if item.verdict is not None
        ],
    }


def _print(planned: Sequence[PlannedKey], limit: int | None) -> None:
    lines = [line for item in planned for line in _lines(item)]
    output.show(output.listing(output.texts("dataset", "ticker", "from", "to", "why"), lines[:limit]))
    if limit is not None and len(lines) > limit:
        output.show(f"and {len(lines) - limit:,} more")


def _lines(item: PlannedKey) -> list[tuple[object, ...]]:
    lines: list[tuple[object, ...]] = [
        (item.key.dataset, item.key.ticker, request.from_date, request.to_date, item.reason) for request in item.requests
    ]
    if item.pending:
        lines.append(
            (item.key.dataset, item.key.ticker, None, None, f"{output.number(len(item.pending), 'stored file')} to promote")
        )
    return lines
