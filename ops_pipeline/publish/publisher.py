"""Making a version: what changed since the last one is written, the rest is shared with it.

Belongs here: the course of a publication and its promises. Does not belong here: what is read from the database (`database`), how a table
is cut (`layout`), links and leases (`versions`).

The version is one state of the database, although it is read in several short openings: they count only if nobody wrote in between.
Otherwise the database is compared once more, and what changed meanwhile is written again; the last round is a single opening.
"""

from __future__ import annotations

import json
import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ops_pipeline.clock import utc_now
from ops_pipeline.files import sync, write_atomically
from ops_pipeline.progress import silent
from ops_pipeline.publish.database import (
    Comparison,
    MovedError,
    PublishError,
    list_objects,
    list_tables,
    stamp_of,
    work_off,
    write_part,
)
from ops_pipeline.publish.manifest import File, Manifest, PublishedTable
from ops_pipeline.publish.versions import LEASE, Versions
from ops_pipeline.publish.views import write_views

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import duckdb

    from ops_pipeline.progress import Tell
    from ops_pipeline.publish.database import Task
    from ops_pipeline.publish.layout import Part, Table
    from ops_pipeline.publish.selection import Selection
    from ops_pipeline.warehouse import Warehouse

log = logging.getLogger("ops_pipeline.publish")
# One record a boundary, as the engine's steps: where the crash tests kill it.
steps = logging.getLogger("ops_pipeline.steps")

_ROUNDS = 4
_SYNCING = 8
_SEEN = ".seen.json"


