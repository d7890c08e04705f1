"""`ops-pipeline universe`: which tickers are wanted of which dataset.

Belongs here: the commands that show and edit the universe file. Does not belong here: its rules (`recipes.universe`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ops_pipeline.cli import output
from ops_pipeline.cli.home import open_home
from ops_pipeline.cli.options import DatasetsOption, HomeOption, JsonOption
from ops_pipeline.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# A table cell with more tickers is not read.
MOST_TICKERS = 20

app = typer.Typer(
    help="Which tickers are wanted of which dataset.", no_args_is_help=True, epilog="Example: ops-pipeline universe list"
)

TickersArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[TICKER]...", help="Tickers as the vendor writes them; put -- before one that begins with -.", show_default=False
    ),
]


@app.command("list", epilog="Example: ops-pipeline universe list --json")
def list_(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the wanted datasets and their tickers."""
    context = open_home(home)
    universe = context.universe()
    per_ticker = {dataset: context.catalogue.recipes[dataset].per_ticker for dataset in universe.wanted}
    if as_json:
        output.print_json(
            {
                "path": str(universe.path),
                "datasets": [
                    {
                        "dataset": dataset,
                        "per_ticker": per_ticker[dataset],
                        "tickers": list(tickers) if per_ticker[dataset] else [],
                    }
                    for dataset, tickers in universe.wanted.items()
                ],
            }
        )
        return
    columns = (*output.texts("dataset"), *output.figures("tickers", optional=False), output.Column(""))
    rows = [
        (dataset, len(tickers), output.first(tickers, MOST_TICKERS))
        if per_ticker[dataset]
        else (dataset, None, "asked for as a whole")
        for dataset, tickers in universe.wanted.items()
    ]
    output.show(output.listing(columns, rows))
    output.say(f"from {universe.path}")


@app.command(epilog="Example: ops-pipeline universe add BRK.B AMZN --dataset sample.eod-prices")
def add(
    tickers: TickersArgument = None, dataset: DatasetsOption = None, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Add tickers to the given datasets, or to every wanted dataset that has tickers; a dataset without tickers by its name."""
    from ops_pipeline.recipes.universe import add_tickers

    if not tickers and not dataset:
        raise UserError("nothing to add: name a ticker, or a dataset with --dataset.")
    context = open_home(home)
    path = context.settings.universe_path
    before = set(context.universe().wanted)
    added = add_tickers(path, context.catalogue, tickers or [], dataset or [])
    # A dataset that came in without tickers is news as well.
    news = {**{d: [] for d in dataset or [] if d not in before}, **added}
    _report(path, "added", news, as_json=as_json)


@app.command(epilog="Example: ops-pipeline universe remove FB")
def remove(
    tickers: TickersArgument = None, dataset: DatasetsOption = None, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Remove tickers from the given datasets, or from all; what is stored of them stays."""
    from ops_pipeline.recipes.universe import remove_tickers

    context = open_home(home)
    path = context.settings.universe_path
    if not tickers:
        raise UserError(f"nothing to remove: name a ticker; to want a whole dataset no more, delete its entry in {path}.")
    _report(path, "removed", remove_tickers(path, context.catalogue, tickers, dataset or []), as_json=as_json)


def _report(path: Path, what: str, changed: Mapping[str, Sequence[str]], *, as_json: bool) -> None:
    if as_json:
        output.print_json({"path": str(path), what: changed})
        return
    for dataset, tickers in changed.items():
        output.show(f"{what} {dataset}: {', '.join(tickers) or 'the dataset'}")
    output.say(f"{path} is written" if changed else f"nothing new: {path} lists them already")
