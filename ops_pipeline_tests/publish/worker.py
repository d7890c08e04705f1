"""What the other processes of these tests do: `python -m ops_pipeline_tests.publish.worker COMMAND HOME [...]`.

Belongs here: a publisher that dies, and readers that keep something open. Each says a line when it has got somewhere and goes on when it is
sent one. Does not belong here: starting them.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from ops_pipeline import read
from ops_pipeline.engine.context import steps
from ops_pipeline.engine.published import publish_now
from ops_pipeline_tests.engine.home import make_home


class Killing(logging.Handler):
    """Ends the process at a boundary, at once."""

    def __init__(self, boundary: str) -> None:
        super().__init__(logging.DEBUG)
        self.boundary = boundary

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == self.boundary:
            os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def answering() -> Iterator[None]:
    sys.stdout.write("open\n")
    sys.stdout.flush()
    sys.stdin.readline()
    yield


def killed(home: Path, boundary: str) -> None:
    steps.setLevel(logging.DEBUG)
    steps.addHandler(Killing(boundary))
    publish_now(make_home(home))


def notebook(home: Path) -> None:
    """Makes frames, and reads them only when it is told to."""
    frame, dataset = read.gold("fact_eod", home=home).polars(), read.gold("fact_eod", home=home).arrow()
    with answering():
        print(frame.collect().height, dataset.count_rows())


def bi_tool(home: Path) -> None:
    """A connection that stays open."""
    with duckdb.connect(str(home / "published" / "lake.duckdb"), read_only=True) as connection, answering():
        print(connection.execute("SELECT count(*) FROM gold.fact_eod").fetchall()[0][0])


if __name__ == "__main__":
    {"killed": killed, "notebook": notebook, "bi_tool": bi_tool}[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
