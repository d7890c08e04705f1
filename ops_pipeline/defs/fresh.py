"""The home as its recipe files and its ledger are now.

Belongs here: noticing that a recipe file or the database came, went or changed while Dagster's server runs. Does not belong here: reading
recipe files (`recipes.loading`); the universe, which is read afresh each time (`engine.context`).

A run is a process of its own and reads everything anew. Schedules and sensors are evaluated in the server's process, which lives for
weeks: with the recipes of its start, a universe that names a new dataset would be an error to them, and nothing would be launched.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from ops_pipeline.engine.context import catalogue_of

if TYPE_CHECKING:
    from pathlib import Path

    from ops_pipeline.engine.context import Context


class FreshHome:
    """Gives the home, with its catalogue read again where a recipe file of it changed since the last call."""

    def __init__(self, home: Context) -> None:
        """Takes a home whose catalogue has just been read."""
        self._home = home
        self._seen = _stamps(home.settings.recipes_path)
        self._guard = threading.Lock()

    def __call__(self) -> Context:
        """The home.

        Raises:
            RecipeError: when a changed file is wrong; the next call reads it again.
            SettingsError: when a variable names a source that is not there any more.
        """
        with self._guard:
            now = _stamps(self._home.settings.recipes_path)
            if now != self._seen:
                self._home, self._seen = replace(self._home, catalogue=catalogue_of(self._home.settings)), now
            return self._home


class StoredDatasets:
    """The datasets that the ledger has rows of; the database is opened only where its files changed since the last look."""

    def __init__(self) -> None:
        """Has looked at nothing yet."""
        self._seen: object = None
        self._names: list[str] = []

    def of(self, home: Context) -> list[str]:
        """The dataset keys, in order; none where there is no database.

        Raises:
            UserError: when the database cannot be read.
        """
        path = home.settings.database_path
        now = [_stamp(path), _stamp(path.with_name(f"{path.name}.wal"))]
        if now != self._seen:
            self._names, self._seen = home.service.dataset_keys(), now
        return self._names


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _stamps(folder: Path) -> dict[str, tuple[int, int] | None]:
    """File name -> its time and size; nothing for a folder that is not there."""
    try:
        return {path.name: _stamp(path) for path in folder.iterdir()}
    except OSError:
        return {}
