"""How far a run is, in figures and in a sentence.

Belongs here: counting outcomes, the rates that follow, and saying so not too often. Does not belong here: the terminal (`cli.run_view`) and
Dagster's log (`defs.assets`), which show it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ops_pipeline.engine.outcome import NO_WORK, OutcomeKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from ops_pipeline.engine.outcome import Outcome


class Progress:
    """The progress of one run over a known number of keys.

    Attributes:
        total: keys of the run.
        done: keys whose outcome is known, failed ones included.
        failed: keys that failed.
        rows: records of the answers so far.
    """

    def __init__(self, total: int, *, every_seconds: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        """Begins now.

        Args:
            total: keys of the run.
            every_seconds: `news` has something to say at most so often.
            clock: seconds that only go forward.
        """
        self.total, self.done, self.failed, self.rows = total, 0, 0, 0
        self._worked = 0
        self._clock, self._every = clock, every_seconds
        self._began = self._said = clock()

    def take(self, outcome: Outcome) -> None:
        """Counts a key."""
        self.done += 1
        self.failed += outcome.kind is OutcomeKind.FAILED
        # What needs no work is told at once and says nothing about how fast the rest will go.
        self._worked += outcome.kind not in NO_WORK
        self.rows += sum(file.bronze_rows for file in outcome.files)

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return self._clock() - self._began

    @property
    def rows_per_second(self) -> float:
        """Over the whole run so far."""
        return self.rows / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimated from the keys that took work; None before the first of them."""
        if self.done >= self.total:
            return 0.0
        return self.seconds / self._worked * (self.total - self.done) if self._worked else None

    def sentence(self) -> str:
        """Such as `120 of 500 keys done, 2 failed, 29,400 rows (6,120 a second), about 15 s left`."""
        return ", ".join([f"{self.done:,} of {self.total:,} keys done", *self.details()])

    def details(self) -> list[str]:
        """The sentence's parts behind the number of keys, as far as there is something to say."""
        parts = []
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        if self.rows:
            parts.append(f"{self.rows:,} rows ({self.rows_per_second:,.0f} a second)")
        left = self.seconds_left
        if left:
            parts.append(f"about {duration(left)} left")
        return parts

    def news(self) -> str | None:
        """The sentence, when the last one is old enough and the run is not over; else None."""
        now = self._clock()
        if self.done >= self.total or now - self._said < self._every:
            return None
        self._said = now
        return self.sentence()


def duration(seconds: float) -> str:
    """A time span as people say it: `12 s`, `3 min`, `2 h 10 min`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
