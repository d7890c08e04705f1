"""A command as one whole process: how long it took, how much memory it and its children held, and what it said last.

Belongs here: starting, watching and ending processes. Does not belong here: what they do.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROC = Path("/proc")
SAMPLE_SECONDS = 0.05
POLL_SECONDS = 0.005
TAIL = 2000


@dataclass(frozen=True)
class Ended:
    """A process that ended.

    Attributes:
        seconds: from its start to its end, the interpreter's start included.
        peak_mb: resident memory of the process and its descendants at their highest together.
        status: exit status; negative where a signal ended it.
        said: the JSON object in its last line of standard output; empty where there is none.
        tail: the end of what it printed, for a message.
    """

    seconds: float
    peak_mb: float
    status: int
    said: dict[str, Any] = field(default_factory=dict)
    tail: str = ""


def run_process(command: Sequence[str], *, log: Path, folder: Path, limit: float) -> Ended:
    """Runs a command to its end.

    Args:
        command: what to run.
        log: gets what the process prints.
        folder: its working folder.
        limit: seconds after which it is killed with its children.
    """
    peak, sampled = 0.0, 0.0
    with log.open("wb") as out:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            while True:
                pid, ended, used = os.wait4(process.pid, os.WNOHANG)
                now = time.perf_counter()
                if pid:
                    break
                if now - began > limit:
                    end_group(process.pid)
                if now - sampled > SAMPLE_SECONDS:
                    peak, sampled = max(peak, resident_mb(process.pid)), now
                time.sleep(POLL_SECONDS)
        finally:
            end_group(process.pid)
    process.returncode = os.waitstatus_to_exitcode(ended)
    if not PROC.exists():
        # Elsewhere the kernel's own figure, of the largest single process: on macOS in bytes.
        peak = used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    text = log.read_text(encoding="utf-8", errors="replace")
    return Ended(now - began, peak, process.returncode, _last_object(text), text[-TAIL:])


def end_group(leader: int) -> None:
    """Kills what is left of the process group that a process started in a session of its own leads."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _last_object(text: str) -> dict[str, Any]:
    lines = text.splitlines()
    with suppress(ValueError, IndexError):
        found = json.loads(lines[-1])
        if isinstance(found, dict):
            return found
    return {}


def resident_mb(root: int) -> float:
    """Memory of a process and its descendants now, in MB; at least the most that the process itself has held."""
    total = highest = 0
    for pid in _tree(root):
        with suppress(OSError):
            for line in (PROC / str(pid) / "status").read_text().splitlines():
                name, _, value = line.partition(":")
                if name == "VmRSS":
                    total += int(value.split()[0])
                elif name == "VmHWM" and pid == root:
                    highest = int(value.split()[0])
    return max(total, highest) / 1024


def _tree(root: int) -> Iterator[int]:
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        yield pid
        with suppress(OSError):
            for task in (PROC / str(pid) / "task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
