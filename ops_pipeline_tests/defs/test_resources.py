"""The DuckDB resource: the warehouse's door behind dagster-duckdb's interface."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from dagster_duckdb import DuckDBResource

from ops_pipeline.defs.resources import OpsDuckDBResource
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline_tests.defs.homes import make_home

OPEN = "import sys, duckdb; duckdb.connect(sys.argv[1]).close(); print('opened')"


@pytest.fixture
def resource(tmp_path: Path) -> OpsDuckDBResource:
    context = make_home(tmp_path / "home")
    context.migrate(lambda _: None)
    return OpsDuckDBResource(database=str(context.settings.database_path))


def opens_elsewhere(resource: OpsDuckDBResource) -> bool:
    done = subprocess.run([sys.executable, "-c", OPEN, resource.database], capture_output=True, text=True, check=False)
    return done.stdout.strip() == "opened"


def test_it_is_a_duckdb_resource_and_gives_the_repository(resource: OpsDuckDBResource) -> None:
    assert isinstance(resource, DuckDBResource)
    with resource.get_connection() as connection:
        assert connection.execute("SELECT count(*) FROM ops.file_ingestions").fetchone() == (0,)
    with resource.get_repository(read_only=True) as repo:
        assert isinstance(repo, OpsRepo)
        assert repo.asked() == []
    assert resource.service.list_runs() == []


def test_an_exception_leaves_nothing_open(resource: OpsDuckDBResource) -> None:
    with pytest.raises(ZeroDivisionError), resource.get_connection() as connection:
        connection.execute("CREATE TABLE silver.t AS SELECT 1 AS a")
        raise ZeroDivisionError
    assert opens_elsewhere(resource)


def test_a_repository_that_raises_rolls_back(resource: OpsDuckDBResource) -> None:
    with pytest.raises(ZeroDivisionError), resource.get_repository() as repo:
        repo.connection.execute("CREATE TABLE silver.t AS SELECT 1 AS a")
        raise ZeroDivisionError
    with resource.get_connection(read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 't'").fetchone() == (0,)


def test_while_it_is_open_no_other_process_gets_in(resource: OpsDuckDBResource) -> None:
    with resource.get_connection():
        assert not opens_elsewhere(resource)
    assert opens_elsewhere(resource)
