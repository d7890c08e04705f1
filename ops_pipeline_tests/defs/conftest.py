"""Fixtures of the Dagster tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from ops_pipeline.defs.partitions import add_missing
from ops_pipeline_tests.defs.homes import Faulty, Lake, make_home


@pytest.fixture
def source() -> Faulty:
    return Faulty()


@pytest.fixture
def lake(tmp_path: Path, source: Faulty) -> Iterator[Lake]:
    context = make_home(tmp_path / "home", source)
    with dg.DagsterInstance.ephemeral() as instance:
        add_missing(instance, context.universe())
        yield Lake(context, instance)
