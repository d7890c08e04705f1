"""A process that has everything loaded and lets runs be born, and die, in processes of their own: hundreds of kills without as many starts.

Belongs here: forking, waiting and killing. Does not belong here: what a run does (`worker`), which runs there are (`test_matrix`).

`python -m ops_pipeline_tests.engine.nursery` reads one JSON order a line and answers with one line: how the victim ended, and the others.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ops_pipeline_tests.engine.processes import PROJECT
from ops_pipeline_tests.engine.worker import engine


class Nursery:
    """The process, seen from the test."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(
        self, home: Path, given: dict[str, Any], *, others: int = 0, kill_after: float | None = None, once: str | None = None
    ) -> tuple[int, list[int]]:
        """Exit statuses of a run and of others beside it; -9 is a kill, which comes after so many seconds or which the run does itself.

        With `dagster` in what is given, the run is one of Dagster's, and the others are none. With `once`, the seconds count from when the
        home has a file of this pattern.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(
            json.dumps({"home": str(home), "given": given, "others": others, "kill_after": kill_after, "once": once}) + "\n"
        )
        self._process.stdin.flush()
        victim, rest = json.loads(self._process.stdout.readline())
        return victim, rest

    def end(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def _born(home: Path, given: dict[str, Any], run: Callable[[Path, dict[str, Any]], None] = engine) -> int:
    pid = os.fork()
    if pid:
        return pid
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    if run is not engine:
        os.dup2(nothing, 2)  # Dagster says every event there
    sys.stdout = os.fdopen(1, "w", closefd=False)
    status = 1
    try:
        run(home, given)
        status = 0
    except SystemExit as e:
        status = int(e.code or 0)
    finally:
        os._exit(status)


def _status(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _has_ended(pid: int) -> bool:
    """Whether a child has ended; its status is still to be asked for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kind(given: dict[str, Any]) -> Callable[[Path, dict[str, Any]], None]:
    """What the victim does. Dagster is loaded here, once, and by those alone who want it: that takes seconds."""
    if not given.get("dagster"):
        return engine
    from ops_pipeline_tests.engine import dagster_worker

    dagster_worker.load()
    return dagster_worker.dagster_run


def _serve() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        home, given = Path(order["home"]), order["given"]
        others = [_born(home, {k: v for k, v in given.items() if k != "kill_at"}) for _ in range(order["others"])]
        victim = _born(home, given, _kind(given))
        if order["kill_after"] is not None:
            while order["once"] and not any(home.glob(order["once"])) and not _has_ended(victim):
                time.sleep(0.005)
            time.sleep(order["kill_after"])
            os.kill(victim, signal.SIGKILL)
        ended = _status(victim)
        sys.stdout.write(json.dumps([ended, [_status(pid) for pid in others]]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
