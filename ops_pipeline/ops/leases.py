"""Which runs are alive.

Belongs here: a lock file a run, held by the run's process as long as it lives, so that the next run can tell a dead run's rows from those
of a run that goes on; and, inside it, what the next run must know if this one dies. Does not belong here: what is done with a dead run's
rows (`engine.heal`).

The operating system drops the lock when the process dies, however it dies; no clock and no pid table is trusted.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from ops_pipeline.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

# Held shared by every run, and alone by what must not meet any.
_GATE = "runs.gate"
# Another run that looks whether this one is alive has the lock for some microseconds; a run that goes on has it for good.
_TRIES = 100
_PAUSE_SECONDS = 0.01


class Leases:
    """The leases of one home."""

    def __init__(self, folder: Path) -> None:
        """Names the folder of lease files; it is made when the first lease is held."""
        self.folder = folder

    def _path(self, run_id: str) -> Path:
        return self.folder / f"{quote(run_id, safe='')}.lease"

    @contextlib.contextmanager
    def held(self, run_id: str, *, keep: bool = False) -> Iterator[None]:
        """Holds the run's lease; the file goes when the run ends or is stopped in order, and stays, unlocked, when it dies or fails.

        Args:
            run_id: the run.
            keep: leave the file, unlocked, in every case; its time is then that of the end.

        Raises:
            UserError: when the folder cannot be written, or the run id is already running.
        """
        path = self._path(run_id)
        try:
            gate = self._gate()
        except OSError as e:
            raise self._refused(self.folder / _GATE, e) from e
        try:
            fcntl.flock(gate, fcntl.LOCK_SH)
            with self._held(path, run_id, keep=keep):
                yield
        finally:
            os.close(gate)

    @contextlib.contextmanager
    def _held(self, path: Path, run_id: str, *, keep: bool) -> Iterator[None]:
        try:
            handle = _take(path)
        except OSError as e:
            raise self._refused(path, e) from e
        if handle is None:
            raise UserError(f"run {run_id} is already running in another process; wait for it, or start a run of its own.")
        ended = False
        try:
            yield
            ended = True
        except Exception:
            raise
        except BaseException:
            ended = True  # stopped: what the run held is recorded by now
            raise
        finally:
            if keep:
                os.utime(handle)
            elif ended:
                path.unlink(missing_ok=True)
            os.close(handle)

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """A block in which no run goes on; one that starts meanwhile waits, so keep it short.

        Raises:
            UserError: when a run goes on, naming it, or the folder cannot be written.
        """
        try:
            gate = self._gate()
        except OSError as e:
            raise self._refused(self.folder / _GATE, e) from e
        try:
            if not _lock(gate, fcntl.LOCK_EX):
                runs = ", ".join(sorted(self.alive())[:3]) or "one that is just starting"
                raise UserError(f"Runs are going on ({runs}): wait until they have ended, or stop them, and try again.")
            yield
        finally:
            os.close(gate)

    def _gate(self) -> int:
        self.folder.mkdir(parents=True, exist_ok=True)
        return os.open(self.folder / _GATE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def note_next_part(self, run_id: str, file_id: str, next_file_id: str) -> None:
        """Keeps, durably, that another part follows a part that is about to be stored.

        Without it nobody could tell, when the run dies, whether what is on disk is the whole answer.

        Raises:
            UserError: when the lease cannot be written.
        """
        path = self._path(run_id)
        try:
            with path.open("a", encoding="ascii") as file:
                file.write(f"{file_id} {next_file_id}\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as e:
            raise self._refused(path, e) from e

    def next_parts(self, run_id: str) -> dict[str, str]:
        """What `note_next_part` kept for a run: file_id of a part -> file_id of the part that follows."""
        try:
            lines = self._path(run_id).read_text(encoding="ascii").splitlines()
        except FileNotFoundError:
            return {}
        pairs = [line.split() for line in lines]
        return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}

    def dead(self, run_ids: Iterable[str]) -> set[str]:
        """Those of the runs whose process is gone."""
        return {run_id for run_id in run_ids if self._is_dead(run_id)}

    def _is_dead(self, run_id: str) -> bool:
        try:
            handle = os.open(self._path(run_id), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            # Shared: two that look at once must not take each other for the run.
            return _lock(handle, fcntl.LOCK_SH)
        finally:
            os.close(handle)

    def knows(self, run_id: str) -> bool:
        """Whether the run has a lease file here, held or not."""
        return self._path(run_id).exists()

    def alive(self) -> set[str]:
        """Runs that go on: their lease file is held."""
        if not self.folder.is_dir():
            return set()
        known = {unquote(path.stem) for path in self.folder.glob("*.lease")}
        return known - self.dead(known)

    def left_behind(self) -> set[str]:
        """Runs that died or failed: their lease file is still there, and nobody holds it."""
        if not self.folder.is_dir():
            return set()
        return self.dead(unquote(path.stem) for path in self.folder.glob("*.lease"))

    def released(self) -> dict[str, float]:
        """Runs whose lease file is there and that nobody holds, with the file's time in seconds since 1970.

        That is when the run ended; of a run that was killed, when it began or last wrote a note.
        """
        found = {}
        for run_id in self.left_behind():
            with contextlib.suppress(FileNotFoundError):
                found[run_id] = self._path(run_id).stat().st_mtime
        return found

    def forget(self, run_ids: Iterable[str]) -> None:
        """Removes the lease files of dead runs whose rows are settled."""
        for run_id in run_ids:
            path = self._path(run_id)
            try:
                handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                # Under the lock: a retry under the same run id may take the lease at any moment.
                if _lock(handle, fcntl.LOCK_EX):
                    path.unlink(missing_ok=True)
            finally:
                os.close(handle)

    @staticmethod
    def _refused(path: Path, error: OSError) -> UserError:
        return UserError(
            f"{path}: the run's lease cannot be written ({error.strerror}). Make the data folder writable, free space on its disk, "
            "or set OPS_PIPELINE_HOME."
        )


def _lock(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _take(path: Path) -> int | None:
    """A descriptor that holds the lock of the file that has this name; None when another process keeps it."""
    for _ in range(_TRIES):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if _lock(handle, fcntl.LOCK_EX):
            try:
                # A run that tidies up may have removed the file between our opening and our locking: that lock would hold nothing.
                if os.path.samestat(os.fstat(handle), path.stat()):
                    return handle
            except FileNotFoundError:
                pass
        os.close(handle)
        time.sleep(_PAUSE_SECONDS)
    return None
