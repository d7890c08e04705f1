"""The bronze store's promises in ordinary times: what is stored comes back, once, whole and checked.

Belongs here: one process on a healthy disk, and damaged files. Does not belong here: killed processes (`test_crash`),
failing disks (`test_disk`) and names (`test_paths`).
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_pipeline.bronze import BronzeStore, StoredFile, partition_folder
from ops_pipeline.errors import BronzeError
from ops_pipeline_tests.bronze.support import FILE_ID, files_below

FOLDER = partition_folder("equities", "sample", "eod-prices", "-", "BRK.B")
BODY = b'[{"date": "2024-01-02", "close": 1.50}]'


@pytest.fixture
def store(tmp_path: Path) -> BronzeStore:
    return BronzeStore(tmp_path / "data" / "bronze")


def put(
    store: BronzeStore, body: bytes = BODY, *, file_id: str = FILE_ID, run_id: str = "run", error: bool = False
) -> StoredFile:
    return store.store(folder=FOLDER, file_id=file_id, body=body, extension="json", run_id=run_id, error=error)


def test_a_body_is_stored_under_its_identity_and_hash(store: BronzeStore, tmp_path: Path) -> None:
    before = datetime.now(UTC)
    stored = put(store)
    after = datetime.now(UTC)
    digest = hashlib.sha256(BODY).hexdigest()
    assert stored.filename == f"equities/sample/eod-prices/BRK.B/{FILE_ID}-{digest[:16]}.json.gz"
    assert (stored.payload_hash, stored.size, stored.is_error) == (digest, len(BODY), False)
    assert before - timedelta(microseconds=1) <= stored.stored_at <= after
    assert stored.stored_at.tzinfo is UTC
    assert store.read(stored.filename) == BODY
    assert files_below(tmp_path / "data" / "bronze") == [stored.filename]
    # Whoever has only gzip can read it, too.
    assert gzip.decompress(store.path(stored.filename).read_bytes()) == BODY


def test_the_same_body_gives_the_same_bytes_on_disk(tmp_path: Path) -> None:
    first, second = (
        store.path(put(store).filename).read_bytes() for store in (BronzeStore(tmp_path / "a"), BronzeStore(tmp_path / "b"))
    )
    assert first == second
    assert first[4:8] == bytes(4)  # gzip's own time of writing


def test_storing_again_reuses_the_file(store: BronzeStore) -> None:
    first = put(store)
    before = store.path(first.filename).stat()
    again = put(store, run_id="another-run")
    another_process = put(BronzeStore(store.path("x").parent))
    after = store.path(first.filename).stat()
    assert first == again == another_process
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_find_gives_what_store_gave_oldest_first(store: BronzeStore) -> None:
    bodies = [b"second", b"", b"first", b"\x00\xff" * 5000]
    stored = [put(store, body) for body in bodies] + [put(store, b"gateway", error=True)]
    put(store, b"another file", file_id="f" * 32)
    for place, file in enumerate(stored):
        os.utime(store.path(file.filename), ns=(0, place * 10**9))
    found = store.find(FOLDER, FILE_ID)
    assert [(file.filename, file.payload_hash, file.size) for file in found] == [
        (file.filename, file.payload_hash, file.size) for file in stored
    ]
    assert [file.stored_at for file in found] == [datetime.fromtimestamp(place, UTC) for place in range(5)]
    assert [file.is_error for file in found] == [False] * 4 + [True]


def test_find_is_equal_to_store(store: BronzeStore) -> None:
    assert store.find(FOLDER, FILE_ID) == []
    stored = put(store)
    assert store.find(FOLDER, FILE_ID) == [stored]
    assert store.find(FOLDER, "e" * 32) == []


def test_an_error_body_is_kept_apart_from_an_answer(store: BronzeStore) -> None:
    answer, error = put(store), put(store, error=True)
    assert error.filename == answer.filename.removesuffix(".gz") + ".error.gz"
    assert store.read(answer.filename) == store.read(error.filename) == BODY


@settings(deadline=None)
@given(st.binary(max_size=3000), st.sampled_from(["json", "csv", "html", "bin"]), st.booleans())
def test_any_body_comes_back(tmp_path_factory: pytest.TempPathFactory, body: bytes, extension: str, error: bool) -> None:
    store = BronzeStore(tmp_path_factory.getbasetemp() / "any-body")
    stored = store.store(folder="a/b", file_id="1" * 32, body=body, extension=extension, run_id="r", error=error)
    assert store.read(stored.filename) == body
    assert stored in store.find("a/b", "1" * 32)


@pytest.mark.parametrize("damage", [b"", b"not gzip", None, gzip.compress(b"[]", mtime=0), gzip.compress(BODY, mtime=0) + b"x"])
def test_a_damaged_file_is_named_and_made_whole_by_its_own_body_alone(
    store: BronzeStore, damage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    stored = put(store)
    path = store.path(stored.filename)
    path.write_bytes(path.read_bytes()[:-9] if damage is None else damage)
    left = path.read_bytes()
    for use in (lambda: store.read(stored.filename), lambda: store.find(FOLDER, FILE_ID)):
        with pytest.raises(BronzeError, match="is damaged") as caught:
            use()
        assert stored.filename in str(caught.value)
        assert "\n" not in str(caught.value)
    put(store, body=b"another")
    assert path.read_bytes() == left
    assert not caplog.messages
    assert put(store).payload_hash == stored.payload_hash
    assert store.read(stored.filename) == BODY
    (message,) = caplog.messages
    assert stored.filename in message
    assert store.discard_temporary("run") == 0


@pytest.mark.parametrize("gone", [".tmp", FOLDER, FOLDER.split("/")[0]])
def test_a_folder_that_somebody_removes_meanwhile_is_made_again(store: BronzeStore, gone: str) -> None:
    put(store)
    shutil.rmtree(store.path("a").parent / gone)
    again = put(store, body=b"another")
    assert store.read(again.filename) == b"another"


def test_a_flipped_byte_never_gives_another_body(store: BronzeStore) -> None:
    stored = put(store)
    path = store.path(stored.filename)
    whole = path.read_bytes()
    noticed = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            assert store.read(stored.filename) == BODY
        except BronzeError:
            noticed += 1
    assert noticed >= len(whole) - 10  # some bits of gzip's header and the last bits of its stream mean nothing


def test_a_missing_file_is_named(store: BronzeStore) -> None:
    name = f"{FOLDER}/{FILE_ID}-{'0' * 16}.json.gz"
    with pytest.raises(BronzeError, match="is missing") as caught:
        store.read(name)
    assert name in str(caught.value)


def test_a_name_of_nobody_is_refused(store: BronzeStore) -> None:
    with pytest.raises(BronzeError, match="is not the name of a bronze file"):
        store.read(f"{FOLDER}/notes.txt")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/passwd",
        "..",
        "a/../../b",
        "a//b",
        "a/./b",
        "a/",
        ".tmp/run/x",
        "a\\b",
        "C:/x",
        "a\0b",
        "~/x",
        "a/..",
        "a\nb",
        "é",
    ],
)
def test_no_name_leaves_the_root(store: BronzeStore, name: str) -> None:
    for use in (lambda: store.path(name), lambda: store.read(name), lambda: store.find(name, FILE_ID)):
        with pytest.raises(BronzeError, match="is not a path below the bronze folder"):
            use()
    with pytest.raises(BronzeError, match="is not a path below the bronze folder"):
        store.store(folder=name, file_id=FILE_ID, body=BODY, extension="json", run_id="run")


@given(st.text(max_size=30))
def test_a_path_is_below_the_root_or_refused(name: str) -> None:
    root = Path("/srv/bronze")
    try:
        path = BronzeStore(root).path(name)
    except BronzeError:
        return
    assert path != root
    assert Path(os.path.normpath(path)).is_relative_to(root)


@pytest.mark.parametrize(
    ("file_id", "extension"), [("../x", "json"), ("", "json"), ("A" * 32, "json"), ("a", ""), ("a", "a/b"), ("a", "error")]
)
def test_a_wrong_file_name_is_refused(store: BronzeStore, tmp_path: Path, file_id: str, extension: str) -> None:
    with pytest.raises(ValueError, match="must be lower-case letters and digits"):
        store.store(folder=FOLDER, file_id=file_id, body=BODY, extension=extension, run_id="run")
    assert list(tmp_path.iterdir()) == []


def test_sixteen_threads_at_once(store: BronzeStore, tmp_path: Path) -> None:
    bodies = [bytes([number % 40]) * 20_000 for number in range(400)]  # each body ten times

    with ThreadPoolExecutor(16) as pool:
        stored = list(pool.map(lambda body: put(store, body), bodies))
    assert [file.payload_hash for file in stored] == [hashlib.sha256(body).hexdigest() for body in bodies]
    found = store.find(FOLDER, FILE_ID)
    assert {file.filename for file in found} == {file.filename for file in stored}
    assert len(found) == 40
    assert files_below(tmp_path / "data" / "bronze") == sorted(file.filename for file in found)


def test_threads_that_open_new_folders_at_once(store: BronzeStore) -> None:
    folders = [partition_folder("equities", "sample", f"d{number % 3}", "-", f"T{number}") for number in range(200)]

    def store_one(folder: str) -> StoredFile:
        return store.store(folder=folder, file_id=FILE_ID, body=folder.encode(), extension="csv", run_id="run")

    with ThreadPoolExecutor(16) as pool:
        stored = list(pool.map(store_one, folders))
    assert [store.read(file.filename).decode() for file in stored] == folders


def test_temporaries_of_one_run_are_discarded(store: BronzeStore, tmp_path: Path) -> None:
    put(store)
    temporary = tmp_path / "data" / "bronze" / ".tmp"
    for run_id, names in {"run": ["a", "b"], "other": ["c"]}.items():
        (temporary / run_id).mkdir(parents=True, exist_ok=True)
        for name in names:
            (temporary / run_id / name).write_bytes(b"half")
    assert store.discard_temporary("run") == 2
    assert store.discard_temporary("run") == 0
    assert files_below(temporary) == ["other/c"]
    assert store.find(FOLDER, FILE_ID) == [put(store)]


@pytest.mark.parametrize("run_id", ["..", "../..", "/", ".", "", "a/b", "CON"])
def test_no_run_id_leaves_the_temporary_folder(store: BronzeStore, tmp_path: Path, run_id: str) -> None:
    stored = put(store, run_id=run_id)
    assert store.discard_temporary(run_id) == 0
    assert store.read(stored.filename) == BODY
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_run_starts_no_folder_before_it_stores(store: BronzeStore, tmp_path: Path) -> None:
    assert store.find(FOLDER, FILE_ID) == []
    assert store.discard_temporary("run") == 0
    assert list(tmp_path.iterdir()) == []
