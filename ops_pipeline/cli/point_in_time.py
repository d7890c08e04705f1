"""What we knew when: `ops-pipeline asof` and `ops-pipeline explain`.

Belongs here: reading a time, and how the answers are shown. Does not belong here: the answers (`gold.as_of`, `gold.explain`).
"""

from __future__ import annotations

import csv
import sys
from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops_pipeline.cli import completion, output
from ops_pipeline.cli.bar import progress
from ops_pipeline.cli.documents import file_document
from ops_pipeline.cli.home import open_ledger, require_dataset
from ops_pipeline.cli.options import DatasetOption, HomeOption, JsonOption, TickerOption, limit_option, parse_day
from ops_pipeline.errors import UserError

if TYPE_CHECKING:
    from ops_pipeline.gold.explain import Trail
    from ops_pipeline.ops.ingestion import DatasetInjestion

ASOF_EXAMPLE = "Example: ops-pipeline asof sample.eod-prices 2026-11-30T18:00Z --ticker AAPL --date 2012-09-19"
EXPLAIN_EXAMPLE = "Example: ops-pipeline explain AAPL 2012-09-19"


class AsOfLayer(StrEnum):
    """The layers that can be read as of a time."""

    SILVER = "silver"
    GOLD = "gold"


class ClockName(StrEnum):
    """The two clocks."""

    KNOWN = "known"
    AVAILABLE = "available"


