"""The door itself: every connection to the database is had from a `Warehouse`.

Belongs here: who may have a connection (re-entrancy, upgrade, fork), transactions, the schema version, waiting for foreign
processes. Does not belong here: flock (locks.py), DuckDB's own opening (instance.py), when the log is folded (log.py).

A hold belongs to a thread: keep no connection over an `await`, and while you hold one, wait for no thread that needs one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from ops_pipeline.errors import DatabaseError, SchemaVersionError
from ops_pipeline.warehouse import locks
from ops_pipeline.warehouse.foreign import ForeignWait
from ops_pipeline.warehouse.instance import (
    CATALOG,
    HeldElsewhereError,
    Instance,
    Threads,
    WarehouseUsageError,
    disk_full,
    disk_is_full,
    exists,
    keep_for_ever,
    missing,
)
from ops_pipeline.warehouse.log import fold_long_log
from ops_pipeline.warehouse.successor import put_in_place


@dataclass(slots=True)
class _Hold:
    """What one thread has open; nested blocks of that thread share it."""

    connection: duckdb.DuckDBPyConnection
    read_only: bool
    in_transaction: bool = False
    failed: bool = False
    abandoned: bool = False
    successor: Path | None = None


class _Process(threading.local):
    """The holds of the calling thread, by real path."""

    def __init__(self) -> None:
        self.holds: dict[Path, _Hold] = {}


class _Registry:
    """What this process knows; a forked child starts a new one."""

    def __init__(self, forked_while_open: frozenset[Path] = frozenset()) -> None:
        self.forked_while_open = forked_while_open
        self._thread = _Process()
        self._guard = threading.Lock()
        self._instances: dict[Path, Instance] = {}

    @property
    def holds(self) -> dict[Path, _Hold]:
        return self._thread.holds

    def instance(self, path: Path) -> Instance:
        with self._guard:
            return self._instances.setdefault(path, Instance(path))

    def abandoned_in_child(self) -> _Registry:
        for hold in self.holds.values():
            hold.abandoned = True
            keep_for_ever(hold.connection)
        still_open = {path for path, instance in self._instances.items() if instance.abandon()}
        return _Registry(self.forked_while_open | still_open)


_registry = _Registry()


def _after_fork_in_child() -> None:
    global _registry
    _registry = _registry.abandoned_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)


class Warehouse:
    """The door to one database file; any number of these, on any path that leads to the file, work together.

    Args:
        path: The database file; it and its folder are created by the first write.
        schema_version: The newest migration that this code knows; a database beyond it is refused. None: not checked.
        wait_seconds: How long a foreign process, which does not take our lock, is waited for. Our own processes wait in line for
            as long as it takes.
        notify: Gets a sentence, perhaps from another thread, when a wait lasts 2 s and every 30 s from then on; by default a log
            warning.
    """

    def __init__(
        self,
        path: Path,
        *,
        schema_version: int | None = None,
        wait_seconds: float = 300.0,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        self._path = Path(path).absolute()
        self._schema_version = schema_version
        self._wait_seconds = wait_seconds
        self._notify = notify or logging.getLogger("ops_pipeline.warehouse").warning

    @contextlib.contextmanager
    def connection(
        self, *, read_only: bool = False, check_schema: bool = True, log_bytes: float | None = None, threads: Threads = "all"
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the database for the length of the block: alone if it may write, beside other readers if not.

        A block inside another one of the same thread shares its connection, whatever its own arguments. Results have to be read
        inside the block. A `cursor()` of the connection starts in no database: it needs `USE warehouse`.

        Args:
            read_only: Whether nothing will be written.
            check_schema: False only for the code that migrates.
            log_bytes: How long the log may be when the block ends, for one that writes much and seldom: a fold takes a third of a
                second where thousands of tickers are stored. `math.inf`: as long as it gets. None: as fits many small writes.
            threads: How many threads DuckDB works on: half of them where other stages of a run need the processors meanwhile.

        Raises:
            DatabaseMissingError: Nothing to read yet.
            DatabaseBusyError: A foreign process did not let go of the file within `wait_seconds`.
            SchemaVersionError: The database was migrated by newer code; nothing was written.
            DatabaseError: Not a database, a folder that cannot be written, a full disk.
            WarehouseUsageError: The block would write inside one that reads, or the process was forked inside a block.
        """
        with self._held(read_only=read_only, check_schema=check_schema, log_bytes=log_bytes, threads=threads) as hold:
            yield hold.connection

    @contextlib.contextmanager
    def transaction(self, *, few_rows: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        """A block that writes all or nothing: committed at its end, rolled back by any exception, even an interrupt.

        Inside another transaction of the thread it joins that one. When a joined block failed, the whole cannot be committed any
        more: swallowing its exception raises WarehouseUsageError at the end. Raises what `connection` raises.

        Args:
            few_rows: Whether a few hundred rows at most are written: DuckDB then works on one thread, which takes a quarter less
                processor time, and far less time where other processes keep the processors busy. A joined block changes nothing.
        """
        with self._held(threads="one" if few_rows else "all") as hold:
            if hold.in_transaction:
                try:
                    yield hold.connection
                except BaseException:
                    hold.failed = True
                    raise
                return
            hold.connection.execute("BEGIN")
            hold.in_transaction = True
            hold.failed = False
            try:
                yield hold.connection
                if hold.failed:
                    raise WarehouseUsageError("A block inside this transaction failed, and its exception was swallowed")
                if not hold.abandoned:
                    hold.connection.execute("COMMIT")
            except BaseException:
                if not hold.abandoned:
                    # After a failed commit there is nothing to roll back, which is an error to DuckDB and not to us.
                    with contextlib.suppress(duckdb.Error):
                        hold.connection.execute("ROLLBACK")
                raise
            finally:
                hold.in_transaction = False

    def reading(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """`connection(read_only=True)`."""
        return self.connection(read_only=True)

    def checkpoint(self) -> None:
        """Fold the log into the database file now. Raises what `connection` raises."""
        with self.connection() as connection:
            connection.execute(f"CHECKPOINT {CATALOG}")

    @contextlib.contextmanager
    def replacing(self) -> Iterator[tuple[duckdb.DuckDBPyConnection, Callable[[Path], None]]]:
        """Open the database alone, to put another file into its place when the block ends, before anybody else can open it.

        The block gets the connection and a function to call last, with the path of the new file: complete, on the disk, beside the
        database, and open nowhere. A block that does not call it, or raises, changes nothing. Whether the schema of the database
        is one that this code knows is not checked: the new file may be there to mend just that.

        Raises:
            WarehouseUsageError: This thread has the database open already.
            Otherwise what `connection` raises; DatabaseError when the file cannot be put into its place.
        """
        if self._path.resolve() in _registry.holds:
            raise WarehouseUsageError(f"{self._path} cannot be replaced inside a block that has it open")
        with self._held(check_schema=False) as hold:

            def by(successor: Path) -> None:
                # Changes that the log alone holds would be replayed into the new file.
                hold.connection.execute(f"CHECKPOINT {CATALOG}")
                hold.successor = successor

            yield hold.connection, by

    def log_size(self) -> int:
        """Bytes of the log, which every opening replays."""
        log = Path(f"{self._path.resolve()}.wal")
        return log.stat().st_size if log.exists() else 0

    @contextlib.contextmanager
    def _held(
        self, *, read_only: bool = False, check_schema: bool = True, threads: Threads = "all", log_bytes: float | None = None
    ) -> Iterator[_Hold]:
        path = self._path.resolve()
        holds = _registry.holds
        outer = holds.get(path)
        if outer is not None:
            if outer.read_only and not read_only:
                raise WarehouseUsageError(
                    f"This thread reads {path} and asks to write it: two threads that did so would wait for each other for ever, "
                    "so open it for writing first"
                )
            yield outer
            return
        if path in _registry.forked_while_open:
            raise WarehouseUsageError(f"This process was forked while its parent had {path} open: fork before, or use spawn")
        with self._opened(path, read_only=read_only, threads=threads, log_bytes=log_bytes) as hold:
            if check_schema and self._schema_version is not None:
                _check_schema(hold.connection, path, self._schema_version)
            holds[path] = hold
            try:
                yield hold
            except duckdb.Error as error:
                if disk_is_full(error):
                    raise disk_full(path) from error
                raise
            finally:
                del holds[path]

    @contextlib.contextmanager
    def _opened(self, path: Path, *, read_only: bool, threads: Threads, log_bytes: float | None) -> Iterator[_Hold]:
        if read_only:
            if not exists(path):
                raise missing(path)
        else:
            _make_folder(path.parent)
        instance = _registry.instance(path)
        foreign_wait = ForeignWait(path, self._wait_seconds, self._notify)
        instance.prepare()
        while True:
            with locks.database_lock(path, exclusive=not read_only, notify=self._notify):
                try:
                    hold = _Hold(instance.attach(read_only=read_only, threads=threads), read_only)
                except HeldElsewhereError as held:
                    holder = held.holder
                else:
                    try:
                        yield hold
                        if not read_only and not hold.abandoned:
                            fold_long_log(path, instance, hold.connection, self._notify, limit=log_bytes)
                    finally:
                        if not hold.abandoned:
                            instance.detach(hold.connection)
                    if hold.successor is not None:
                        put_in_place(hold.successor, path)
                    return
            # Without the lock: those of ours that only read may go on beside a foreign reader.
            foreign_wait.pause(holder)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseError(
            f"The folder {folder} of the database cannot be created ({error.strerror}): make its parent writable, "
            "or set OPS_PIPELINE_HOME to another folder."
        ) from error


def _check_schema(connection: duckdb.DuckDBPyConnection, path: Path, known: int) -> None:
    try:
        row = connection.execute("SELECT max(version)::BIGINT FROM ops.schema_migrations").fetchone()
    except duckdb.CatalogException:
        # Not migrated yet.
        return
    except duckdb.Error as error:
        raise DatabaseError(
            f"The table ops.schema_migrations of {path} is not one of ours ({error}): set OPS_PIPELINE_DATABASE to another file."
        ) from error
    if row is not None and row[0] is not None and row[0] > known:
        raise SchemaVersionError(
            f"The database {path} has schema version {row[0]}, and this version of ops_pipeline knows only up to {known}: "
            "install the newer ops_pipeline, or set OPS_PIPELINE_DATABASE to another file."
        )
