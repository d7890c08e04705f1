"""What a run would do: `ops-pipeline due`, and the listing of `ops-pipeline run --dry-run`.

Belongs here: showing plans. Does not belong here: making them (`engine.plan`).
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops_pipeline.cli import output
from ops_pipeline.cli.bar import progress
from ops_pipeline.cli.home import open_home, require_dataset, require_schema
from ops_pipeline.cli.options import DatasetOption, HomeOption, JsonOption, TickerOption, TodayOption, limit_option
from ops_pipeline.errors import DatabaseMissingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops_pipeline.engine.context import Context
    from ops_pipeline.engine.forecast import Forecast
    from ops_pipeline.engine.plan import PlannedKey
    from ops_pipeline.sources.limits import Left

# A run that takes less is not worth a word.
_WORTH_TELLING = 60.0

DUE_EXAMPLE = "Example: ops-pipeline due --today 2013-03-01 --verdict due"


class Verdict(StrEnum):
    """What `due` says of a key: `due`, or the outcome that a run would tell at once."""

    DUE = "due"
    UP_TO_DATE = "up_to_date"
    UNKNOWN = "unknown"
    SUSPECT = "suspect"
    VENDOR_HAS_NONE = "vendor_has_none"
    NOT_IN_PLAN = "not_in_plan"
    NOT_APPLICABLE = "not_applicable"


def due(
    today: TodayOption = None,
    dataset: DatasetOption = None,
    ticker: TickerOption = None,
    verdict: Annotated[Verdict | None, typer.Option("--verdict", help="Only keys with this verdict.")] = None,
    limit: Annotated[int, limit_option("lines in the table; --json has them all")] = 50,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List every wanted key: what would be asked of it and why, or why nothing is; nothing is sent."""
    from ops_pipeline.engine.plan import RunOptions, verdicts

    context = open_home(home, today=today)
    accept_missing_ledger(context)
    require_dataset(context, dataset)
    keys = [k for k in context.universe() if dataset in (None, k.dataset) and ticker in (None, k.ticker)]
    with progress("planning"):
        found = verdicts(context, keys, RunOptions(today=context.settings.today))
    counts = Counter(_verdict(item) for item in found)
    shown = [item for item in found if verdict in (None, _verdict(item))]
    if as_json:
        output.print_json({"today": context.settings.today, "verdicts": dict(counts), **_document(context, shown)})
        return
    if shown:
        # What is due comes first: it must not stand behind the end of the table.
        _print([*(p for p in shown if p.verdict is None), *(p for p in shown if p.verdict is not None)], limit, idle=True)
    _print_sources(context, shown)
    told = output.counts({name: counts[name] for name in Verdict if counts[name]}) if counts else "no key"
    output.say(f"{told}; to ask: {output.command('run', home)}" if counts[Verdict.DUE] else f"{told}; nothing is due")


def _verdict(item: PlannedKey) -> str:
    return Verdict.DUE.value if item.verdict is None else item.verdict.value


def accept_missing_ledger(context: Context) -> None:
    """Checks the ledger where there is one: before the first run everything is still to be asked.

    Raises:
        MigrationError: when migrations are pending, so that what is stored cannot be read.
    """
    try:
        require_schema(context)
    except DatabaseMissingError:
        return


def report_dry_run(context: Context, planned: Sequence[PlannedKey], *, as_json: bool) -> None:
    """Shows the requests that a run would send, what they cost the vendors' quotas, and what it would do besides."""
    if as_json:
        output.print_json({"dry_run": True, **_document(context, planned)})
        return
    busy = [item for item in planned if item.verdict is None]
    if busy:
        _print(busy, None)
        _print_sources(context, busy)
    requests = sum(len(item.requests) for item in planned)
    idle = Counter(item.verdict.value for item in planned if item.verdict is not None)
    rest = f"; {output.counts(idle)}" if idle else ""
    sent = f"{output.number(requests, 'request')} for {output.number(len(busy), 'key')}"
    output.say(f"{sent}{rest}; nothing was sent or written")


