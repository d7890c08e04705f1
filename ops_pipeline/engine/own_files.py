"""Which files of a user's folder are imported: those that are new or were written since they were imported last.

Belongs here: one request a file, and why. Does not belong here: finding and reading files (`sources.files`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ops_pipeline.sources import Request
from ops_pipeline.sources.files import FILE_PARAM, Listing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from ops_pipeline.engine.context import Context
    from ops_pipeline.recipes.models import Recipe
    from ops_pipeline.recipes.universe import PartitionKey

# File systems stamp a file with a clock that may lag behind: some by milliseconds, FAT by two seconds.
_LAG_SECONDS: Final = 2.0


class Imports:
    """What is to be imported, for all keys of one plan."""

    def __init__(self, context: Context, imported: Mapping[str, datetime], *, full: bool) -> None:
        """Starts with no folder looked at.

        Args:
            context: the home.
            imported: request id -> when its file was read for the last time.
            full: every file, changed or not.
        """
        self._sources, self._imported, self._full = context.catalogue.sources, imported, full
        self._listings: dict[str, Listing] = {}

    def requests(self, recipe: Recipe, key: PartitionKey) -> tuple[list[Request], str]:
        """A request for each file of a partition that is to be imported, and why, in a few words."""
        files = self._sources[recipe.source].files
        if files is None or recipe.files is None:
            return [], "the source is no folder of files"
        listing = self._listings.setdefault(recipe.source, Listing(files))
        names = listing.of(recipe.files, key.ticker)
        asked = [(name, _request(recipe, key, name)) for name in names]
        due = [request for name, request in asked if self._full or self._is_new(listing, name, request)]
        if not names:
            # Sent all the same, so that its failure names what is not there.
            return [_request(recipe, key, recipe.files.replace("{ticker}", key.ticker))], "no file is there"
        if due:
            return due, "imported in full" if self._full else f"{len(due)} of {len(names)} files new or changed"
        return [], f"all {len(names)} files are imported" if len(names) > 1 else "its file is imported"

    def _is_new(self, listing: Listing, name: str, request: Request) -> bool:
        last, changed = self._imported.get(request.request_id), listing.changed_at(name)
        # A file that was imported and then taken away has done its duty.
        return last is None or (changed is not None and changed > last.timestamp() - _LAG_SECONDS)


def _request(recipe: Recipe, key: PartitionKey, name: str) -> Request:
    return Request(
        domain=recipe.domain,
        source=recipe.source,
        dataset=recipe.dataset,
        discriminator=recipe.discriminator,
        ticker=key.ticker,
        from_date=None,
        to_date=None,
        params=((FILE_PARAM, name),),
    )
