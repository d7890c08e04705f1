"""The bronze store when processes die: what is left at the target and beside it, and what is safe from a power cut.

Belongs here: kills, interrupts and syncs. Does not belong here: disks that refuse (`test_disk`) and healthy times (`test_store`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ops_pipeline.bronze import BronzeStore
from ops_pipeline_tests.bronze.support import ENVIRONMENT, FILE_ID, files_below, put, run_python

STORE_FOR_EVER = """
import os, sys, threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from ops_pipeline.bronze import BronzeStore
store = BronzeStore(Path(sys.argv[1]))
def loop(thread):
    number = 0
    while True:
        number += 1
        body = os.urandom(1_000_000)
        stored = store.store(folder=f"a/b/T{thread}", file_id=f"{thread}x{number}", body=body, extension="bin", run_id="dead-run")
        os.write(1, (stored.filename + " " + stored.payload_hash + "\\n").encode())  # one write: lines of threads never mix
with ThreadPoolExecutor(4) as pool:
    list(pool.map(loop, range(4)))
"""

DIE_AT = """
import os, signal, sys
from pathlib import Path
from ops_pipeline.bronze import BronzeStore
store = BronzeStore(Path(sys.argv[1]))
def put(body):
    store.store(folder="a/b/T", file_id="f" * 32, body=body, extension="bin", run_id="dead-run")
    store.sync()
put(b"before")
name, calls, wanted = sys.argv[2], 0, int(sys.argv[3])
call = getattr(os, name)
def counted(*arguments):
    global calls
    calls += 1
    if calls == wanted:
        os.kill(os.getpid(), signal.SIGKILL)
    call(*arguments)
setattr(os, name, counted)
put(b"the body")
print("survived")
"""


@pytest.mark.parametrize("stored_before", [0, 3, 8, 21])
def test_killed_while_storing_leaves_whole_files_and_temporaries(tmp_path: Path, stored_before: int) -> None:
    root = tmp_path / "bronze"
    command = [sys.executable, "-c", STORE_FOR_EVER, str(root)]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        acknowledged = [child.stdout.readline() for _ in range(stored_before)]
        child.kill()
        acknowledged += child.stdout.readlines()
    assert child.returncode == -signal.SIGKILL

    store = BronzeStore(root)
    promised = dict(line.split() for line in acknowledged)
    assert len(promised) >= stored_before
    for filename, payload_hash in promised.items():
        folder, _, name = filename.rpartition("/")
        (found,) = store.find(folder, name.partition("-")[0])
        assert (found.filename, found.payload_hash, found.size) == (filename, payload_hash, 1_000_000)
    left = files_below(root)
    temporaries = [name for name in left if name.startswith(".tmp/dead-run/")]
    for name in set(left) - set(temporaries):
        assert len(store.read(name)) == 1_000_000
    assert store.discard_temporary("another-run") == 0
    assert store.discard_temporary("dead-run") == len(temporaries)
    assert set(files_below(root)) == set(left) - set(temporaries)


@pytest.mark.parametrize(
    ("call", "number", "temporaries", "targets"),
    [("rename", 1, 1, 1), ("fsync", 1, 0, 2), ("fsync", 2, 0, 2)],
)
def test_killed_around_the_rename(tmp_path: Path, call: str, number: int, temporaries: int, targets: int) -> None:
    # Both syncs come after the rename: the file's, and then its folder's.
    child = run_python(DIE_AT, tmp_path, call, number)
    assert (child.returncode, child.stdout) == (-signal.SIGKILL, "")
    store = BronzeStore(tmp_path)
    assert len(store.find("a/b/T", "f" * 32)) == targets
    assert len(files_below(tmp_path / ".tmp")) == temporaries

    again = store.store(folder="a/b/T", file_id="f" * 32, body=b"the body", extension="bin", run_id="next-run")
    assert store.read(again.filename) == b"the body"
    assert len(store.find("a/b/T", "f" * 32)) == 2
    assert store.discard_temporary("dead-run") == temporaries
    assert files_below(tmp_path / ".tmp") == []


def test_everything_that_leads_to_a_file_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("which file a descriptor belongs to is asked of /proc")
    synced: list[str] = []
    sync = os.fsync

    def record(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()).removeprefix(str(tmp_path)))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    root = tmp_path / "new" / "bronze"
    store = BronzeStore(root)
    put(store, b"one", "a/b")
    store.sync()
    (file,) = [place for place in synced if place.endswith(".bin.gz")]
    # Each folder holds the name of one that is new, and the last one the file's own.
    assert set(synced) - {file} == {"", "/new", "/new/bronze", "/new/bronze/a", "/new/bronze/a/b"}
    # A name that is on disk before its bytes would be a damaged file after a power cut.
    assert synced.index(file) < synced.index("/new/bronze/a/b")

    synced.clear()
    put(store, b"two", "a/b")
    put(store, b"three", "a/b")
    store.sync()
    assert len(synced) == 3  # the files, and their folder once: what leads there is known by now
    synced.clear()
    store.sync()
    assert synced == []
    again = BronzeStore(root)
    two = "/new/bronze/" + put(again, b"two", "a/b")  # the process that made the file may have died before it synced anything
    again.sync()
    assert set(synced) == {two, "/new/bronze", "/new/bronze/a", "/new/bronze/a/b"}
    synced.clear()
    finder = BronzeStore(root)
    assert len(finder.find("a/b", FILE_ID)) == 3
    finder.sync()
    assert sorted({Path(place).suffix for place in synced}) == ["", ".gz"]
    assert len(synced) == 4


def test_an_interrupted_store_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = BronzeStore(tmp_path)
    kept = put(store, b"before")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", interrupt)
    with pytest.raises(KeyboardInterrupt):
        put(store, b"after")
    assert files_below(tmp_path) == [kept]
