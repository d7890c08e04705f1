"""One database a module, emptied before each test and opened once: these tests are about rows, and the warehouse's own are about files."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ops_pipeline_tests.lake import Lake


@pytest.fixture(scope="module")
def shared_lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    lake = Lake(tmp_path_factory.mktemp("lake"))
    with lake.warehouse.connection():
        yield lake


@pytest.fixture
def lake(shared_lake: Lake) -> Lake:
    shared_lake.clear()
    return shared_lake
