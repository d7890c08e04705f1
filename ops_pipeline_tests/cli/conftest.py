"""Homes that several tests of the command line look at.

Belongs here: what is made once because making it takes seconds. Does not belong here: expectations.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ops_pipeline_tests.cli.command import Answer, ok

# The end of the packaged data, so that the whole of them is asked whenever the tests run.
THE_END = "2026-10-30"
FIRST_STEP, SECOND_STEP = "2010-06-30", "2013-03-01"


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    """A home after one run over all packaged data, and what that run said in JSON; for reading only."""
    home = tmp_path_factory.mktemp("whole") / "home"
    return home, ok("run", "--home", home, "--today", THE_END, "--json")


@pytest.fixture(scope="session")
def whole_home(whole_run: tuple[Path, Answer]) -> Path:
    return whole_run[0]


@pytest.fixture(scope="session")
def first_step(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    """A home after a run that pretended an earlier day, before FB was listed; for reading only."""
    home = tmp_path_factory.mktemp("first") / "home"
    return home, ok("run", "--home", home, "--today", FIRST_STEP, "--json")


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """Makes a copy of a home that the test may change."""

    def copy(home: Path) -> Path:
        return Path(shutil.copytree(home, tmp_path / "copy", symlinks=True))

    return copy
