from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ops_pipeline_tests.engine.processes import Process

Start = Callable[..., Process]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(300)
        assert not thread.is_alive(), f"{thread.name} goes on after the run"


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts processes, and ends those that a failing test leaves."""
    with contextlib.ExitStack() as stack:

        def started(command: str, home: Path, **given: Any) -> Process:
            process = Process(command, home, **given)
            stack.callback(process.kill)
            return process

        yield started
