"""Reading for long without keeping writers waiting for long.

Belongs here: the database kept open over several queries, and let go now and then. Does not belong here: any query.
"""

from __future__ import annotations

from contextlib import ExitStack
from time import monotonic
from typing import TYPE_CHECKING

from ops_pipeline.engine.checks import HOLD_SECONDS

if TYPE_CHECKING:
    import duckdb

    from ops_pipeline.warehouse import Warehouse


class Sitting:
    """The database, open for several queries: opening it costs more than most of them, and whoever wants to write waits meanwhile."""

    def __init__(self, warehouse: Warehouse) -> None:
        """Opens nothing yet."""
        self._warehouse, self._open, self._began = warehouse, ExitStack(), 0.0
        self._connection: duckdb.DuckDBPyConnection | None = None

    def connection(self) -> duckdb.DuckDBPyConnection:
        """A connection to read with; opened anew where others have waited for long enough."""
        if self._connection is None or monotonic() - self._began > HOLD_SECONDS:
            self.leave()
            self._connection, self._began = self._open.enter_context(self._warehouse.reading()), monotonic()
        return self._connection

    def leave(self) -> None:
        """Lets the database go."""
        self._connection = None
        self._open.close()
