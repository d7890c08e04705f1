"""What is expected and not there: `ops-pipeline gaps`.

Belongs here: filters and how the lines are shown. Does not belong here: finding gaps (`engine.gaps`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ops_pipeline.cli import output
from ops_pipeline.cli.home import open_home, require_dataset, require_schema
from ops_pipeline.cli.options import DatasetOption, HomeOption, JsonOption, TickerOption, TodayOption, limit_option

if TYPE_CHECKING:
    from ops_pipeline.engine.gaps import FoundGap

EXAMPLE = "Example: ops-pipeline gaps --dataset fmp.eod-prices --ticker AAPL"


def gaps(
    dataset: DatasetOption = None,
    ticker: TickerOption = None,
    today: TodayOption = None,
    limit: Annotated[int, limit_option("lines in the table; --json has them all")] = 100,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List sessions that are expected and not there: from, to, what becomes of them, and the command that asks for them now.

    Exit status 1 when a table holds a key twice, which must not be.
    """
    from ops_pipeline.clock import utc_now
    from ops_pipeline.engine.gaps import find_gaps

    context = open_home(home, today=today)
    require_schema(context)
    require_dataset(context, dataset)
    keys = [k for k in context.universe() if dataset in (None, k.dataset) and ticker in (None, k.ticker)]
    if not keys and not as_json:
        output.say("the universe lists no such partition, so nothing is expected of it")
        return
    told = find_gaps(context, keys, utc_now())
    if as_json:
        twice = [{"dataset": name, "key": where, "found": what} for name, where, what in told.duplicates]
        output.print_json({"gaps": [_document(it) for it in told.found], "duplicates": twice})
    else:
        _print(told.found, limit)
        for name, where, what in told.duplicates:
            output.say(
                f"{name}: the key {where} is there twice ({what}); build the table again: {output.command('replay', home)}"
            )
    if told.duplicates:
        raise typer.Exit(1)


def _print(found: list[FoundGap], limit: int) -> None:
    if not found:
        output.say("no gap: every expected session of the wanted partitions is there")
        return
    columns = (
        *output.texts("dataset", "ticker", "where"),
        *(output.Column("from", whole=True), output.Column("to", whole=True)),
        *output.figures("sessions", optional=False),
        *output.texts("state", "to ask now: ops-pipeline"),
    )
    rows = [
        (it.key.dataset, it.key.ticker, it.gap.kind, it.gap.from_date, it.gap.to_date, it.gap.sessions, _state(it), it.repair)
        for it in found[:limit]
    ]
    output.show(output.listing(columns, rows))
    if len(found) > limit:
        output.say(f"the first {limit:,} of {len(found):,}; --limit shows more")
    sessions, keys = sum(it.gap.sessions for it in found), {it.key for it in found}
    output.say(
        f"{output.number(len(found), 'gap')}, {output.number(sessions, 'session')}, {output.number(len(keys), 'key')};"
        " what is due, the next run asks for"
    )


def _state(it: FoundGap) -> str:
    """What becomes of the gap, in a few words."""
    from ops_pipeline.engine.gaps import GapState

    times = "once" if it.tries == 1 else f"{it.tries} times"
    if it.state is GapState.DUE:
        return f"due, asked {times} so far" if it.tries else "due, never answered"
    until = f"due again {it.again_at:%Y-%m-%d %H:%M} UTC" if it.again_at else "due with the next session"
    return f"the vendor has none, asked {times}; {until}" if it.state is GapState.VENDOR_HAS_NONE else f"{until}, asked {times}"


def _document(it: FoundGap) -> dict[str, object]:
    return {
        "dataset": it.key.dataset,
        "ticker": it.key.ticker,
        "where": it.gap.kind,
        "from": it.gap.from_date,
        "to": it.gap.to_date,
        "sessions": it.gap.sessions,
        "state": it.state,
        "tries": it.tries,
        "last_answer": it.last_at,
        "again_at": it.again_at,
        "repair": it.repair,
    }
