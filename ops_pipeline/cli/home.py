"""Opening a home for a command.

Belongs here: from `--home` and `--today` to the engine's context, and the checks that every reading command makes. Does not belong here:
what is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops_pipeline.cli import output
from ops_pipeline.light import lift

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from rich.console import Console

    from ops_pipeline.engine.context import Context


def open_home(home: Path | None, *, today: date | None = None, screen: Console | None = None) -> Context:
    """The parts of the home; nothing is opened or written yet.

    Args:
        home: of the command line; None: the settings decide.
        today: of the command line; None: the settings decide.
        screen: gets the log and the notices of a long wait; default: standard error.

    Raises:
        UserError: when a setting, a recipe file or the migrations are wrong.
    """
    from ops_pipeline.recipes.loading import load_catalogue
    from ops_pipeline.settings import load_settings, source_variables

    settings = load_settings(home=home, today=today)
    err = screen or output.console(stderr=True)
    output.start_logging(settings.log_level, err)
    catalogue = load_catalogue(settings.recipes_path, variables=source_variables())
    if any(source.python for source in catalogue.sources.values()):
        lift()  # a user's code may want pandas; the import below loads Arrow

    from ops_pipeline.engine.context import build_context

    return build_context(settings, catalogue=catalogue, notify=lambda text: err.print(text, soft_wrap=True))


def require_schema(context: Context) -> None:
    """Refuses to read a ledger that is not there, or not as this code knows it.

    Raises:
        DatabaseMissingError: when there is no database yet.
        MigrationError: when migrations are pending; the text names the command.
    """
    from ops_pipeline.ops.migrations import ensure_current

    with context.warehouse.connection(read_only=True, check_schema=False):
        ensure_current(context.warehouse, auto=False, notify=output.say)


def open_ledger(home: Path | None) -> Context:
    """The parts of a home whose ledger can be read. Raises what `open_home` and `require_schema` raise."""
    context = open_home(home)
    require_schema(context)
    return context


def require_dataset(context: Context, dataset: str | None) -> None:
    """Refuses a dataset that neither a recipe nor the ledger knows: a slip of the keyboard would look like an empty answer.

    Raises:
        RecipeError: naming the known datasets.
    """
    from ops_pipeline.ops.queries import RunFilter

    if dataset is None or dataset in context.catalogue.recipes:
        return
    # A dataset key has two or three parts; what has not is no key of the ledger either.
    if "." not in dataset or not context.service.coverage(RunFilter(dataset=dataset), limit=1):
        context.catalogue.recipe(dataset)