def parse_moment(text: str | datetime) -> datetime:
    """A time in ISO 8601; without a zone it is UTC, and a day alone is its end in UTC.

    Raises:
        typer.BadParameter: for anything else.
    """
    if isinstance(text, datetime):
        return text
    try:
        if len(text) == len("2026-01-31"):
            return datetime.combine(parse_day(text), time(), UTC) + timedelta(days=1) - timedelta(microseconds=1)
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is not a time such as 2026-01-31 or 2026-01-31T18:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def asof(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="The dataset, such as sample.eod-prices.",
            show_default=False,
            autocompletion=completion.datasets,
        ),
    ],
    moment: Annotated[
        datetime,
        typer.Argument(
            metavar="TIME",
            parser=parse_moment,
            help="Such as 2026-01-31T18:00Z; without a zone UTC; a day alone means its end.",
            show_default=False,
        ),
    ],
    ticker: TickerOption = None,
    day: Annotated[
        date | None, typer.Option("--date", metavar="DATE", parser=parse_day, help="Only this day.", show_default=False)
    ] = None,
    layer: Annotated[AsOfLayer, typer.Option("--layer", metavar="LAYER", help="silver or gold.")] = AsOfLayer.SILVER,
    clock: Annotated[
        ClockName | None,
        typer.Option(
            "--clock",
            metavar="CLOCK",
            help="known: since we stored it; available: since the vendor says it was public. Default: available where the recipe says.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int, limit_option("rows")] = 100,
    home: HomeOption = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print every row as CSV and nothing else, without a limit.")] = False,
) -> None:
    """Show a dataset's rows as they stood at a time, in silver or in gold."""
    from ops_pipeline.gold.as_of import gold_as_of, silver_as_of
    from ops_pipeline.gold.explain import word
    from ops_pipeline.recipes.bulk import gold_from
    from ops_pipeline.silver.as_of import Clock

    if as_json and as_csv:
        raise UserError("--json and --csv exclude each other; give one.")
    context = open_ledger(home)
    recipe = context.catalogue.recipe(dataset)
    leading, bulk = gold_from(recipe, context.catalogue.recipes)
    read = partial(gold_as_of, bulk=bulk) if layer is AsOfLayer.GOLD else silver_as_of
    with progress("reading"), context.warehouse.reading() as connection:
        found = read(
            connection, leading if layer is AsOfLayer.GOLD else recipe, moment, clock=Clock(clock.value) if clock else None,
            ticker=ticker, day=day, limit=None if as_csv else limit,
        )  # fmt: skip
    rows = found.table.to_pylist()
    if as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(found.table.column_names)
        writer.writerows([_csv_cell(value) for value in row.values()] for row in rows)
        output.say(found.basis)
        return
    if as_json:
        output.print_json(
            {
                "dataset": dataset, "layer": layer.value, "as_of": moment, "clock": found.clock.value, "basis": found.basis,
                "rows": rows, "truncated": found.truncated,
            }
        )  # fmt: skip
        return
    if rows:
        names = found.table.column_names
        output.show_wide(output.listing(output.texts(*names), ([word(row[name]) for name in names] for row in rows)))
    else:
        output.say("no row")
    output.say(f"{found.basis} (clock: {found.clock.value})")
    if found.truncated:
        output.say(f"only the first {limit:,} rows; --limit shows more")


def _csv_cell(value: Any) -> Any:
    return value.isoformat() if isinstance(value, (date, datetime)) else value


def explain(
    ticker: Annotated[
        str,
        typer.Argument(metavar="TICKER", help="A ticker, or a currency.", show_default=False, autocompletion=completion.tickers),
    ],
    day: Annotated[date, typer.Argument(metavar="DATE", parser=parse_day, help="The day of the number.", show_default=False)],
    dataset: DatasetOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Walk a number back from gold to its silver row, file, request and run, with the values that stood before."""
    from ops_pipeline.gold.explain import explain as trails_of

    context = open_ledger(home)
    require_dataset(context, dataset)
    recipes = [r for key, r in sorted(context.catalogue.complete().recipes.items()) if dataset in (None, key)]
    with progress("reading"), context.warehouse.reading() as connection:
        trails = trails_of(connection, recipes, ticker, day)
    if as_json:
        output.print_json({"ticker": ticker, "date": day, "trails": [_document(trail) for trail in trails]})
        return
    if not trails:
        raise UserError(
            f"no silver row of {ticker} on {day}{f' in {dataset}' if dataset else ''}; `ops-pipeline coverage --ticker {ticker}` tells"
            " what is stored."
        )
    for trail in trails:
        _print(trail)


def _document(trail: Trail) -> dict[str, Any]:
    return {
        "dataset": trail.recipe.dataset_key,
        "gold_table": trail.gold_table,
        "gold": trail.gold,
        "silver_table": trail.recipe.silver_table,
        "silver_key": trail.key,
        "silver": trail.silver,
        "versions": [
            {
                "operation": v.operation,
                "changed": {n: {"old": o, "new": w} for n, (o, w) in v.changed.items()},
                "row": v.change,
                "decision": v.decision and asdict(v.decision),
            }
            for v in trail.versions
        ],
        "previous": trail.before,
        "files": [file_document(file) for file in trail.files.values()],
    }


def _print(trail: Trail) -> None:
    from ops_pipeline.gold.explain import decided, figures, word

    key = ", ".join(str(value) for value in trail.key.values())
    lines: list[tuple[str, str]] = []
    if trail.gold is not None and trail.gold_table is not None:
        lines.append((trail.gold_table, figures(trail.gold)))
        if trail.before is not None and trail.recipe.date_column:
            where = _file(trail.files.get((trail.before["run_id"], trail.before["bronze_file_id"])))
            lines.append(("its returns also rest on", f"{trail.before[trail.recipe.date_column]}, from {where}"))
    elif trail.gold_table is not None:
        lines.append((trail.gold_table, "no row"))
    last = trail.versions[-1]
    gone = (
        f"hidden since {word(last.change['known_at'])}, {decided(last.decision)}"
        if last.decision
        else "deleted: see the versions"
    )
    lines.append((trail.recipe.silver_table, figures(trail.silver) if trail.silver else gone))
    newest = trail.silver or trail.versions[-1].change
    file = trail.files.get((newest["run_id"], newest["bronze_file_id"]))
    lines.append(("file", _file(file)))
    if file is not None and not file.is_decision:
        lines += [
            ("sha256 of its body", str(file.bronze_payload_hash)),
            ("request", f"{file.request_id}, days {output.span(file.requested_from_date, file.requested_to_date)}"),
            ("run", file.run_id),
        ]
    elif file is not None:
        lines.append(("run", file.run_id))
    output.show(f"{trail.recipe.dataset_key}: {key}")
    output.show(output.listing([*output.texts("what"), output.Column("value")], lines))
    rows = [
        (
            *(word(v.change["known_at"]), v.operation, v.sentence),
            *(v.change["bronze_file_id"], v.change["run_id"]),
        )
        for v in trail.versions
    ]
    output.show("values and since when each was known:")
    output.show(output.listing(output.texts("known at", "operation", "values", "file", "run"), rows))


def _file(file: DatasetInjestion | None) -> str:
    if file is None or file.bronze_injest_end_time is None:
        return "a file that the ledger does not know"
    if file.is_decision:
        return f"none: a decision of {file.bronze_injest_end_time.isoformat(sep=' ')}"
    return f"{file.bronze_filename}, {output.number(file.bronze_rows, 'record')}, stored {file.bronze_injest_end_time.isoformat(sep=' ')}"
