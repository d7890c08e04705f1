"""`ops-pipeline datasets try`: what a recipe would make of an answer that a person has at hand.

Belongs here: choosing the recipe, and showing rows, refusals and unknown fields. Does not belong here: reading the answer (`engine.trial`).
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ops_pipeline.cli import output
from ops_pipeline.cli.home import open_home
from ops_pipeline.cli.options import HomeOption, JsonOption, TodayOption, dataset_option, limit_option, parse_day, ticker_option
from ops_pipeline.errors import UserError

if TYPE_CHECKING:
    from ops_pipeline.engine.context import Context
    from ops_pipeline.engine.trial import Trial
    from ops_pipeline.recipes.loading import Catalogue
    from ops_pipeline.recipes.models import Recipe

TRY_EXAMPLE: Final = "Example: ops-pipeline datasets try answer.json --ticker AAPL --dataset sample.eod-prices"
REFUSED: Final = 1


def try_recipe(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="An answer as the vendor sent it, or a bronze file.", show_default=False)
    ],
    ticker: Annotated[str, ticker_option("Whose answer it is.")] = "",
    dataset: Annotated[str, dataset_option("The dataset, such as sample.eod-prices.", declared=True)] = "",
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", metavar="PATH", help="A recipe file that is not in the home yet.", show_default=False),
    ] = None,
    from_date: Annotated[
        date | None,
        typer.Option("--from", metavar="DATE", parser=parse_day, help="First day that was asked for.", show_default=False),
    ] = None,
    to_date: Annotated[
        date | None,
        typer.Option("--to", metavar="DATE", parser=parse_day, help="Last day that was asked for.", show_default=False),
    ] = None,
    today: TodayOption = None,
    limit: Annotated[int, limit_option("rows and refused records that are shown")] = 10,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a recipe would make of an answer; nothing is stored.

    Exit status 1: the answer would fail as a whole, or records of it would be refused.
    """
    if from_date and to_date and from_date > to_date:
        raise UserError(f"--from {from_date} is after --to {to_date}; exchange them.")
    context = open_home(home, today=today)
    chosen = _choose(context, dataset, recipe)
    whose = _ticker(chosen, ticker)
    try:
        body = file.read_bytes()
    except OSError as e:
        raise UserError(f"{file}: the answer cannot be read ({e.strerror or e}).") from e

    from ops_pipeline.engine.trial import try_answer

    trial = try_answer(chosen, body, whose, from_date, to_date, context.settings.today)
    if as_json:
        output.print_json(_document(trial, limit))
    else:
        _print(trial, limit)
    if trial.refusal or trial.staged.rejects.num_rows:
        raise typer.Exit(REFUSED)


def _choose(context: Context, dataset: str, path: Path | None) -> Recipe:
    catalogue, own = context.catalogue, list(context.catalogue.complete().recipes)
    if path is not None:
        catalogue = _with(context, path)
        own = [key for key, origin in catalogue.origins.items() if origin == path]
        if not own:
            raise UserError(f"{path}: declares no dataset; write at least one below `recipes`.")
    if dataset:
        return catalogue.recipe(dataset)
    if path is not None and len(own) == 1:
        return catalogue.recipes[own[0]]
    raise UserError(f"which recipe is to be tried? Name one with --dataset: {', '.join(own)}.")


def _with(context: Context, path: Path) -> Catalogue:
    from ops_pipeline.recipes.loading import load_catalogue

    return load_catalogue(context.settings.recipes_path, more=[path])


def _ticker(recipe: Recipe, ticker: str) -> str:
    from ops_pipeline.recipes.models import NO_TICKER
    from ops_pipeline.recipes.tickers import check_ticker

    if not recipe.per_ticker:
        if ticker not in ("", NO_TICKER):
            raise UserError(f"dataset {recipe.dataset_key} is asked for as a whole; leave --ticker out.")
        return NO_TICKER
    if not ticker:
        raise UserError(f"dataset {recipe.dataset_key} is asked for ticker by ticker: say with --ticker whose answer it is.")
    return check_ticker(ticker)


def _document(trial: Trial, limit: int) -> dict[str, Any]:
    staged = trial.staged
    (profile,) = staged.profiles
    return {
        "dataset": staged.recipe.dataset_key,
        "ticker": staged.files[0].ticker,
        "recipe_hash": staged.recipe.recipe_hash,
        "asked_from": trial.from_date,
        "asked_to": trial.to_date,
        "refusal": trial.refusal,
        "records": profile.rows,
        "good": profile.good,
        "refused": profile.failed,
        "out_of_window": profile.out_of_window,
        "superseded": profile.superseded,
        "from_date": profile.from_date,
        "to_date": profile.to_date,
        "columns": [{"name": name, "type": kind} for name, kind in staged.recipe.silver_columns],
        "rows": staged.good.drop_columns(["_file_no"]).slice(0, limit).to_pylist(),
        "refusals": [
            {"record": r["row_position"], "reason": r["reason"], "text": r["raw_text"]}
            for r in staged.rejects.slice(0, limit).to_pylist()
        ],
        "unknown_fields": [{"field": u.field, "example": u.example} for u in staged.unknown],
    }


def _print(trial: Trial, limit: int) -> None:
    from rich.text import Text

    found = _document(trial, limit)
    names = [column["name"] for column in found["columns"]]
    parts: list[Any] = [Text(f"{found['dataset']} {found['ticker']}", style="bold")]
    if found["rows"]:
        types = tuple(output.Column(f"{column['name']}\n{column['type']}") for column in found["columns"])
        parts.append(output.listing(types, [[row[name] for name in names] for row in found["rows"]]))
    if found["refusals"]:
        rows = [(r["record"], r["reason"], r["text"]) for r in found["refusals"]]
        parts.append(output.listing((*output.figures("record", optional=False), *output.texts("refused because", "text")), rows))
    if found["unknown_fields"]:
        fields = [(u["field"], u["example"]) for u in found["unknown_fields"]]
        parts.append(output.listing(output.texts("field without a column", "example"), fields))
    counted = output.counts(
        {
            "good": found["good"],
            "refused": found["refused"],
            "out of window": found["out_of_window"],
            "repeated keys": found["superseded"],
        }
    )
    dates, asked = output.span(found["from_date"], found["to_date"]), output.span(trial.from_date, trial.to_date)
    parts.append(output.cell(f"{output.number(found['records'], 'record')}: {counted}"))
    parts.append(output.cell(f"dates {dates}; asked for {asked}"))
    output.show(*parts)
    if found["refusal"]:
        output.say(f"the answer would fail as a whole: {found['refusal']}")
