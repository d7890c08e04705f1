"""Files that are whole or not there.

Belongs here: writing one small file atomically, waiting for the disk. Does not belong here: bronze files, which have rules of their own
(`bronze.store`).
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file beside its target, syncs it and renames it over the target; folders are made.

    A target that is a link is followed, so that a file which is kept elsewhere stays there; an existing file keeps its permissions.

    Raises:
        OSError: when the folder cannot be written; the target is then as it was.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync(path: Path | str) -> None:
    """Waits until a file, or a folder's entries, are on the disk.

    Raises:
        OSError: when the disk refuses.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
