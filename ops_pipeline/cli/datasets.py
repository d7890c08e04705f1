"""`ops-pipeline datasets`: what can be asked for, and what each dataset promises.

Belongs here: showing recipes. Does not belong here: reading them (`recipes.loading`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops_pipeline.cli import completion, output
from ops_pipeline.cli.home import open_home
from ops_pipeline.cli.options import HomeOption, JsonOption
from ops_pipeline.cli.trial import TRY_EXAMPLE, try_recipe
from ops_pipeline.errors import DatabaseMissingError

if TYPE_CHECKING:
    from ops_pipeline.engine.context import Context
    from ops_pipeline.ops.drift import Drift
    from ops_pipeline.recipes.answers import AnswerFormat
    from ops_pipeline.recipes.http import ApiKey, HttpRequest, HttpSource
    from ops_pipeline.recipes.models import Recipe

app = typer.Typer(
    help="What can be asked for; lists the datasets.", epilog="Example: ops-pipeline datasets show sample.eod-prices"
)


@app.callback(invoke_without_command=True)
def datasets(ctx: typer.Context, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the datasets that recipes declare, or show one with `show`."""
    if ctx.invoked_subcommand is None:
        list_(home, as_json)
        return
    # The options mean the same before and after the subcommand.
    ctx.default_map = {name: {"home": home, "as_json": as_json} for name in ("list", "show", "try")}


