"""Which runs are alive.

Belongs here: a lock file a run, held by the run's process as long as it lives, so that the next run can tell a dead run's rows from those of
a run that goes on. Does not belong here: what is done with a dead run's rows (`engine.heal`).

The operating system drops the lock when the process dies, however it dies; no clock and no pid table is trusted.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ops_pipeline.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


class Leases:
    """The leases of one home."""

    def __init__(self, folder: Path) -> None:
        """Names the folder of lease files; it is made when the first lease is held."""
        self.folder = folder

    def _path(self, run_id: str) -> Path:
        return self.folder / f"{run_id}.lease"

    @contextmanager
    def held(self, run_id: str) -> Iterator[None]:
        """Holds the run's lease; the file goes when the run ends in order, and stays behind, unlocked, when it dies.

        Raises:
            UserError: when the folder cannot be written, or the run id is already running.
        """
        path = self._path(run_id)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as e:
            raise UserError(
                f"{path}: the run's lease cannot be written ({e.strerror}). Make the data folder writable, or set OPS_PIPELINE_HOME."
            ) from e
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as e:
                raise UserError(
                    f"run {run_id} is already running in another process; wait for it, or start a run of its own."
                ) from e
            yield
            path.unlink(missing_ok=True)
        finally:
            os.close(handle)

    def dead(self, run_ids: Iterable[str]) -> set[str]:
        """Those of the runs whose process is gone."""
        return {run_id for run_id in run_ids if self._is_dead(run_id)}

    def _is_dead(self, run_id: str) -> bool:
        try:
            handle = os.open(self._path(run_id), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            return True
        finally:
            os.close(handle)

    def left_behind(self) -> set[str]:
        """Runs that died: their lease file is still there, and nobody holds it."""
        if not self.folder.is_dir():
            return set()
        return self.dead(path.stem for path in self.folder.glob("*.lease"))

    def forget(self, run_ids: Iterable[str]) -> None:
        """Removes the lease files of dead runs whose rows are settled."""
        for run_id in run_ids:
            if self._is_dead(run_id):
                self._path(run_id).unlink(missing_ok=True)
