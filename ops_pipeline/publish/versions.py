"""The folder of published versions: which is current, who reads which, and which may go.

Belongs here: links, leases, locks and removal. Does not belong here: what a version holds (`manifest`) and making it (`publisher`). Needs
neither duckdb nor pyarrow, since every reader goes through it.

A version stays as long as somebody reads it. Readers of `ops_pipeline.read` hold a lock on its lease, DuckDB holds one of its own on the
version's lake.duckdb that it has open; the operating system drops both with the process. Whoever opens Parquet files by their path has
nothing that tells of him: for his sake a replaced version stays for a while in any case.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ops_pipeline.files import sync
from ops_pipeline.publish.manifest import NAME, Manifest, read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

CURRENT = "current"
LAKE = "lake.duckdb"
LEASE = "lease"
_DOOMED = ".doomed-"
# A version cannot be replaced so often while it is being opened.
_TRIES = 100


class Lease:
    """A version that stays until `release`, or the end of the process."""

    def __init__(self, folder: Path, handle: int) -> None:
        """Takes the version's folder and a descriptor that locks its lease."""
        self.folder = folder
        self._handle: int | None = handle

    def release(self) -> None:
        """Lets the version go; again does nothing."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


class Versions:
    """The versions below a folder, usually `data/published`."""

    def __init__(self, root: Path) -> None:
        """Names the folder; nothing is made before something is published."""
        self.root = root
        self.folder = root / "versions"

    # --- reading --------------------------------------------------------------------------------------------------------------

    def current(self) -> Path | None:
        """The folder of the current version; None where nothing is published."""
        try:
            target = (self.root / CURRENT).readlink()
        except OSError:
            return None
        folder = self.root / target
        return folder if (folder / NAME).is_file() else None

    def current_manifest(self) -> Manifest | None:
        """What the current version holds; None where nothing is published."""
        folder = self.current()
        return read_manifest(folder) if folder else None

    def lease(self, version: str | None = None) -> Lease | None:
        """Keeps a version, by default the current one, from being removed; None where it is not there."""
        for _ in range(_TRIES):
            folder = self.folder / version if version else self.current()
            if folder is None:
                return None
            try:
                handle = os.open(folder / LEASE, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                if version:
                    return None
                continue
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
                # It may have been removed between our opening and our locking.
                if os.path.samestat(os.fstat(handle), (folder / LEASE).stat()):
                    return Lease(folder, handle)
            except (BlockingIOError, FileNotFoundError):
                pass  # it is being removed
            os.close(handle)
        return None

    def all(self) -> list[Manifest]:
        """Every whole version, oldest first."""
        folders = sorted(self.folder.iterdir()) if self.folder.is_dir() else []
        return [found for folder in folders if (found := read_manifest(folder))]

    # --- publishing -----------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def publishing(self) -> Iterator[None]:
        """Lets one process publish at a time; others wait for it.

        Raises:
            OSError: when the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.root / ".publishing", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def new_folder(self, moment: datetime) -> Path:
        """A name for a version made at a time, in the order of which versions sort."""
        name = moment.strftime("%Y-%m-%dT%H%M%S.%fZ")
        newest = max((path.name for path in self.folder.iterdir()), default="") if self.folder.is_dir() else ""
        # The clock was set back: the new one must still be the last.
        return self.folder / (name if name > newest else f"{newest}+")

    def make_current(self, folder: Path) -> None:
        """Puts a whole version in the place of the current one, at once."""
        before = self.current()
        self._link(self.root / CURRENT, folder.relative_to(self.root))
        self._link(self.root / LAKE, Path(CURRENT) / LAKE)
        sync(self.root)
        if before is not None and before != folder:
            os.utime(before)  # since when it is replaced

    @staticmethod
    def _link(path: Path, target: Path) -> None:
        with contextlib.suppress(OSError):
            if path.readlink() == target:
                return
        if path.is_dir() and not path.is_symlink():
            # A copy of a data folder that followed the links.
            doomed = path.with_name(f"{_DOOMED}{path.name}")
            path.replace(doomed)
            shutil.rmtree(doomed)
        fresh = path.with_name(f".{path.name}.new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target)
        fresh.replace(path)

    def clean(self, keep_seconds: float) -> list[str]:
        """Removes versions that were replaced so long ago and that nobody reads, and what killed publishers left.

        For the publishing process. Returns the names of the removed versions.
        """
        current, removed = self.current(), []
        for folder in self.folder.iterdir():
            if folder == current or not folder.is_dir():
                continue
            whole = (folder / NAME).is_file() and not folder.name.startswith(_DOOMED)
            if whole and (time.time() - folder.stat().st_mtime < keep_seconds or not self._doom(folder)):
                continue
            if whole:
                removed.append(folder.name)
                folder = folder.with_name(f"{_DOOMED}{folder.name}")
            shutil.rmtree(folder, ignore_errors=True)
        return removed

    @staticmethod
    def _doom(folder: Path) -> bool:
        """Takes a version that nobody reads out of every reader's way; False where somebody reads it."""
        with contextlib.ExitStack() as stack:
            try:
                lease = os.open(folder / LEASE, os.O_RDONLY | os.O_CLOEXEC)
                stack.callback(os.close, lease)
                fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
                lake = os.open(folder / LAKE, os.O_RDONLY | os.O_CLOEXEC)
                stack.callback(os.close, lake)
                if _is_locked(lake):
                    return False
            except BlockingIOError:
                return False
            except FileNotFoundError:
                pass  # half removed already
            folder.replace(folder.with_name(f"{_DOOMED}{folder.name}"))
            return True


def _is_locked(handle: int) -> bool:
    """Whether a process has the file open in DuckDB, whose locks are of the kind that belongs to processes."""
    # struct flock as the system lays it out, asked by F_GETLK: a lock of our own would need the right to write the file.
    if os.uname().sysname == "Darwin":
        layout = "qqihh"  # start, length, pid, type, whence
        answer = fcntl.fcntl(handle, fcntl.F_GETLK, struct.pack(layout, 0, 0, 0, fcntl.F_WRLCK, os.SEEK_SET))
        return bool(struct.unpack(layout, answer)[3] != fcntl.F_UNLCK)
    layout = "@hhqqi0q"  # type, whence, start, length, pid
    answer = fcntl.fcntl(handle, fcntl.F_GETLK, struct.pack(layout, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    return bool(struct.unpack(layout, answer)[0] != fcntl.F_UNLCK)


def literally(path: Path) -> str:
    """A path for DuckDB, which takes some signs for a pattern."""
    return "".join(f"[{sign}]" if sign in "*?[" else sign for sign in str(path))
