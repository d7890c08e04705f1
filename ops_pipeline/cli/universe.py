"""`ops-pipeline universe`: which tickers are wanted of which dataset, and which of them belonged to it on a day.

Belongs here: the commands that show and edit the universe file. Does not belong here: its rules (`recipes.universe`, `recipes.changes`).
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops_pipeline.cli import completion, output
from ops_pipeline.cli.home import open_home
from ops_pipeline.cli.options import AnyDatasetsOption, DatasetsOption, HomeOption, JsonOption, parse_day
from ops_pipeline.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ops_pipeline.recipes.universe import Seat, Universe

# A table cell with more tickers is not read.
MOST_TICKERS = 20

app = typer.Typer(help="Which tickers are wanted of which dataset.", epilog="Example: ops-pipeline universe --on 2020-01-31")

TickersArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[TICKER]...",
        help="Tickers as the vendor writes them; put -- before one that begins with -.",
        show_default=False,
        autocompletion=completion.tickers,
    ),
]
DomainOption = Annotated[str, typer.Option("--domain", metavar="NAME", help="The kind of market of the symbols.")]


def _day_option(name: str, text: str) -> Any:
    return typer.Option(name, metavar="DATE", parser=parse_day, help=text, show_default=False)


OnOption = Annotated[date | None, _day_option("--on", "Who belonged to each dataset on this day.")]


@app.callback(invoke_without_command=True)
def universe(ctx: typer.Context, on: OnOption = None, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the wanted datasets and their tickers, or change them with a subcommand."""
    if ctx.invoked_subcommand is None:
        list_(on, home, as_json)
        return
    if on is not None and ctx.invoked_subcommand != "list":
        raise UserError(f"--on is for the listing; write it behind `{ctx.invoked_subcommand}`, where that takes it.")
    # The options mean the same before and after the subcommand.
    given = {"home": home, "as_json": as_json}
    ctx.default_map = dict.fromkeys(("add", "remove", "rename", "delist", "groups", "import"), given)
    ctx.default_map["list"] = {**given, "on": on}


