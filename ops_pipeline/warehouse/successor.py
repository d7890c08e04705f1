"""Putting another file into the database's place.

Belongs here: the one rename, and what must be true before it. Does not belong here: the lock under which it happens (door.py), and what
the other file holds.
"""

from __future__ import annotations

from pathlib import Path

from ops_pipeline.errors import DatabaseError
from ops_pipeline.files import sync


def put_in_place(successor: Path, path: Path) -> None:
    """Renames a file to the database's name; whoever is killed here leaves the one or the other, whole."""
    log = Path(f"{path}.wal")
    try:
        if log.exists() and log.stat().st_size:
            raise DatabaseError(f"{log} holds changes that are not in {path}, which was left as it is: run again.")
        log.unlink(missing_ok=True)
        successor.replace(path)
        sync(path.parent)
    except OSError as error:
        raise DatabaseError(
            f"The database {path} cannot be replaced by {successor} ({error.strerror}): make its folder writable and run again."
        ) from error
