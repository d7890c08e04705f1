"""`ops-pipeline replay`: silver and gold from bronze alone.

Belongs here: the command's options and what it prints. Does not belong here: the work (`engine.replay`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ops_pipeline.cli import output
from ops_pipeline.cli.bar import progress
from ops_pipeline.cli.home import open_ledger
from ops_pipeline.cli.options import DatasetsOption, HomeOption, JsonOption, TickersOption
from ops_pipeline.errors import UserError

if TYPE_CHECKING:
    from ops_pipeline.engine.replay import Replayed

EXAMPLE = "Example: ops-pipeline replay --dataset sample.eod-prices --to-scratch"


def replay(
    dataset: DatasetsOption = None,
    ticker: TickersOption = None,
    to_scratch: Annotated[
        bool, typer.Option("--to-scratch", help="Only compare; the result is kept in a database beside, nothing is replaced.")
    ] = False,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="HASH",
            help="With --to-scratch: read the one --dataset by this earlier recipe of it (ops.recipes).",
        ),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build silver and gold anew from the stored answers, compare, and put the result in place; nothing is asked of any vendor."""
    from ops_pipeline.engine.replay import earlier_recipe
    from ops_pipeline.engine.replay import replay as replay_dataset
    from ops_pipeline.engine.run import new_run_id
    from ops_pipeline.ops.queries import RunFilter

    if recipe is not None and not (to_scratch and dataset and len(dataset) == 1):
        raise UserError(
            "--recipe is for looking: give --to-scratch and one --dataset with it. What stands follows from the recipe in force."
        )
    context = open_ledger(home)
    known = dict.fromkeys(row["dataset"] for row in context.service.coverage(RunFilter(), limit=10_000))
    recipes = [context.catalogue.recipe(key) for key in dataset or known if dataset or key in context.catalogue.recipes]
    if recipe is not None:
        recipes = [earlier_recipe(context, recipes[0].dataset_key, recipe)]
    tickers = list(dict.fromkeys(ticker)) if ticker else None
    if tickers:
        recipes = [recipe for recipe in recipes if recipe.per_ticker]
        if not recipes:
            raise UserError("--ticker is for datasets that have tickers; leave it out to replay the whole dataset.")
    with progress("replaying") as tell:
        done = [
            replay_dataset(context, recipe, new_run_id(), tickers=tickers, to_scratch=to_scratch, tell=tell) for recipe in recipes
        ]
    if as_json:
        output.print_json({"replayed": [document(one) for one in done]})
        return
    if not done:
        output.say("nothing is stored yet")
    for one in done:
        show(one)


def document(one: Replayed) -> dict[str, object]:
    """The result as JSON."""
    found = one.comparison
    return {
        "dataset": one.dataset,
        "run_id": one.run_id,
        "files": one.files,
        "identical": found.identical,
        "swapped": one.swapped,
        "standing_rows": found.standing_rows,
        "replayed_rows": found.replayed_rows,
        "history_same": found.history_same,
        "rejects_same": found.rejects_same,
        "columns": [{"column": c.column, "standing": c.standing, "replayed": c.replayed, "same": c.same} for c in found.columns],
        "differing_files": found.files,
        "gold": one.gold,
        "scratch": str(one.scratch) if one.scratch else None,
    }


def show(one: Replayed) -> None:
    """The result as tables."""
    found = one.comparison
    differing = [c.column for c in found.columns if not c.same]
    lines = [
        ("files read", f"{one.files:,}"),
        ("rows that stood", f"{found.standing_rows:,}"),
        ("rows replayed", f"{found.replayed_rows:,}"),
        ("columns that differ", ", ".join(differing) or "none"),
        ("history", "the same" if found.history_same else "differs"),
        ("refused records", "the same" if found.rejects_same else "differ"),
        ("silver", "replaced" if one.swapped else "as it was"),
    ]
    if one.gold is not None:
        lines.append(("gold rows", f"{one.gold.created:,} created, {one.gold.updated:,} updated, {one.gold.deleted:,} deleted"))
    if one.scratch:
        lines.append(("result", str(one.scratch)))
    output.show(output.listing(output.texts(one.dataset, "what"), lines))
    if found.files:
        columns = (*output.texts("file", "run"), *output.figures("added", "missing", "changed", optional=False))
        rows = [(f.bronze_file_id, f.run_id, f.added, f.missing, f.changed) for f in found.files]
        output.show(output.listing(columns, rows))
