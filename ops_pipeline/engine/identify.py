"""Instruments as the universe declares them: before a run writes any fact.

Belongs here: noticing that a rename, a delisting or a new listing was declared, or taken back, and having it written. Does not belong here:
what it changes (`gold.identity`).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ops_pipeline.gold.identity import apply, differences

if TYPE_CHECKING:
    from ops_pipeline.engine.context import Context
    from ops_pipeline.recipes.universe import Universe

log = logging.getLogger("ops_pipeline.engine")


def declared_anew(context: Context, universe: Universe) -> bool:
    """Whether the universe declares instruments otherwise than they stand; usually nothing has changed, and one short read finds that."""
    with context.warehouse.reading() as connection:
        return any(differences(connection, universe.identities))


def identify(context: Context, universe: Universe) -> list[str]:
    """Brings the instruments to what the universe declares.

    Returns:
        the symbols whose instruments changed.
    """
    identities = universe.identities
    with context.warehouse.connection(), context.warehouse.transaction() as connection:
        changed = apply(connection, identities, context.catalogue.recipes.values())
    log.info("instruments as the universe declares them: %s", ", ".join(changed))
    return changed
