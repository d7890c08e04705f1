"""Starting the other processes of these tests (`worker`) and talking to them.

Belongs here: one class. Does not belong here: what they do.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2]
# Not a limit on speed: it ends a test that would otherwise hang.
HANGS_SECONDS = 300


class Process:
    """Another process; see worker.py."""

    def __init__(self, command: str, home: Path, **given: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ops_pipeline_tests.engine.worker", command, str(home), json.dumps(given)],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def hear(self) -> str:
        """The next line it says; empty when it has ended."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def tell(self) -> None:
        """Sends a line."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def end(self) -> list[str]:
        """Waits for its end and gives what else it says; it has to end well."""
        lines, errors = self._process.communicate(timeout=HANGS_SECONDS)
        assert self._process.returncode == 0, errors + lines
        return lines.splitlines()

    def returncode(self) -> int:
        """Waits for its end."""
        self._process.communicate(timeout=HANGS_SECONDS)
        return self._process.returncode

    def output(self) -> str:
        """Waits for its end, and gives what it said on both streams."""
        lines, errors = self._process.communicate(timeout=HANGS_SECONDS)
        return lines + errors

    def kill(self) -> int:
        """SIGKILL; the status with which it ended, which is another one where it was faster."""
        self._process.kill()
        return self.returncode()