@app.command("list", epilog="Example: ops-pipeline universe list --on 2020-01-31")
def list_(on: OnOption = None, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the wanted datasets and their tickers, or who belonged to them on a day."""
    context = open_home(home)
    universe = context.universe()
    per_ticker = {dataset: context.catalogue.recipes[dataset].per_ticker for dataset in universe.wanted}
    if on is not None:
        _list_on(universe, universe.on(on), on, as_json=as_json)
        return
    if as_json:
        output.print_json(
            {
                "path": str(universe.path),
                "datasets": [
                    {
                        "dataset": dataset,
                        "per_ticker": per_ticker[dataset],
                        "tickers": list(tickers) if per_ticker[dataset] else [],
                        "ended": _ended(universe, dataset),
                    }
                    for dataset, tickers in universe.wanted.items()
                ],
            }
        )
        return
    columns = (*output.texts("dataset"), *output.figures("tickers", optional=False), *output.figures("ended"), output.Column(""))
    rows = [
        (dataset, len(tickers), len(_ended(universe, dataset)), output.first(tickers, MOST_TICKERS))
        if per_ticker[dataset]
        else (dataset, None, None, "asked for as a whole")
        for dataset, tickers in universe.wanted.items()
    ]
    output.show(output.listing(columns, rows))
    output.say(f"from {universe.path}")


def _ended(universe: Universe, dataset: str) -> dict[str, date]:
    """The tickers of a dataset of which nothing is expected any more, with the last day."""
    return {
        key.ticker: expected.until
        for key, expected in universe.expected.items()
        if key.dataset == dataset and expected.until is not None and expected.until < universe.today
    }


def _list_on(universe: Universe, members: Mapping[str, Sequence[Seat]], on: date, *, as_json: bool) -> None:
    if as_json:
        listed = [
            {"dataset": dataset, "members": [{"ticker": s.ticker, "symbol": s.symbol} for s in seats]}
            for dataset, seats in members.items()
        ]
        output.print_json({"path": str(universe.path), "on": on, "datasets": listed})
        return
    rows = [(dataset, len(seats), output.first([_named(s) for s in seats], MOST_TICKERS)) for dataset, seats in members.items()]
    output.show(output.listing((*output.texts("dataset"), *output.figures("members", optional=False), output.Column("")), rows))
    output.say(f"members on {on}, from {universe.path}")


def _named(seat: Seat) -> str:
    return seat.ticker if seat.ticker == seat.symbol else f"{seat.symbol} (now {seat.ticker})"


@app.command(epilog="Example: ops-pipeline universe add BRK.B AMZN --dataset sample.eod-prices")
def add(
    tickers: TickersArgument = None,
    dataset: AnyDatasetsOption = None,
    since: Annotated[
        date | None, _day_option("--from", "First day of the membership; it changes nothing about what is asked.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add tickers to the given datasets, or to every wanted dataset that has tickers; a dataset without tickers by its name."""
    from ops_pipeline.recipes.changes import add_tickers

    if not tickers and not dataset:
        raise UserError("nothing to add: name a ticker, or a dataset with --dataset.")
    context = open_home(home)
    path = context.settings.universe_path
    before = set(context.universe().wanted)
    added = add_tickers(path, context.catalogue, tickers or [], dataset or [], since)
    # A dataset that came in without tickers is news as well.
    news = {**{d: [] for d in dataset or [] if d not in before}, **added}
    _report(path, "added", news, as_json=as_json)


@app.command(epilog="Example: ops-pipeline universe remove FB")
def remove(
    tickers: TickersArgument = None,
    dataset: DatasetsOption = None,
    last_day: Annotated[date | None, _day_option("--on", "Keep the membership, with this last day.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove tickers from the given datasets, or from all; what is stored of them stays."""
    from ops_pipeline.recipes.changes import remove_tickers

    context = open_home(home)
    path = context.settings.universe_path
    if not tickers:
        raise UserError(f"nothing to remove: name a ticker; to want a whole dataset no more, delete its entry in {path}.")
    _report(path, "removed", remove_tickers(path, context.catalogue, tickers, dataset or [], last_day), as_json=as_json)


@app.command(epilog="Example: ops-pipeline universe rename FB META --on 2022-06-09")
def rename(
    old: Annotated[str, typer.Argument(metavar="OLD", help="The symbol until then.", show_default=False)],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The symbol since then.", show_default=False)],
    on: Annotated[date, _day_option("--on", "First day of the new symbol.")],
    domain: DomainOption = "equities",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Note that an instrument trades under another symbol since a day; it stays one instrument, and lists that name OLD mean NEW."""
    from ops_pipeline.recipes.changes import rename_ticker

    context = open_home(home)
    path = context.settings.universe_path
    rename_ticker(path, context.catalogue, old, new, on, domain)
    _noted(path, {"from": old, "to": new, "on": on, "domain": domain}, f"{old} is {new} since {on}", as_json=as_json)


@app.command(epilog="Example: ops-pipeline universe delist TWTR --on 2022-10-27")
def delist(
    ticker: Annotated[str, typer.Argument(metavar="TICKER", help="The symbol.", show_default=False)],
    on: Annotated[date, _day_option("--on", "The last day on which it traded.")],
    domain: DomainOption = "equities",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Note the last day on which a symbol traded: its history stays and is completed, and nothing is asked behind that day."""
    from ops_pipeline.recipes.changes import delist_ticker

    context = open_home(home)
    path = context.settings.universe_path
    delist_ticker(path, context.catalogue, ticker, on, domain)
    _noted(path, {"ticker": ticker, "last_day": on, "domain": domain}, f"{ticker} traded until {on}", as_json=as_json)


@app.command(epilog="Example: ops-pipeline universe groups --json")
def groups(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the groups: their files, how many belong to them and ever did, and the datasets that take them."""
    found = open_home(home).universe()
    rows = [
        {
            "group": name,
            "path": group.path and str(group.path),
            "members": len({m.ticker for m in group.members if m.on(found.today)}),
            "ever": len({m.ticker for m in group.members}),
            "datasets": list(group.datasets),
        }
        for name, group in found.groups.items()
    ]
    if as_json:
        output.print_json({"path": str(found.path), "groups": rows})
        return
    if not rows:
        output.say(f"no group yet in {found.path}; `ops-pipeline universe import FILE --group NAME` makes one")
        return
    columns = (*output.texts("group"), *output.figures("members", "ever", optional=False), *output.texts("datasets", "file"))
    listed = [(r["group"], r["members"], r["ever"], output.first(r["datasets"]), r["path"]) for r in rows]  # type: ignore[arg-type]
    output.show(output.listing(columns, listed))
    output.say(f"from {found.path}")


@app.command("import", epilog="Example: ops-pipeline universe import sp500.csv --group sp500 --dataset sample.eod-prices")
def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A ticker a line, or CSV with a column `ticker`.", show_default=False)
    ],
    group: Annotated[str, typer.Option("--group", metavar="NAME", help="The group that it becomes.", show_default=False)],
    dataset: AnyDatasetsOption = None,
    on: Annotated[
        date | None, _day_option("--on", "Who is new belongs since this day, and who is missing left before it.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a group of a file of tickers, or bring it to that file's state; a CSV may have columns valid_from and valid_to."""
    from ops_pipeline.recipes.changes import import_group

    context = open_home(home)
    path = context.settings.universe_path
    done = import_group(path, context.catalogue, file, group, dataset or [], on)
    if as_json:
        output.print_json(done)
        return
    output.show(f"{group}: {output.number(done.members, 'member')}, {len(done.came):,} came, {len(done.left):,} left")
    for name in done.datasets:
        output.show(f"added {name}: group {group}")
    output.say(f"{done.path} is written")


def _noted(path: Path, noted: Mapping[str, object], sentence: str, *, as_json: bool) -> None:
    if as_json:
        output.print_json({"path": str(path), **noted})
        return
    output.show(sentence)
    output.say(f"{path} is written")


def _report(path: Path, what: str, changed: Mapping[str, Sequence[str]], *, as_json: bool) -> None:
    if as_json:
        output.print_json({"path": str(path), what: changed})
        return
    for dataset, tickers in changed.items():
        output.show(f"{what} {dataset}: {', '.join(tickers) or 'the dataset'}")
    output.say(f"{path} is written" if changed else f"nothing new: {path} lists them already")