@app.command("list", epilog="Example: ops-pipeline datasets list --json")
def list_(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the datasets that recipes declare."""
    context = open_home(home)
    wanted = context.universe().wanted
    recipes = context.catalogue.complete().recipes
    if as_json:
        output.print_json({"datasets": [{**_summary(recipe), "wanted": key in wanted} for key, recipe in recipes.items()]})
        return
    rows = [
        (key, "yes" if key in wanted else "no", output.span(recipe.first_date, recipe.last_date), recipe.description)
        for key, recipe in recipes.items()
    ]
    columns = (output.Column("dataset", whole=True), *output.texts("wanted", "dates", "description"))
    output.show(output.listing(columns, rows))


@app.command(epilog="Example: ops-pipeline datasets show sample.fx-rates")
def show(
    key: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="The dataset, such as sample.eod-prices.",
            show_default=False,
            autocompletion=completion.all_datasets,
        ),
    ],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a dataset's contract: source, request, dates, columns, key and where it goes; and fields that the vendor sends beside them."""
    context = open_home(home)
    recipe = context.catalogue.recipe(key)
    drift = _drift(context, recipe)
    if as_json:
        source = context.catalogue.sources[recipe.source]
        api_key = source.http.key if source.http else None
        output.print_json(
            {
                **_summary(recipe),
                "recipe_hash": recipe.recipe_hash,
                "source_declaration": source.model_dump(mode="json"),
                "api_key": {"variable": api_key.env, "set": _is_set(api_key), "place": api_key.place} if api_key else None,
                "recipe": recipe.model_dump(mode="json", by_alias=True),
                "drift": [
                    {"field": d.field, "example": d.example, "known_at": d.known_at, "run_id": d.run_id, "file_id": d.file_id}
                    for d in drift
                ],
            }
        )
        return
    _print_contract(context, recipe)
    if drift:
        _print_drift(drift)


app.command("try", epilog=TRY_EXAMPLE)(try_recipe)


def _drift(context: Context, recipe: Recipe) -> list[Drift]:
    """Fields seen that the recipe, as it is now, does not know."""
    from ops_pipeline.ops.drift import list_drift

    try:
        with context.warehouse.reading() as connection:
            seen = list_drift(connection, recipe.dataset_key)
    except DatabaseMissingError:
        return []
    known = recipe.known_fields
    return [d for d in seen if d.field not in known]


def _print_drift(drift: list[Drift]) -> None:
    rows = [(d.field, d.example, f"{d.known_at:%Y-%m-%d %H:%M}", d.file_id) for d in drift]
    columns = output.texts("field", "example", "first seen (UTC)", "in file")
    output.show(
        "",
        "The vendor also sends fields that no column takes; they are kept in bronze. Add columns for them, or name them in answer.ignored:",
        output.listing(columns, rows),
    )


def _summary(recipe: Recipe) -> dict[str, Any]:
    return {
        "dataset": recipe.dataset_key,
        "source": recipe.source,
        "domain": recipe.domain,
        "description": recipe.description,
        "url": recipe.url,
        "per_ticker": recipe.per_ticker,
        "mode": recipe.mode.value,
        "first_date": recipe.first_date,
        "last_date": recipe.last_date,
        "silver_table": recipe.silver_table,
        "history_table": recipe.history_table,
        "gold_table": recipe.gold_table,
    }


def _is_set(key: ApiKey) -> bool:
    """Whether the key can be used; what it is stays in the environment."""
    try:
        return key.read() is not None
    except ValueError:
        return False


def _asking(http: HttpSource, request: HttpRequest) -> dict[str, str]:
    """How the vendor is asked, and where its key comes from."""
    params = [f"{name}={text}" for name, text in request.params.items()]
    key = http.key
    if key is None:
        told = "none"
    else:
        told = f"environment variable {key.env}, which is {'set' if _is_set(key) else 'not set'}; sent as {key.place}"
    return {
        "request": f"GET {http.base_url}{request.path}",
        "parameters": ", ".join(params) or "none",
        "API key": told,
        "patience": f"{http.attempts} attempts of {http.timeout_seconds:g} s, pauses of at most {http.longest_pause_seconds:g} s",
    }


def _answer(answer: AnswerFormat) -> str:
    """How the answer is laid out, in words."""
    parts: list[str] = [answer.format]
    if answer.records is not None:
        parts.append(f"records at {answer.records or 'its top'}")
    if answer.record != "object":
        parts.append({"array": "records are arrays", "parallel": "lists side by side"}[answer.record])
    if answer.unpivot:
        parts.append(f"unpivoted to {answer.unpivot.name_to} and {answer.unpivot.value_to}")
    if not answer.header:
        parts.append("without header")
    if answer.missing:
        parts.append(f"without a value: {', '.join(text or 'an empty text' for text in answer.missing)}")
    if answer.ignored:
        parts.append(f"not taken: {', '.join(answer.ignored)}")
    return "; ".join(parts)


def _print_contract(context: Context, recipe: Recipe) -> None:
    from rich.table import Table
    from rich.text import Text

    source = context.catalogue.sources[recipe.source]
    floor = f"; answers from {source.earliest}" if source.earliest else ""
    facts = {
        "source": f"{source.name}: {source.description} At most {source.concurrency} requests at once{floor}.",
        "page": recipe.url or source.url,
        "domain": recipe.domain,
        "asked": f"{'ticker by ticker' if recipe.per_ticker else 'as a whole'}, mode {recipe.mode.value}, {recipe.cadence}",
        **(_asking(source.http, recipe.request) if source.http and recipe.request else {}),
        **({"code": source.python.call} if source.python else {}),
        **({"files": str(source.files.path / recipe.files)} if source.files and recipe.files else {}),
        "dates": f"{output.span(recipe.first_date, recipe.last_date)} in column {recipe.date_column}"
        if recipe.date_column
        else "none",
        "sessions": f"{recipe.calendar}, {recipe.timezone}; final at {recipe.settles_at:%H:%M}"
        + (f", {recipe.settles_after_days} days later" if recipe.settles_after_days else ""),
        "lookback": f"{recipe.lookback_days} days",
        "answer": _answer(recipe.answer),
        "key": ", ".join(recipe.silver_key),
        "silver": f"{recipe.silver_table}, changes in {recipe.history_table}",
        "gold": recipe.gold_table or "none",
        "rejects": f"a file with more than {recipe.max_reject_share:.0%} rejected rows fails as a whole",
        "version": recipe.recipe_hash,
    }
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for name, text in facts.items():
        grid.add_row(name, output.cell(text))
    key, declared = set(recipe.silver_key), {column.name: column for column in recipe.columns}
    columns = output.texts("column", "type", "required", "from", "meaning")
    rows = []
    for name, kind in recipe.silver_columns:
        column = declared.get(name)
        rows.append(
            (
                Text(name, style="bold" if name in key else ""),
                kind,
                "yes" if column is None or column.required else "no",
                column.source_field if column else None,
                column.comment if column else "the partition's ticker",
            )
        )
    output.show(Text(recipe.dataset_key, style="bold"), output.cell(recipe.description), "", grid, output.listing(columns, rows))
