"""Publishing what a run left in silver and gold.

Belongs here: from a home's settings and recipes to a publication. Does not belong here: how it is done (`publish`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops_pipeline.errors import DatabaseMissingError, UserError
from ops_pipeline.progress import silent
from ops_pipeline.publish.publisher import Order, Report, publish
from ops_pipeline.publish.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Callable

    from ops_pipeline.engine.context import Context
    from ops_pipeline.progress import Tell


def publish_now(context: Context, *, whole: bool = False, tell: Tell = silent) -> Report:
    """Publishes the present state of the tables that the settings choose; see `publish`.

    Raises:
        DatabaseError: what opening the database raises.
        PublishError: when the folder cannot be written.
    """
    settings = context.settings
    days = {
        name: recipe.date_column
        for recipe in context.catalogue.complete().recipes.values()
        for name in (recipe.silver_table, recipe.history_table)
    }
    return publish(
        Order(
            context.warehouse,
            settings.database_path.resolve(),
            settings.published_path,
            Selection(settings.publish),
            days,
            settings.publish_keep_minutes * 60,
        ),
        whole=whole,
        tell=tell,
    )


def publish_after_run(context: Context, notify: Callable[[str], None]) -> Report | None:
    """The same at the end of a run, which did its work whatever becomes of this: `notify` gets the sentence when it fails."""
    if Selection(context.settings.publish).nothing:
        return None
    try:
        return publish_now(context)
    except DatabaseMissingError:
        return None  # nothing was due, and nothing ever was
    except UserError as e:
        notify(f"not published: {e} `ops-pipeline publish` tries again.")
        return None
