"""The one DuckDB instance that this process has for a database file, shared by the threads that read at the same time.

Belongs here: the only `duckdb.connect` on the database, its settings, attaching and detaching the file, and what DuckDB's
messages mean for a user. Does not belong here: locks between processes (locks.py), who may ask for a connection (door.py).

The file is attached to an in-memory instance under a name of our own and never opened by `duckdb.connect(path)`:
- DuckDB names an opened file after its stem, so that data/ops.duckdb would be the catalog `ops`, and every `ops.file_ingestions`
  in it fails as "Ambiguous reference to catalog or schema";
- the instance, some 20 ms to make and to close, is made once a process and before the lock is taken; attaching and detaching under
  the lock cost 5 ms;
- detaching frees the file even while a half-read result of the connection is still referenced, as a traceback does; closing the
  connection does not.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import os
import re
import threading
from pathlib import Path
from typing import Literal

import duckdb

from ops_pipeline.errors import DatabaseError, DatabaseMissingError

CATALOG = "warehouse"
"""The name of the database inside a connection, whatever its file is called; a bare `schema.table` is looked for there."""

ROW_GROUP_ROWS = 16 * 1024
"""Rows that DuckDB rewrites, in all columns, when it folds a change of a table's end into the file (its own default: 122,880)."""

QUICK_COMPRESSION = "SET GLOBAL disabled_compression_methods = 'fsst'"
"""Without FSST, which makes text without repetitions half as long and a commit a fifth dearer: what is kept may be rewritten with it."""
FULL_COMPRESSION = "RESET GLOBAL disabled_compression_methods"

# Closing writes nothing by itself, and a commit never folds the log into the file (1.5 s were seen): the door decides when. A fold joins
# short groups of rows, three a task, and as many as it finds: after a first load of 4,000 tickers 6 s and 400 MB. With two tasks a table it
# takes 0.7 s and 130 MB; small commits leave no more than that to do, and what is left, the next folds do (measured on 1.5.5).
_SETTINGS = (
    "SET GLOBAL TimeZone = 'UTC'; PRAGMA disable_checkpoint_on_shutdown; SET GLOBAL checkpoint_threshold = '1TB'; "
    "SET GLOBAL max_vacuum_tasks = 2; " + QUICK_COMPRESSION
)


Threads = Literal["all", "half", "one"]
"""How many threads DuckDB may work on. A thread that finds nothing to do spins for a while before it sleeps: on work that is too small to
share, a second one doubles the processor time."""


class WarehouseUsageError(RuntimeError):
    """The calling code uses the door in a way that cannot work; a fault of the program, never of its user."""


class HeldElsewhereError(Exception):
    """A process that does not take our lock has the file open."""

    def __init__(self, pid: int | None) -> None:
        super().__init__(pid)
        self.holder = "another process" if pid is None else f"process {pid}"


