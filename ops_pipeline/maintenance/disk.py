"""The room that a home takes, and how long it will last.

Belongs here: bytes and files of each dataset, of the database and of the rest, and their growth. Does not belong here: making room
(`packing`, `rewrite`).
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ops_pipeline.errors import DatabaseMissingError
from ops_pipeline.maintenance.packing import dataset_folder
from ops_pipeline.ops import names
from ops_pipeline.ops.backup import log_of
from ops_pipeline.recipes.keys import join_dataset_key

if TYPE_CHECKING:
    from pathlib import Path

    from ops_pipeline.engine.context import Context

OTHER = "other"
_DAY_SECONDS = 86_400


@dataclass(slots=True)
class Usage:
    """What one part of a home takes.

    Attributes:
        files: on the disk; each takes an inode.
        size: bytes on the disk.
        new_files: of them, how many came within the period looked at.
        new_size: bytes of these.
        body_size: of a dataset, bytes of the answers before compression, as the ledger has them.
    """

    files: int = 0
    size: int = 0
    new_files: int = 0
    new_size: int = 0
    body_size: int = 0

    def add(self, size: int, *, new: bool) -> None:
        """Counts one file."""
        self.files += 1
        self.size += size
        if new:
            self.new_files += 1
            self.new_size += size


@dataclass(slots=True)
class DiskReport:
    """The room of a home.

    Attributes:
        days: of the period that growth is taken from; shorter where the home is younger.
        datasets: dataset key -> what its bronze files take; `other` for files that no dataset of the ledger has.
        database: bytes of the database.
        log: bytes of its log.
        rest: bytes of all else in the home: Dagster's storage, published files.
        free: bytes that are free on the disk of the bronze files.
        free_files: inodes that are free there; None where the file system has no such limit.
        days_left: until bytes or inodes are used up at the pace of the period; None: no growth.
    """

    days: float
    datasets: dict[str, Usage] = field(default_factory=dict)
    database: int = 0
    log: int = 0
    rest: int = 0
    free: int = 0
    free_files: int | None = None
    days_left: float | None = None


def look(context: Context, *, days: int = 30) -> DiskReport:
    """Walks the home once, a few seconds for a million files; opens the database only for the ledger's own sums.

    Args:
        context: the home.
        days: bronze files of so many last days make the forecast.
    """
    settings = context.settings
    root = settings.bronze_path
    known = _datasets(context)
    oldest = [time.time()]
    since = oldest[0] - days * _DAY_SECONDS
    report = DiskReport(days, {key: Usage(body_size=size) for key, size in known.values()})
    folders = {folder: report.datasets[key] for folder, (key, _) in known.items()}
    other = Usage()
    stack = [(str(root), other)]
    while stack:
        folder, usage = stack.pop()
        for entry in _entries(folder):
            if entry.is_dir(follow_symlinks=False):
                stack.append((entry.path, folders.get(os.path.relpath(entry.path, root).replace(os.sep, "/"), usage)))
                continue
            about = entry.stat(follow_symlinks=False)
            oldest[0] = min(oldest[0], about.st_mtime)
            usage.add(about.st_size, new=about.st_mtime >= since)
    if other.files:
        report.datasets[OTHER] = other
    report.database, report.log = _size(settings.database_path), _size(log_of(settings.database_path))
    home = settings.home.absolute()
    report.rest = _below(str(home), skip=str(root))
    if settings.database_path.is_relative_to(home):
        report.rest -= report.database + report.log
    place = next(p for p in (root, *root.parents) if p.exists())
    disk = os.statvfs(place)
    report.free = disk.f_bavail * disk.f_frsize
    report.free_files = disk.f_favail if disk.f_files else None
    report.days = min(float(days), max((time.time() - oldest[0]) / _DAY_SECONDS, 1.0))
    report.days_left = _days_left(report)
    return report


def _days_left(report: DiskReport) -> float | None:
    """The database grows beside the bronze files: taken to do so in proportion to what they take now."""
    usages = list(report.datasets.values())
    size, new = sum(u.size for u in usages), sum(u.new_size for u in usages)
    new_files = sum(u.new_files for u in usages)
    left = []
    if new:
        left.append(report.free / (new * (1 + report.database / size) / report.days))
    if new_files and report.free_files is not None:
        left.append(report.free_files / (new_files / report.days))
    return min(left, default=None)


def _datasets(context: Context) -> dict[str, tuple[str, int]]:
    """Folder -> (dataset key, bytes of bodies)."""
    try:
        with context.warehouse.reading() as connection:
            found = names.datasets_with_files(connection)
    except DatabaseMissingError:
        return {}
    return {dataset_folder(parts): (join_dataset_key(*parts[1:]), size) for parts, (_, size) in found.items()}


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []  # gone since its parent was read


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _below(folder: str, *, skip: str) -> int:
    total, stack = 0, [folder]
    while stack:
        for entry in _entries(stack.pop()):
            if entry.is_dir(follow_symlinks=False):
                if entry.path != skip:
                    stack.append(entry.path)
            else:
                total += entry.stat(follow_symlinks=False).st_size
    return total
