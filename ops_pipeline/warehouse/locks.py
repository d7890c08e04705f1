"""The lock files beside the database: shared for readers, exclusive for the writer, a turnstile in front of both.

Belongs here: descriptors, flock, the fork rule, and who is named when a wait is long. Does not belong here: DuckDB.

Plain flock starves writers while readers keep coming (one write in 10 s under four readers), so everybody first passes an
exclusive turnstile, and a waiting writer keeps it: no new reader gets in before it. In front of the turnstile they stand in line
(line.py). flock belongs to the open descriptor and not
to the process, so that threads of one process, each with a descriptor of its own, queue behind each other by the same rule.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from ops_pipeline.errors import DatabaseError
from ops_pipeline.warehouse import line

FIRST_NOTICE_SECONDS = 2.0
NEXT_NOTICE_SECONDS = 30.0

_guard = threading.RLock()
_open_files: set[_LockFile] = set()


def lock_path(database: Path) -> Path:
    """The lock file of a database, given by its real path."""
    return Path(f"{database}.lock")


def turnstile_path(database: Path) -> Path:
    """The file whose lock everybody takes for a moment before the lock itself."""
    return Path(f"{database}.turnstile")


def holder_path(database: Path) -> Path:
    """The file that holds the pid of the exclusive holder while there is one."""
    return Path(f"{database}.lock.holder")


class _LockFile:
    """One open descriptor of a lock file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _guard:
            try:
                self._descriptor = _open(path)
            except OSError as error:
                raise DatabaseError(
                    f"The lock file {path} cannot be opened ({error.strerror}): make its folder writable, "
                    "or set OPS_PIPELINE_HOME to another folder."
                ) from error
            _open_files.add(self)

    @property
    def ours(self) -> bool:
        """False once it is closed, and in a forked child."""
        return self in _open_files

    def lock(self, operation: int) -> None:
        """Flock; BlockingIOError when LOCK_NB is asked for and somebody else has the lock."""
        try:
            fcntl.flock(self._descriptor, operation)
        except BlockingIOError:
            raise
        except OSError as error:
            raise DatabaseError(
                f"The file system of {self._path} does not carry locks ({error.strerror}): keep the data folder on a local disk."
            ) from error

    def stand_in_line(self, begin_wait: Callable[[], None]) -> None:
        """Wait for those who asked before us; see line.py."""
        line.stand_in_line(self._descriptor, begin_wait)

    def close(self) -> None:
        with _guard:
            if self.ours:
                _open_files.remove(self)
                line.leave_line(self._descriptor)
                # Closing alone leaves the lock with a process that was forked without Python's hooks and has not reached exec.
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
                os.close(self._descriptor)

    def close_in_child(self) -> None:
        # LOCK_UN here would unlock the parent: both descriptors are one open file.
        os.close(self._descriptor)


def _open(path: Path) -> int:
    flags = os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(path, os.O_RDWR | flags, 0o666)
    except PermissionError:
        # Read access is enough for flock, so that a user who may only read the folder's files can still queue.
        return os.open(path, os.O_RDONLY | flags, 0o666)


def _after_fork_in_child() -> None:
    for file in _open_files:
        file.close_in_child()
    _open_files.clear()
    _guard.release()


os.register_at_fork(before=_guard.acquire, after_in_parent=_guard.release, after_in_child=_after_fork_in_child)


@contextlib.contextmanager
def database_lock(database: Path, *, exclusive: bool, notify: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of a database, given by its real path, waiting for it as long as it takes.

    Not re-entrant: a thread that asks twice waits for itself. `notify` gets a sentence that names the holder, from a thread of
    its own, when the wait is long. Raises DatabaseError when the lock file cannot be opened or the file system has no locks.
    """
    lock = _LockFile(lock_path(database))
    try:
        with contextlib.closing(_LockFile(turnstile_path(database))) as turnstile, _LongWait(database, notify) as long_wait:
            turnstile.stand_in_line(long_wait.begin)
            _take(turnstile, fcntl.LOCK_EX, long_wait)
            _take(lock, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH, long_wait)
        if not exclusive:
            yield
            return
        try:
            # The file only serves to name us: a full disk must be told of by the write itself, not by this.
            with contextlib.suppress(OSError):
                holder_path(database).write_text(f"{os.getpid()}\n", encoding="ascii")
            yield
        finally:
            if lock.ours:
                with contextlib.suppress(OSError):
                    holder_path(database).unlink(missing_ok=True)
    finally:
        lock.close()


def _take(file: _LockFile, operation: int, long_wait: _LongWait) -> None:
    try:
        file.lock(operation | fcntl.LOCK_NB)
    except BlockingIOError:
        long_wait.begin()
        # Blocking, not polling: the kernel queues the waiters. Polling gave single waits of 17 s where this gives less than 1 s.
        file.lock(operation)


class _LongWait:
    """Tells of a wait from a thread of its own, since the waiting thread sits in flock."""

    def __init__(self, database: Path, notify: Callable[[str], None]) -> None:
        self._database = database
        self._notify = notify
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> _LongWait:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()

    def begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._tell, name="ops-pipeline-long-wait", daemon=True)
            self._thread.start()

    def _tell(self) -> None:
        started = time.monotonic()
        pause = FIRST_NOTICE_SECONDS
        while not self._over.wait(pause):
            waited = time.monotonic() - started
            self._notify(f"Waiting for the database {self._database} since {waited:.0f} s: {describe_holder(self._database)}.")
            pause = NEXT_NOTICE_SECONDS


def describe_holder(database: Path) -> str:
    """A clause that says who holds the lock, as far as it can be known."""
    writer = _writer(database)
    if writer is not None:
        return f"{_name(writer)} is writing to it"
    holders = _holders(lock_path(database))
    if not holders:
        return "another process has it open"
    return f"{' and '.join(_name(pid) for pid in holders)} {'has' if len(holders) == 1 else 'have'} it open"


def _name(pid: int) -> str:
    return f"another thread of this process ({pid})" if pid == os.getpid() else f"process {pid}"


def _writer(database: Path) -> int | None:
    try:
        pid = int(holder_path(database).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        # It was killed and left its name behind.
        return None
    except PermissionError:
        return pid
    return pid


def _holders(path: Path) -> list[int]:
    """Pids of those that hold the lock, readers included: Linux says so, other systems do not."""
    try:
        about = path.stat()
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    place = f"{os.major(about.st_dev):02x}:{os.minor(about.st_dev):02x}:{about.st_ino}"
    fields = [line.split() for line in lines]
    # A waiter's line has an arrow in the second field.
    return sorted({int(field[4]) for field in fields if len(field) > 5 and field[1] == "FLOCK" and field[5] == place})