def _print_sources(context: Context, planned: Sequence[PlannedKey]) -> None:
    """A line for every source that would be asked: how much, what is left of its quotas, and how many nights that takes."""
    from rich.text import Text

    from ops_pipeline.engine.forecast import forecasts

    rows: list[tuple[object, ...]] = []
    for it in forecasts(context, planned):
        name = f"{it.source} ({it.plan})" if it.plan else it.source
        about: tuple[object, ...] = (name, it.requests)
        done: object = _nights(it)
        for quota in it.quotas:
            resets = "with each hour" if quota.period == "hour" else quota.resets_at
            rows.append((*about, _left(quota), resets, done))
            about, done = ("", ""), ""
        if not it.quotas:
            rows.append((*about, "no quota", "", done))
    if rows:
        columns = (
            *(
                output.Column("source", whole=True),
                *output.figures("requests", optional=False),
                output.Column("left", whole=True),
            ),
            *output.texts("anew", "done"),
        )
        output.show(output.listing(columns, ([Text() if value == "" else value for value in row] for row in rows)))


def _left(quota: Left) -> str:
    write = output.size if quota.what == "bytes" else "{:,}".format
    what = "" if quota.what == "bytes" else f" {quota.what}"
    return f"{write(quota.left)} of {write(quota.amount)}{what} {'an' if quota.period == 'hour' else 'a'} {quota.period}"


def _nights(it: Forecast) -> str:
    """When all is asked, in words."""
    if it.first_night == it.requests:
        return f"in this run, {_duration(it.seconds)} at least" if it.seconds >= _WORTH_TELLING else "in this run"
    paused = f"not before {output.moment(it.paused_until)}, when the vendor's pause ends; " if it.paused_until else ""
    all_of_it = "more than ten years" if it.nights is None else output.number(it.nights, "night")
    return f"{paused}{it.first_night:,} in this run, all in {all_of_it}"


def _document(context: Context, planned: Sequence[PlannedKey]) -> dict[str, Any]:
    from ops_pipeline.engine.forecast import forecasts

    return {
        "sources": [
            {
                "source": it.source,
                "plan": it.plan,
                "requests": it.requests,
                "quotas": [
                    {
                        "period": q.period,
                        "what": q.what,
                        "amount": q.amount,
                        "used": q.used,
                        "left": q.left,
                        "resets_at": q.resets_at,
                    }
                    for q in it.quotas
                ],
                "paused_until": it.paused_until,
                "in_this_run": it.first_night,
                "nights": it.nights,
                "seconds_at_least": round(it.seconds, 1),
            }
            for it in forecasts(context, planned)
        ],
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


def _print(planned: Sequence[PlannedKey], limit: int | None, *, idle: bool = False) -> None:
    lines = [line for item in planned for line in _lines(item, idle=idle)]
    verdict = (output.Column("verdict", whole=True),) if idle else ()
    output.show(output.listing((*verdict, *output.texts("dataset", "ticker", "from", "to", "why")), lines[:limit]))
    if limit is not None and len(lines) > limit:
        output.show(f"and {len(lines) - limit:,} more")


def _lines(item: PlannedKey, *, idle: bool) -> list[tuple[object, ...]]:
    verdict = (_verdict(item).replace("_", " "),) if idle else ()
    name = (*verdict, item.key.dataset, item.key.ticker)
    lines: list[tuple[object, ...]] = [(*name, request.from_date, request.to_date, item.reason) for request in item.requests]
    if item.pending:
        lines.append((*name, None, None, f"{output.number(len(item.pending), 'stored file')} to promote"))
    return lines or [(*name, None, None, item.reason)]


def _duration(seconds: float) -> str:
    from ops_pipeline.engine.progress import duration

    return duration(seconds)
