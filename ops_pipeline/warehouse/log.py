"""DuckDB's write-ahead log: when it is folded into the database file.

Belongs here: how long the log may grow, and folding it at the end of a write. Does not belong here: who may write (door.py).

Every open replays the log, 60 to 270 ms a megabyte of ledger rows, and a fold takes 40 ms and more. Folding at 128 KB costs the least a
transaction, half of what 1 MB does. It is not put off until nobody waits: under load there is no such moment, and meanwhile every open
would cost more. With 1M ledger rows a fold took 140 ms; there the log may grow longer.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import duckdb

from ops_pipeline.warehouse.instance import CATALOG, Instance

FOLD_LOG_BYTES = 128 * 1024
LONGEST_LOG_BYTES = 2 * 1024 * 1024
SHORT_FOLD_SECONDS = 0.04
ROOM_TO_FOLD_BYTES = 16 * 1024 * 1024


def log_limit(fold_seconds: float) -> float:
    """The size in bytes up to which replaying the log at every open costs less than folding it, when a fold takes so long.

    Replaying costs in all the square of the size that the log reaches, so that the best size grows with the root of a fold's time.
    """
    return min(LONGEST_LOG_BYTES, FOLD_LOG_BYTES * math.sqrt(max(1.0, fold_seconds / SHORT_FOLD_SECONDS)))


def fold_long_log(
    path: Path,
    instance: Instance,
    connection: duckdb.DuckDBPyConnection,
    notify: Callable[[str], None],
    *,
    limit: float | None = None,
) -> None:
    """Fold the log if it is long; for a connection that may write, at the end of its block. A fold that fails is told and not raised.

    Args:
        path: the database file.
        instance: its instance.
        connection: one that may write.
        notify: gets the sentence when a fold fails.
        limit: bytes up to which the log is left alone; None: what costs the least where many small transactions follow.
    """
    log = Path(f"{path}.wal")
    most = log_limit(instance.fold_seconds) if limit is None else limit
    if shutil.disk_usage(path.parent).free < ROOM_TO_FOLD_BYTES:
        # A fold writes blocks anew, and one that fails for want of space keeps those that it wrote: a commit needs far less.
        most = max(most, LONGEST_LOG_BYTES)
    if not log.exists() or log.stat().st_size <= most:
        return
    # What a block left uncommitted would be lost anyway, and must not stand in the way of the checkpoint.
    with contextlib.suppress(duckdb.Error):
        connection.execute("ROLLBACK")
    started = time.monotonic()
    try:
        connection.execute(f"CHECKPOINT {CATALOG}")
        instance.fold_seconds = time.monotonic() - started
    except duckdb.Error as error:
        # What the block wrote is committed: failing now would say the opposite.
        notify(f"The log {log} could not be folded into the database ({error}): no data is lost.")
