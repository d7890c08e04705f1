"""Waiting for a program that does not take our lock and has the database open: a notebook, a database tool.

Belongs here: how long, how often, and what is said meanwhile. Does not belong here: how such a program is noticed (instance.py).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

from ops_pipeline.errors import DatabaseBusyError
from ops_pipeline.warehouse import locks

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0


class ForeignWait:
    """Counts the time that a foreign process makes us wait, tells of it, and ends it."""

    def __init__(self, path: Path, wait_seconds: float, notify: Callable[[str], None]) -> None:
        self._path = path
        self._wait_seconds = wait_seconds
        self._notify = notify
        self._started: float | None = None
        self._next_notice = locks.FIRST_NOTICE_SECONDS
        self._pause = FIRST_PAUSE_SECONDS

    def pause(self, holder: str) -> None:
        """Sleep before the next try; DatabaseBusyError when the time is over."""
        now = time.monotonic()
        if self._started is None:
            self._started = now
        waited = now - self._started
        if waited >= self._wait_seconds:
            raise DatabaseBusyError(
                f"The database {self._path} is held by {holder}, which did not let go of it within {self._wait_seconds:g} s: "
                f"close the notebook or database tool that has it open (or end {holder}) and run again."
            )
        if waited >= self._next_notice:
            self._notify(f"Waiting for the database {self._path} since {waited:.0f} s: {holder} has it open.")
            self._next_notice = waited + locks.NEXT_NOTICE_SECONDS
        jitter = random.uniform(0.5, 1.5)  # noqa: S311 - it spreads the tries of several waiters, it guards nothing
        time.sleep(min(self._pause * jitter, self._wait_seconds - waited))
        self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)
