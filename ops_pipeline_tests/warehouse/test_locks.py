from __future__ import annotations

import fcntl
import os
import signal
import threading
from pathlib import Path

import pytest

from ops_pipeline.errors import DatabaseError
from ops_pipeline.warehouse import Warehouse, locks
from ops_pipeline_tests.warehouse.conftest import StartWorker, is_locked


def count(database: Path) -> int:
    with Warehouse(database).reading() as connection:
        rows: int = connection.execute("SELECT count(*) FROM facts").fetchall()[0][0]
    return rows


def test_a_writer_excludes_everybody_and_a_reader_only_writers(database: Path) -> None:
    with Warehouse(database).connection():
        assert is_locked(database, fcntl.LOCK_SH)
    with Warehouse(database).reading():
        assert is_locked(database)
        assert not is_locked(database, fcntl.LOCK_SH)
    assert not is_locked(database)


def test_two_readers_of_two_processes_read_at_once(database: Path, start: StartWorker) -> None:
    one, two = start("hold", database, "read"), start("hold", database, "read")
    assert [one.hear(), two.hear()] == ["open", "open"]


def test_a_symlink_leads_to_the_same_lock(database: Path, tmp_path: Path, start: StartWorker) -> None:
    (tmp_path / "folder").symlink_to(tmp_path, target_is_directory=True)
    link = tmp_path / "folder" / "link.duckdb"
    link.symlink_to(database)
    worker = start("hold", link, "write")
    assert worker.hear() == "open"
    assert is_locked(database)
    assert not Path(f"{link}.lock").exists()
    worker.tell()
    assert worker.hear() == "closed"
    with Warehouse(link).connection():
        assert is_locked(database)


def test_the_pid_of_the_writer_is_written_beside_the_lock_and_removed(database: Path) -> None:
    with Warehouse(database).connection():
        assert locks.holder_path(database).read_text() == f"{os.getpid()}\n"
    assert not locks.holder_path(database).exists()
    with Warehouse(database).reading():
        assert not locks.holder_path(database).exists()


@pytest.mark.parametrize("mode", ["read", "write"])
def test_a_long_wait_names_the_holder(database: Path, start: StartWorker, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setattr(locks, "FIRST_NOTICE_SECONDS", 0.05)
    holder = start("hold", database, mode)
    assert holder.hear() == "open"
    sentences: list[str] = []

    def notify(sentence: str) -> None:
        sentences.append(sentence)
        holder.tell()

    with Warehouse(database, notify=notify).connection():
        pass
    assert str(database) in sentences[0]
    # Who reads is known from the kernel's list, where there is one.
    assert f"process {holder.pid} " in sentences[0] or (mode == "read" and "another process" in sentences[0])


def test_a_long_wait_names_every_reader(database: Path, start: StartWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/proc/locks").exists():
        pytest.skip("only Linux tells who holds a lock")
    monkeypatch.setattr(locks, "FIRST_NOTICE_SECONDS", 0.05)
    readers = [start("hold", database, "read") for _ in range(2)]
    assert [reader.hear() for reader in readers] == ["open", "open"]
    sentences: list[str] = []

    def notify(sentence: str) -> None:
        sentences.append(sentence)
        for reader in readers:
            reader.tell()

    with Warehouse(database, notify=notify).transaction():
        pass
    first, second = sorted(reader.pid for reader in readers)
    assert f": process {first} and process {second} have it open." in sentences[0]


def test_a_thread_that_waits_for_another_thread_is_told_so(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "FIRST_NOTICE_SECONDS", 0.05)
    held, told = threading.Event(), threading.Event()
    sentences: list[str] = []

    def hold() -> None:
        with Warehouse(database).connection():
            held.set()
            told.wait(60)

    def notify(sentence: str) -> None:
        sentences.append(sentence)
        told.set()

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(60)
    with Warehouse(database, notify=notify).reading():
        pass
    thread.join()
    assert f"another thread of this process ({os.getpid()}) is writing to it" in sentences[0]


def test_a_killed_writer_frees_the_lock_and_is_not_named(database: Path, start: StartWorker) -> None:
    holder = start("die_in_transaction", database)
    assert holder.hear() == "open"
    assert is_locked(database)
    assert str(holder.pid) in locks.describe_holder(database)
    holder.kill()
    assert not is_locked(database)
    assert locks.holder_path(database).exists()
    assert locks.describe_holder(database) == "another process has it open"
    assert count(database) == 0
    with Warehouse(database).transaction() as connection:
        connection.execute("INSERT INTO facts VALUES (1, 1)")
    assert count(database) == 1


def test_a_waiting_writer_is_in_before_a_later_reader(database: Path, start: StartWorker) -> None:
    reader = start("hold", database, "read")
    assert reader.hear() == "open"
    writer = start("add", database)
    assert writer.hear() == "waits"
    late = start("count", database)
    assert late.hear() == "waits"
    reader.tell()
    assert writer.hear() == "added"
    assert late.hear() == "1"


def test_an_interrupt_ends_the_wait_and_leaves_no_lock(database: Path, start: StartWorker) -> None:
    holder = start("hold", database, "write")
    assert holder.hear() == "open"
    waiting = start("add", database)
    assert waiting.hear() == "waits"
    waiting.process.send_signal(signal.SIGINT)
    assert waiting.end() != 0
    late = start("count", database)
    assert late.hear() == "waits"
    holder.tell()
    assert late.hear() == "0"


def test_a_forked_child_that_leaves_the_block_does_not_unlock_the_parent(database: Path, start: StartWorker) -> None:
    parent = start("fork_and_leave", database)
    assert parent.hear() == "0"
    assert is_locked(database, fcntl.LOCK_SH)
    assert locks.holder_path(database).read_text() == f"{parent.pid}\n"
    parent.tell()
    assert parent.hear() == "closed"
    assert count(database) == 1


def test_a_child_forked_inside_a_block_is_told_so(database: Path, start: StartWorker) -> None:
    assert start("fork_and_use", database).hear() == "0"


def test_a_child_forked_outside_of_blocks_uses_the_door(database: Path, start: StartWorker) -> None:
    parent = start("fork_when_closed", database)
    assert [parent.hear(), parent.hear()] == ["0", "closed"]
    assert count(database) == 3


def test_a_forked_child_does_not_keep_the_lock_of_a_killed_parent(database: Path, start: StartWorker) -> None:
    parent = start("fork_and_survive", database)
    child = int(parent.hear())
    try:
        assert is_locked(database)
        parent.kill()
        assert not is_locked(database)
    finally:
        os.kill(child, signal.SIGKILL)


def test_threads_queue_by_the_same_rule(database: Path) -> None:
    inside = threading.Lock()
    violations: list[str] = []

    def work() -> None:
        for _ in range(20):
            with locks.database_lock(database, exclusive=True, notify=violations.append):
                if not inside.acquire(blocking=False):
                    violations.append("two threads were in")
                    return
                inside.release()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert violations == []


def test_a_lock_file_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    lock = locks.database_lock(tmp_path / "file" / "ops.duckdb", exclusive=True, notify=print)
    with pytest.raises(DatabaseError, match=r"ops\.duckdb\.lock cannot be opened \(Not a directory\)"), lock:
        pass
