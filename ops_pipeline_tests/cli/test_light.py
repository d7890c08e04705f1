"""What a command does not load."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from ops_pipeline_tests.cli.command import ok
from ops_pipeline_tests.sources.own_home import make_home

PROGRAM = """
import sys
from ops_pipeline.cli import main
sys.argv = ["ops-pipeline", "run", "--home", sys.argv[1], "--ticker", "FB"]
try:
    main()
finally:
    print("loaded:", *sorted({"pandas", "numpy"} & set(sys.modules)))
    try:
        import numpy
    except ModuleNotFoundError as e:
        print(e)
"""


def test_a_run_loads_neither_pandas_nor_numpy(tmp_path: Path) -> None:
    pytest.importorskip("pandas", reason="only where pandas is installed can it be loaded by mistake")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "home")], capture_output=True, text=True, check=True, timeout=300
    )
    assert "promoted" in done.stdout
    assert "loaded:\nNo module named 'numpy' (left out of this program" in done.stdout


OWN = """
import json
import pandas, pyarrow

def fetch(request):
    frame = pyarrow.table({"date": ["2013-02-01"], "close": [1.5]}).to_pandas()
    return frame.to_json(orient="records").encode()
"""


def test_a_source_of_the_users_own_may_load_both(tmp_path: Path) -> None:
    pytest.importorskip("pandas", reason="only where pandas is installed can it be wanted")
    make_home(tmp_path, {"client": "python", "python": {"call": "own.py:fetch"}}, {"first_date": "2013-01-01", "last_date": None})
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "own.py").write_text(OWN)
    told = ok("run", "--home", tmp_path, "--today", "2013-03-01", "--json", fresh=True).document
    assert told["keys"] == {"promoted": 1}


PIECES = """
import ctypes, sys
if sys.argv[1] == "light":
    from ops_pipeline.light import start_light
    start_light()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def held():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith("RssAnon"))

libc.free(libc.malloc(31 << 20))  # the largest block that it takes as a lesson
before, blocks = held(), []
for _ in range(8):
    blocks.append(libc.malloc(8 << 20))
    ctypes.memset(blocks[-1], 1, 8 << 20)
    libc.malloc(100_000)  # what stays in use between them
for block in blocks:
    libc.free(block)
print(held() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the switch is glibc's")
def test_large_blocks_go_back_to_the_system_when_they_are_freed() -> None:
    def megabytes(start: str) -> int:
        return int(subprocess.run([sys.executable, "-c", PIECES, start], capture_output=True, text=True, check=True).stdout)

    assert megabytes("as it is") > 50, "the C library does that by itself now: the switch is needed no more"
    assert megabytes("light") < 15
