"""The DuckDB resource that wraps the ledger's repository.

Belongs here: dagster-duckdb's resource with the warehouse's door in place of its own connection. Does not belong here: locks and
transactions (`warehouse`), SQL (`ops`).

dagster-duckdb's own `get_connection` leaves the handle open after an exception and retries a busy database with a backoff that starved one
writer in eight for 102 s; whoever uses this resource gets the door instead, without knowing.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dagster_duckdb import DuckDBResource
from pydantic import Field

from ops_pipeline.ops import migrations
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.ops.service import OpsService
from ops_pipeline.warehouse import Warehouse

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb


class OpsDuckDBResource(DuckDBResource):
    """The pipeline's database: connections through the warehouse's door, the ledger's repository and services."""

    wait_seconds: float = Field(
        default=300,
        description="How long a database held by a foreign process is waited for, in seconds.",
    )

    @property
    def warehouse(self) -> Warehouse:
        """The door to the database; objects for the same file share one lock in a process."""
        return Warehouse(
            Path(self.database),
            schema_version=migrations.latest_version(),
            wait_seconds=self.wait_seconds,
        )

    @property
    def service(self) -> OpsService:
        """The ledger's services; each call opens and closes the database."""
        return OpsService(self.warehouse)

    @contextmanager
    def get_connection(self, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection under the warehouse's lock, closed in every path.

        Args:
            read_only: many may read at once; a writer is alone.
        """
        with self.warehouse.connection(read_only=read_only) as connection:
            yield connection

    @contextmanager
    def get_repository(self, read_only: bool = False) -> Iterator[OpsRepo]:
        """The ledger's repository on such a connection; a writing one is inside a transaction that commits at the end."""
        if read_only:
            with self.warehouse.reading() as connection:
                yield OpsRepo(connection)
        else:
            with self.warehouse.transaction() as connection:
                yield OpsRepo(connection)
