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
        self, home: Path, given: dict[str, Any], *, others: int = 0, kill_after: float | None = None
    ) -> tuple[int, list[int]]:
        """Exit statuses of a run and of others beside it; -9 is a kill, which comes after so many seconds or which the run does itself."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(
            json.dumps({"home": str(home), "given": given, "others": others, "kill_after": kill_after}) + "\n"
        )
        self._process.stdin.flush()
        victim, rest = json.loads(self._process.stdout.readline())
        return victim, rest

    def end(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def _born(home: Path, given: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    status = 1
    try:
        engine(home, given)
        status = 0
    except SystemExit as e:
        status = int(e.code or 0)
    finally:
        os._exit(status)


def _status(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _serve() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        home, given = Path(order["home"]), order["given"]
        others = [_born(home, {k: v for k, v in given.items() if k != "kill_at"}) for _ in range(order["others"])]
        victim = _born(home, given)
        if order["kill_after"] is not None:
            time.sleep(order["kill_after"])
            os.kill(victim, signal.SIGKILL)
        ended = _status(victim)
        sys.stdout.write(json.dumps([ended, [_status(pid) for pid in others]]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
