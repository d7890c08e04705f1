"""The bronze store on disks that refuse: full, read-only, failing, or with something in the way.

Belongs here: one sentence for the user and nothing left behind, on real file systems. Does not belong here: dying processes
(`test_crash`).
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops_pipeline.bronze import BronzeStore
from ops_pipeline.errors import BronzeError
from ops_pipeline_tests.bronze.support import FILE_ID, files_below, put, run_python

STORE_BEYOND_THE_LIMIT = """
import os, resource, sys
from pathlib import Path
from ops_pipeline.bronze import BronzeStore
from ops_pipeline.errors import BronzeError
store = BronzeStore(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    store.store(folder="a/b", file_id="f" * 32, body=os.urandom(100_000), extension="bin", run_id="run")
except BronzeError as refusal:
    print(refusal)
"""


def assert_one_sentence(message: str) -> None:
    assert "\n" not in message
    assert message.endswith(".")


@contextmanager
def mounted(place: Path, options: str) -> Iterator[None]:
    """A real file system of its own, where this user may mount one."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount is None or umount is None:
        pytest.skip("there is no mount command here")
    command = [mount, "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip(f"a file system cannot be mounted here: {result.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run([umount, str(place)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    with mounted(place, "size=400k"):
        yield place


def put_many(store: BronzeStore) -> None:
    for _ in range(100):
        put(store, os.urandom(30_000))


def test_a_full_disk(small_disk: Path) -> None:
    store = BronzeStore(small_disk / "bronze")
    with pytest.raises(BronzeError, match="No space left on device") as caught:
        put_many(store)
    assert_one_sentence(str(caught.value))
    assert "free space" in str(caught.value)
    assert str(small_disk) in str(caught.value)
    left = files_below(small_disk / "bronze")
    assert len(left) > 5
    assert not any(name.startswith(".tmp") for name in left)
    assert all(len(store.read(name)) == 30_000 for name in left)

    store.path(left[0]).unlink()
    body = os.urandom(30_000)
    assert store.read(put(store, body)) == body


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    child = run_python(STORE_BEYOND_THE_LIMIT, tmp_path)
    assert child.returncode == 0, child.stderr
    assert "File too large" in child.stdout
    assert_one_sentence(child.stdout.rstrip("\n"))
    assert files_below(tmp_path) == []


def test_a_read_only_folder(tmp_path: Path) -> None:
    place = tmp_path / "locked"
    place.mkdir()
    if os.geteuid() == 0:  # whom permissions do not stop
        with mounted(place, "ro"):
            refusal = refused(place)
    else:
        place.chmod(0o555)
        refusal = refused(place)
        place.chmod(0o755)
    assert_one_sentence(refusal)
    assert "OPS_PIPELINE_BRONZE_ROOT" in refusal
    assert list(place.iterdir()) == []


def refused(root: Path) -> str:
    with pytest.raises(BronzeError) as caught:
        put(BronzeStore(root), b"body")
    return str(caught.value)


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    root = tmp_path / "bronze"
    root.write_text("mine")
    for place in (root, root / "below"):
        refusal = refused(place)
        assert_one_sentence(refusal)
        assert str(place) in refusal
        assert "move the file that is in the way" in refusal
    assert root.read_text() == "mine"
    with pytest.raises(BronzeError, match="move the file that is in the way"):
        BronzeStore(root).find("a/b", FILE_ID)


def test_a_file_where_a_ticker_belongs(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_text("mine")
    refusal = refused(tmp_path)
    assert_one_sentence(refusal)
    assert files_below(tmp_path) == ["a/b"]


def test_a_path_too_long_for_the_file_system(tmp_path: Path) -> None:
    with pytest.raises(BronzeError, match="shorten the ticker") as caught:
        put(BronzeStore(tmp_path), b"body", "/".join(["A" * 200] * 30))
    assert_one_sentence(str(caught.value))
    assert files_below(tmp_path) == []


def test_a_disk_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = BronzeStore(tmp_path)
    kept = put(store, b"before")

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(BronzeError, match=r"Input/output error.*check the disk"):
        put(store, b"after")
    assert files_below(tmp_path) == [kept]
    monkeypatch.setattr(os, "fsync", fail)
    for _ in range(2):  # what is not on the disk yet is not forgotten
        with pytest.raises(BronzeError, match=r"files cannot be synced.*Input/output error"):
            store.sync()


def test_a_folder_where_a_file_belongs(tmp_path: Path) -> None:
    store = BronzeStore(tmp_path)
    path = store.path(put(store, b"body"))
    path.unlink()
    path.mkdir()
    for use in (lambda: store.read(path.relative_to(tmp_path).as_posix()), lambda: put(store, b"body")):
        with pytest.raises(BronzeError, match="Is a directory") as caught:
            use()
        assert_one_sentence(str(caught.value))
    assert path.is_dir()


def test_a_file_where_temporaries_belong(tmp_path: Path) -> None:
    (tmp_path / ".tmp").mkdir()
    (tmp_path / ".tmp" / "run").write_text("mine")
    assert_one_sentence(refused(tmp_path))
    with pytest.raises(BronzeError, match="cannot be removed"):
        BronzeStore(tmp_path).discard_temporary("run")
    assert files_below(tmp_path) == [".tmp/run"]


def test_a_file_system_that_cannot_sync_folders_is_used_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync = os.fsync

    def only_files(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", only_files)
    store = BronzeStore(tmp_path / "bronze")
    assert store.read(put(store, b"body")) == b"body"
    store.sync()
