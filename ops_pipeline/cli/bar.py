"""A bar, or a spinner, on standard error while something takes long.

Belongs here: when it shows and what it looks like. Does not belong here: a run's own screen (`run_view`).
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from ops_pipeline.cli import output
from ops_pipeline.progress import silent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops_pipeline.progress import Tell

SHOWN_AFTER_SECONDS = 0.5
"""What is over sooner shows nothing: a bar that flashes is worse than none."""


@contextlib.contextmanager
def progress(what: str) -> Iterator[Tell]:
    """Shows how far the block is, on a terminal only, and leaves no trace.

    Yields:
        what the block may call with what goes on, how much is done and how much there is; without a total a spinner turns.
    """
    err = output.console(stderr=True)
    if not err.is_terminal:
        yield silent
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(show_speed=False),
        TimeElapsedColumn(),
    )
    bar = Progress(*columns, console=err, transient=True)
    task = bar.add_task(what, total=None)

    def tell(what: str, done: int = 0, total: int | None = None) -> None:
        bar.tasks[0].total = total  # to `update`, None means that it stays
        bar.update(task, description=what, completed=done)

    timer = threading.Timer(SHOWN_AFTER_SECONDS, bar.start)
    timer.daemon = True
    timer.start()
    try:
        yield tell
    finally:
        timer.cancel()
        timer.join()
        bar.stop()