@dataclass(frozen=True, slots=True)
class Report:
    """What a publication did.

    Attributes:
        version: the current version.
        created: whether it is new.
        written: files that were written.
        shared: how many files the new version shares with the one before.
        removed: versions that nobody needs any more.
    """

    version: str
    created: bool
    written: list[File] = field(default_factory=list)
    shared: int = 0
    removed: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be published.

    Attributes:
        warehouse: the door to the database.
        database: its file.
        root: the folder of versions.
        selection: which tables.
        days: silver table -> the column of its days, as its recipe says.
        keep_seconds: for how long a replaced version stays in any case.
    """

    warehouse: Warehouse
    database: Path
    root: Path
    selection: Selection
    days: Mapping[str, str | None]
    keep_seconds: float


def publish(order: Order, *, whole: bool = False, tell: Tell = silent) -> Report:
    """Publishes the present state of the chosen tables, if it differs from what is published.

    Killed at any point, it leaves the version before current, and the next publication tidies up.

    Args:
        order: what and where.
        whole: write every file anew.
        tell: takes how many tables are compared and written.

    Raises:
        DatabaseError: what opening the database raises.
        PublishError: when the folder cannot be written.
    """
    versions = Versions(order.root)
    try:
        with versions.publishing():
            before = versions.current_manifest()
            if before and not whole and before.root == _home(versions) and _seen(order) == _read_seen(order.root):
                return Report(before.version, created=False)
            return _Publication(order, versions, None if whole else before, tell).run()
    except OSError as e:
        raise PublishError(
            f"{e.filename or order.root}: cannot be published ({e.strerror or e}). Free space or make the folder writable; what was"
            " published before stays."
        ) from e


def _home(versions: Versions) -> str:
    return str(versions.root.resolve())


def _seen(order: Order, stamp: list[int] | None = None) -> dict[str, object]:
    """What tells that nothing was written since."""
    return {"database": stamp or stamp_of(order.database), "tables": order.selection.text}


def _read_seen(root: Path) -> object:
    try:
        return json.loads((root / _SEEN).read_bytes())
    except (OSError, ValueError):
        return None


class _Publication:
    def __init__(self, order: Order, versions: Versions, before: Manifest | None, tell: Tell) -> None:
        self.tell = tell
        self.order, self.versions, self.before = order, versions, before
        self.current = versions.current() if before else None
        self.began = utc_now()
        self.folder = versions.new_folder(self.began)
        self.written: dict[tuple[str, str], File] = {}
        self.objects: tuple[str, ...] = ()
        self.listed = 0
        self.found: dict[str, tuple[Table, str | None, list[Part]]] = {}

    def run(self) -> Report:
        try:
            stamp = self._read()
            tables = {name: self._table(*about) for name, about in sorted(self.found.items())}
            root = _home(self.versions)
            made = Manifest(self.folder.name, self.began, tables, root, self.objects)
            created = self.before is None or replace(self.before, version=made.version, created_at=made.created_at) != made
            if created:
                self._make(made)
        finally:
            if self.versions.current() != self.folder:
                shutil.rmtree(self.folder, ignore_errors=True)
        write_atomically(self.order.root / _SEEN, json.dumps(_seen(self.order, stamp)).encode())
        removed = self.versions.clean(self.order.keep_seconds)
        version = self.folder.name if created else self.before.version if self.before else ""
        shared = sum(len(table.files) for table in tables.values()) - len(self.written)
        return Report(version, created, list(self.written.values()), shared if created else 0, removed)

    # --- the database ---------------------------------------------------------------------------------------------------------

    def _read(self) -> list[int]:
        """Finds the parts of every table in one state of the database, and writes those that no file holds."""
        for left in range(_ROUNDS - 1, -1, -1):
            self.found.clear()
            self.began = utc_now()
            try:
                return work_off(self.order.warehouse, self.order.database, [self._list], at_once=not left)
            except MovedError:
                log.debug("the database was written meanwhile; comparing again")
        raise AssertionError  # nobody can write within one opening

    def _list(self, connection: duckdb.DuckDBPyConnection) -> Iterable[Task]:
        listed = list_tables(connection, self.order.selection, self.order.days)
        self.objects = list_objects(connection)
        self.listed = len(listed)
        steps.debug("publishing %d tables", len(listed))
        tasks = []
        for table, dataset in listed:
            known = self._known(table.name)
            tasks.append(partial(self._compare, Comparison(table, known.layout if known else None), dataset))
        return tasks

    def _compare(self, comparison: Comparison, dataset: str | None, connection: duckdb.DuckDBPyConnection) -> Iterable[Task]:
        self.tell(f"publishing {comparison.table.name}", len(self.found), self.listed)
        if comparison.go_on(connection):
            return [partial(self._compare, comparison, dataset)]
        parts = comparison.parts
        self.found[comparison.table.name] = comparison.table, dataset, parts
        return [partial(self._write, part) for part in parts if not self._is_there(part)]

    def _write(self, part: Part, connection: duckdb.DuckDBPyConnection) -> Iterable[Task]:
        path = self._path(self.folder, part.table.name, part.file_name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_part(connection, part, path)
        self.tell(f"publishing {part.table.name}", len(self.found), self.listed)
        self.written[part.table.name, part.file_name] = File(part.rows, path.stat().st_size)
        steps.debug("published %s", part.table.name)
        return []

    # --- files ----------------------------------------------------------------------------------------------------------------

    @staticmethod
    def _path(folder: Path, table: str, file_name: str) -> Path:
        return folder.joinpath(*table.split("."), file_name)

    def _known(self, table: str) -> PublishedTable | None:
        return self.before.tables.get(table) if self.before else None

    def _is_there(self, part: Part) -> bool:
        """Whether a file holds the part, in the version before or written just now."""
        name = part.table.name
        if (name, part.file_name) in self.written:
            return True
        known = self._known(name)
        if known is None or self.current is None or part.file_name not in known.files:
            return False
        try:
            # A file that lost its end is written again and not handed on.
            return self._path(self.current, name, part.file_name).stat().st_size == known.files[part.file_name].bytes
        except FileNotFoundError:
            return False

    def _table(self, table: Table, dataset: str | None, parts: list[Part]) -> PublishedTable:
        known = self._known(table.name)
        files = {
            part.file_name: self.written.get((table.name, part.file_name)) or known.files[part.file_name]  # type: ignore[union-attr]
            for part in parts
        }
        return PublishedTable(dataset, table.comment, table.columns, files, table.layout)

    def _make(self, manifest: Manifest) -> None:
        """Completes the version's folder and puts it in the place of the current one."""
        wanted = {(name, file) for name, table in manifest.tables.items() for file in table.files}
        for name, file in self.written.keys() - wanted:  # written in a round that somebody's write made void
            self._path(self.folder, name, file).unlink()
            del self.written[name, file]
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, file in wanted - self.written.keys():
            self._share(name, file)
        (self.folder / LEASE).touch()
        self._sync(manifest)
        write_views(self.folder, manifest)
        steps.debug("completing the version")
        manifest.write(self.folder)
        sync(self.folder)
        sync(self.versions.folder)
        steps.debug("swapping the version")
        self.versions.make_current(self.folder)
        steps.debug("swapped the version")

    def _share(self, table: str, file: str) -> None:
        if self.current is None:
            raise AssertionError(f"{table}: no version holds {file}")
        old, new = self._path(self.current, table, file), self._path(self.folder, table, file)
        new.parent.mkdir(parents=True, exist_ok=True)
        try:
            new.hardlink_to(old)
        except OSError:  # as many links as the file system allows, or one that has none
            shutil.copy2(old, new)

    def _sync(self, manifest: Manifest) -> None:
        """Makes the new files survive a power cut before anything names them; many at once share one write of the disk's journal."""
        paths = [self._path(self.folder, name, file) for name, file in self.written]
        folders = [self.folder.joinpath(*name.split(".")) for name in manifest.tables]
        with ThreadPoolExecutor(_SYNCING) as pool:
            list(pool.map(sync, paths))
            list(pool.map(sync, {*folders, *(folder.parent for folder in folders)}))
