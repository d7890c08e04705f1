"""A process that has loaded the command and lets each call be born in a process of its own: no start of an interpreter each time.

Belongs here: forking, and the end of a command as the interpreter would end it. Does not belong here: what is started so, and what not
(`command`).

`python -m ops_pipeline_tests.cli.forked` reads one JSON order a line and answers each with a line: the command's exit status.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import select
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

# What the commands load when they are called; nothing here starts a thread, which a fork would lose.
LOADED = (
    "duckdb",
    "pyarrow.compute",
    "pyarrow.parquet",
    "ops_pipeline.engine.run",
    "ops_pipeline.sources.http",
    "ops_pipeline.publish",
)


class Forked:
    """The process, seen from the test."""

    def __init__(self, env: Mapping[str, str]) -> None:
        """Starts it; the environment is that of the modules that look at it when they are loaded."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(env)
        )

    def call(self, arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], seconds: float) -> tuple[int, str, str]:
        """Exit status, standard output and standard error of `python -m ops_pipeline ARGUMENTS`.

        Raises:
            TimeoutError: when the command has not ended after so many seconds; the process and its commands are ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            order = {
                "arguments": list(arguments), "cwd": str(cwd), "env": dict(env),
                "out": f"/proc/{os.getpid()}/fd/{out.fileno()}", "err": f"/proc/{os.getpid()}/fd/{err.fileno()}",
            }  # fmt: skip
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            if not select.select([self._process.stdout], [], [], seconds)[0]:
                self._process.kill()
                raise TimeoutError(f"{' '.join(arguments)} has not ended after {seconds:g} s")
            status = int(self._process.stdout.readline())
            said = []
            for file in (out, err):
                file.seek(0)
                said.append(file.read().decode())
            return status, said[0], said[1]


def _become(order: dict[str, object]) -> int:
    """The command, in the process that was born for it; gives its exit status."""
    os.environ.clear()
    os.environ.update(order["env"])  # type: ignore[arg-type]
    os.chdir(str(order["cwd"]))
    files = (os.open(os.devnull, os.O_RDONLY), *(os.open(str(order[name]), os.O_WRONLY) for name in ("out", "err")))
    for number, file in enumerate(files):
        os.dup2(file, number)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, "r" if n == 0 else "w", closefd=False) for n in range(3))
    import ops_pipeline.__main__ as program

    sys.argv = [str(program.__file__), *order["arguments"]]  # type: ignore[misc]
    sys.modules["__main__"] = program
    status = 0
    try:
        program.main()
    except SystemExit as e:
        status = e.code if isinstance(e.code, int) else int(e.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter does with what nobody catches
        traceback.print_exc()
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def _serve() -> None:
    from ops_pipeline import cli
    from ops_pipeline.light import start_light

    start_light()
    for module in (*(f"{cli.__name__}.{m.name}" for m in pkgutil.iter_modules(cli.__path__)), *LOADED):
        importlib.import_module(module)
    gc.freeze()  # what is loaded is not looked through again, and its pages stay shared
    atexit._clear()
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            status = 1
            try:
                status = _become(json.loads(line))
            finally:
                os._exit(status)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
