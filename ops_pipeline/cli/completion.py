"""What Tab completes beside commands and options: datasets, tickers, runs.

Belongs here: finding names quickly. Does not belong here: checking them; a name that a wrong file hides is only not offered.

A press of Tab waits for a whole process, so names are read from the YAML files as they stand: models, and all that checks them, take
half a second to import, DuckDB another quarter. Only a run's id needs the database. Nothing here may raise or print: the shell would
show it in the middle of a line.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from ops_pipeline.cli.output import SHORT_RUN_ID
from ops_pipeline.errors import RecipeError, UniverseError, UserError
from ops_pipeline.recipes.keys import NO_DISCRIMINATOR, join_dataset_key

if TYPE_CHECKING:
    from collections.abc import Iterator

_RECIPES: Final = Path(__file__).parents[1] / "recipes"
NEWEST_RUNS: Final = 10
# A shell asks before it shows more, and nobody reads them.
MOST: Final = 1000
WAIT_SECONDS: Final = 1.0


def datasets(ctx: typer.Context, incomplete: str) -> list[str]:
    """Datasets of the universe; where none begins so, of all that a recipe declares."""
    wanted = _beginning(_wanted(ctx), incomplete)
    return wanted or all_datasets(ctx, incomplete)


def all_datasets(ctx: typer.Context, incomplete: str) -> list[str]:
    """Datasets that a recipe declares, built in or of the home."""
    return _beginning(dict.fromkeys(_declared(ctx)), incomplete)


def tickers(ctx: typer.Context, incomplete: str) -> list[str]:
    """Tickers of the universe; of one dataset, where the line names one."""
    named = ctx.params.get("dataset") or ()
    chosen = {named} if isinstance(named, str) else set(named)
    wanted = _wanted(ctx)
    found = [t for name, listed in wanted.items() if not chosen or name in chosen for t in listed]
    return _beginning(dict.fromkeys(found), incomplete)


def run_ids(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """`last` and the newest runs by the beginnings of their ids, each with its start and status."""
    from ops_pipeline.ops import migrations
    from ops_pipeline.ops.service import OpsService
    from ops_pipeline.settings import load_settings
    from ops_pipeline.warehouse import Warehouse

    found = [("last", "the newest run")]
    try:
        path = load_settings(home=ctx.params.get("home")).database_path
        warehouse = Warehouse(path, schema_version=migrations.latest_version(), wait_seconds=WAIT_SECONDS)
        for run in OpsService(warehouse).list_runs(limit=NEWEST_RUNS):
            found.append(
                (run.run_id[:SHORT_RUN_ID], f"{run.started:%Y-%m-%d %H:%M}, {run.status}" if run.started else run.status)
            )
    except UserError:
        pass  # no database yet, or one that is in use: what is typed is no worse for it
    return [(name, about) for name, about in found if name.startswith(incomplete)]


def _beginning(names: dict[str, Any], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)][:MOST]


def _home(ctx: typer.Context) -> Path:
    return Path(ctx.params.get("home") or os.environ.get("OPS_PIPELINE_HOME") or "data")


def _declared(ctx: typer.Context) -> Iterator[str]:
    own = _home(ctx) / "recipes"
    files = [*sorted((_RECIPES / "catalogue").glob("*.yaml")), *sorted(own.glob("*.yaml")), *sorted(own.glob("*.yml"))]
    for path in files:
        data = _read(path, RecipeError)
        source = data.get("source")
        name = source.get("name") if isinstance(source, dict) else source
        recipes = data.get("recipes")
        for recipe in recipes if isinstance(recipes, list) else []:
            if isinstance(recipe, dict) and name and recipe.get("dataset"):
                yield join_dataset_key(str(name), str(recipe["dataset"]), str(recipe.get("discriminator") or NO_DISCRIMINATOR))


def _wanted(ctx: typer.Context) -> dict[str, list[str]]:
    """Dataset -> its tickers as the universe file names them, those of its groups included."""
    path = Path(os.environ.get("OPS_PIPELINE_UNIVERSE_FILE") or _home(ctx) / "universe.yaml")
    data = _read(path if path.exists() else _RECIPES / "universe.yaml", UniverseError)
    groups = data.get("groups")
    renames = data.get("renames")
    now = {r.get("from"): r.get("to") for r in (renames if isinstance(renames, list) else []) if isinstance(r, dict)}
    found = {}
    listed = data.get("datasets")
    for dataset, entries in (listed if isinstance(listed, dict) else {}).items():
        names = list(_members(entries, groups if isinstance(groups, dict) else {}, path.parent))
        found[dataset] = [str(now.get(name, name)) for name in names]
    return found


def _members(entries: object, groups: dict[str, Any], folder: Path) -> Iterator[str]:
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, str):
            yield entry
        elif isinstance(entry, dict) and "group" in entry:
            group = groups.get(entry["group"])
            yield from _of_file(folder / Path(group).expanduser()) if isinstance(group, str) else _members(group, {}, folder)
        elif isinstance(entry, dict) and "ticker" in entry:
            yield str(entry["ticker"])


def _of_file(path: Path) -> Iterator[str]:
    from ops_pipeline.recipes.membership import read_members

    try:
        yield from (member.ticker for member in read_members(path))
    except UniverseError:
        return


def _read(path: Path, error: type[UserError]) -> dict[str, Any]:
    from ops_pipeline.recipes.yaml import load_yaml

    try:
        data = load_yaml(path, error)
    except UserError:
        return {}
    return data if isinstance(data, dict) else {}
