from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.ops.service import OpsService
from ops_pipeline.warehouse import Warehouse
from ops_pipeline_tests.template import migrated_database


@pytest.fixture(scope="session")
def migrated() -> Path:
    """A database file that has every migration and no row; copy it, do not write it."""
    return migrated_database()


@pytest.fixture
def warehouse(migrated: Path, tmp_path: Path) -> Warehouse:
    return Warehouse(Path(shutil.copy(migrated, tmp_path / "ops.duckdb")))


@pytest.fixture
def service(warehouse: Warehouse) -> OpsService:
    return OpsService(warehouse)


@pytest.fixture
def connection(warehouse: Warehouse) -> Iterator[duckdb.DuckDBPyConnection]:
    with warehouse.connection() as connection:
        yield connection


@pytest.fixture
def repo(connection: duckdb.DuckDBPyConnection) -> OpsRepo:
    return OpsRepo(connection)


@pytest.fixture(scope="module")
def shared(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpsRepo]:
    """A repository for generated examples, each of which rolls back."""
    path = tmp_path_factory.mktemp("shared") / "ops.duckdb"
    shutil.copy(migrated, path)
    with Warehouse(path).connection() as connection:
        yield OpsRepo(connection)