class Instance:
    """DuckDB for one file, for as long as the process lives; the file is attached while there are connections.

    `attach` and `detach` are called under the lock of locks.py, which sees to it that the connections at one time are either all
    read-only or just one that writes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # Re-entrant, since the garbage collector may end somebody's forgotten block while this thread is in here.
        self._mutex = threading.RLock()
        self._root: duckdb.DuckDBPyConnection | None = None
        self._connections = 0
        self._threads: Threads = "all"
        self._half = 1
        self.fold_seconds = 0.0
        """How long this process's last fold of the log took; 0 before the first."""

    def prepare(self) -> None:
        """Make what an opening needs beside the file, so that it is not made under the lock."""
        with self._mutex:
            self._ready()

    def attach(self, *, read_only: bool, threads: Threads = "all") -> duckdb.DuckDBPyConnection:
        """A connection for the calling thread; the first one attaches the file, and says how many threads DuckDB uses.

        Raises HeldElsewhereError when a foreign process has it, DatabaseError when it cannot be opened.
        """
        with self._mutex:
            root = self._ready()
            if not self._connections:
                self._use_threads(root, threads)
                self._attach(root, read_only=read_only)
            self._connections += 1
            connection = root.cursor()
            try:
                # Without the in-memory database, a cursor that writes before its own USE fails: no write is lost.
                connection.execute(f"USE {CATALOG}; DETACH DATABASE IF EXISTS memory")
            except BaseException:
                self.detach(connection)
                raise
            return connection

    def detach(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Close a connection; the last one lets the file go."""
        # A statement ends the results that are still being read from this connection, which would keep the file open.
        with contextlib.suppress(duckdb.Error):
            connection.execute("ROLLBACK")
        with self._mutex:
            self._connections -= 1
            connection.close()
            if self._connections or self._root is None:
                return
            try:
                self._root.execute(f"DETACH {CATALOG}")
            except BaseException as error:
                self._drop()
                if not isinstance(error, duckdb.Error):
                    raise

    def abandon(self) -> bool:
        """Give up, in a forked child, what the parent goes on using; True when the file was attached."""
        attached = self._connections > 0
        if self._root is not None:
            # Destroying the copy would wait for threads and mutexes that only the parent has. Never freeing it is safe.
            keep_for_ever(self._root)
            self._root = None
            self._threads = "all"
        self._mutex = threading.RLock()
        return attached

    def _ready(self) -> duckdb.DuckDBPyConnection:
        if self._root is None:
            self._root = duckdb.connect(":memory:", config={"autoinstall_known_extensions": "false"})
            self._root.execute(_SETTINGS)
            self._half = half_of_threads(self._root)
        return self._root

    def _drop(self) -> None:
        if self._root is not None:
            self._root.close()
            self._root = None
            self._threads = "all"

    def _use_threads(self, root: duckdb.DuckDBPyConnection, threads: Threads) -> None:
        if threads == self._threads:
            return
        if threads == "all":
            root.execute("RESET GLOBAL threads")
        else:
            root.execute(f"SET GLOBAL threads = {self._half if threads == 'half' else 1}")
        self._threads = threads

    def _attach(self, root: duckdb.DuckDBPyConnection, *, read_only: bool) -> None:
        if not exists(self._path):
            if read_only:
                raise missing(self._path)
            self._create(root)
        statement = attach_statement(self._path, CATALOG, read_only=read_only)
        try:
            try:
                root.execute(statement)
            except duckdb.BinderException:
                # A result of an earlier connection that only a reference cycle still holds keeps the file open in this process.
                gc.collect()
                root.execute(statement)
        except duckdb.Error as error:
            raise _explained(error, self._path) from error

    def _create(self, root: duckdb.DuckDBPyConnection) -> None:
        """Make a new file under another name first: a kill or a full disk would leave one that can never be opened."""
        fresh = Path(f"{self._path}.new")
        try:
            # A log whose database was deleted belongs to nothing, and would be replayed into the new file.
            for leftover in (fresh, Path(f"{fresh}.wal"), Path(f"{self._path}.wal")):
                leftover.unlink(missing_ok=True)
            root.execute(attach_statement(fresh, "fresh", read_only=False))
            root.execute("DETACH fresh")
            fresh.replace(self._path)
        except duckdb.Error as error:
            fresh.unlink(missing_ok=True)
            raise _explained(error, self._path) from error
        except OSError as error:
            raise DatabaseError(
                f"The database {self._path} cannot be created ({error.strerror}): make its folder writable."
            ) from error


def half_of_threads(connection: duckdb.DuckDBPyConnection) -> int:
    """Half of the threads that DuckDB would use, at least one: as many as it should where another stage of the run works beside it."""
    found = connection.execute("SELECT current_setting('threads')").fetchone()
    return max(1, int(found[0]) // 2) if found else 1


def keep_for_ever(value: object) -> None:
    """Keep an object from ever being destroyed, also while the interpreter shuts down."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))


def exists(path: Path) -> bool:
    """Whether there is a file; DatabaseError when its folder does not let us see."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise DatabaseError(f"The database {path} cannot be reached ({error.strerror}): check its folder.") from error
    return True


def missing(path: Path) -> DatabaseMissingError:
    """The error of a read before the first write."""
    return DatabaseMissingError(f"There is no database at {path}: run `ops-pipeline run` first.")


def disk_is_full(error: duckdb.Error) -> bool:
    """Whether DuckDB failed for want of space."""
    return os.strerror(errno.ENOSPC) in str(error)


def disk_full(path: Path) -> DatabaseError:
    """The error of a write that found no space."""
    return DatabaseError(
        f"The disk that holds the database {path} is full, and the write was rolled back: free some space and run again."
    )


def attach_statement(path: Path, name: str, *, read_only: bool) -> str:
    """SQL that opens a database file under a name, beside others."""
    quoted = str(path).replace("'", "''")
    # Not kept in the file: whoever attaches it without saying so makes large groups, which stay readable and are left as they are.
    groups = "" if read_only else f", ROW_GROUP_SIZE {ROW_GROUP_ROWS}"
    # The type is given, or DuckDB would look for an extension that reads a file of another make.
    return f"ATTACH '{quoted}' AS {name} (TYPE duckdb, READ_ONLY {read_only}{groups})"


def _explained(error: duckdb.Error, path: Path) -> Exception:
    text = str(error)
    if "Could not set lock on file" in text:
        pid = re.search(r"\bPID (\d+)", text)
        return HeldElsewhereError(int(pid.group(1)) if pid else None)
    if isinstance(error, duckdb.BinderException):
        return WarehouseUsageError(
            f"{path} is already open in this process: a half-read result or a cursor of an earlier connection is still "
            "referenced, or something else than the warehouse opened it"
        )
    if "not a valid DuckDB database file" in text:
        return DatabaseError(f"{path} is not a DuckDB database: move it away, or set OPS_PIPELINE_DATABASE to another file.")
    if disk_is_full(error):
        return disk_full(path)
    reason = text.splitlines()[0].partition("Error: ")[2] or text
    return DatabaseError(f"The database {path} cannot be opened ({reason}): check the file and its folder.")
