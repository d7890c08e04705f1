"""Fixtures of the Dagster tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from ops_pipeline_tests.defs.homes import Faulty, Lake, make_home


@pytest.fixture
def source() -> Faulty:
    return Faulty()


@pytest.fixture
def lake(tmp_path: Path, source: Faulty) -> Iterator[Lake]:
    context = make_home(tmp_path / "home", source)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("tickers", list(context.universe().tickers))
        yield Lake(context, instance)
