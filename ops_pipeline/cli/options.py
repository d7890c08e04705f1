"""Options that several commands share.

Belongs here: how an option is named, explained and read. Does not belong here: what a command does with it.
"""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ops_pipeline.cli import completion


class Layer(StrEnum):
    """The layers, also as stages of a file's life."""

    BRONZE = "bronze"
    SILVER = "silver"
    GOLD = "gold"


class FileStatus(StrEnum):
    """Where a file stands (`DatasetInjestion.status`)."""

    ASKED = "asked"
    FAILED = "failed"
    NOT_IN_PLAN = "not_in_plan"
    DEFERRED = "deferred"
    EMPTY = "empty"
    UNCHANGED = "unchanged"
    PENDING = "pending"
    PROMOTED = "promoted"


def parse_day(text: str | date) -> date:
    """A calendar day written as 2013-03-01, and in no other way: 01/03/2013 means two days.

    Raises:
        typer.BadParameter: for anything else.
    """
    if isinstance(text, date):
        return text
    try:
        day = datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 - a calendar day has no zone
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a day such as 2013-03-01") from None
    return day


HomeOption = Annotated[
    Path | None,
    typer.Option("--home", metavar="DIR", help="The data folder; default: OPS_PIPELINE_HOME, else data.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
TodayOption = Annotated[
    date | None,
    typer.Option(
        "--today",
        metavar="DATE",
        parser=parse_day,
        help="Act as at the end of this day; default: OPS_PIPELINE_TODAY, else now.",
        show_default=False,
    ),
]


def dataset_option(about: str = "Only this dataset; may be repeated.", *, declared: bool = False) -> typer.models.OptionInfo:
    """The option `--dataset`; Tab completes what the universe asks for, or all that is `declared`."""
    names = completion.all_datasets if declared else completion.datasets
    return typer.Option("--dataset", metavar="NAME", help=about, show_default=False, autocompletion=names)  # type: ignore[no-any-return]


def ticker_option(about: str) -> typer.models.OptionInfo:
    """The option `--ticker`."""
    return typer.Option("--ticker", metavar="TICKER", help=about, show_default=False, autocompletion=completion.tickers)  # type: ignore[no-any-return]


DatasetOption = Annotated[str | None, dataset_option("Only this dataset, such as sample.eod-prices.")]
DatasetsOption = Annotated[list[str] | None, dataset_option()]
AnyDatasetsOption = Annotated[list[str] | None, dataset_option(declared=True)]
TickerOption = Annotated[str | None, ticker_option("Only this ticker.")]
TickersOption = Annotated[list[str] | None, ticker_option("Only this ticker; may be repeated.")]
RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN_ID",
        help="The run, or the beginning of its id, or `last`.",
        show_default=False,
        autocompletion=completion.run_ids,
    ),
]
FailedOption = Annotated[bool, typer.Option("--failed", help="Only what failed.")]


def limit_option(what: str) -> typer.models.OptionInfo:
    """The option `--limit`, between 1 and 10,000 of something."""
    return typer.Option("--limit", metavar="N", min=1, max=10_000, help=f"At most so many {what}.")  # type: ignore[no-any-return]
