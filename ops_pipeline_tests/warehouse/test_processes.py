from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ops_pipeline.errors import DatabaseBusyError
from ops_pipeline.warehouse import Warehouse, locks
from ops_pipeline_tests.warehouse.conftest import StartWorker, is_locked

READERS = 4
WRITES = 10


@pytest.mark.parametrize("writers", [2, 8])
def test_writers_under_constant_readers_all_finish_and_lose_nothing(
    database: Path, tmp_path: Path, start: StartWorker, writers: int
) -> None:
    stop = tmp_path / "stop"
    reading = [start("read", database, stop) for _ in range(READERS)]
    writing = [start("write", database, writer, WRITES) for writer in range(writers)]
    for worker in reading + writing:
        assert worker.hear() == "ready"
    for worker in reading + writing:
        worker.tell()
    # The readers go on until the last writer is done: one that starved would never be.
    assert [worker.hear() for worker in writing] == ["done"] * writers
    stop.touch()
    assert all(int(worker.hear()) > 0 for worker in reading)
    assert [worker.end() for worker in reading + writing] == [0] * (READERS + writers)
    with Warehouse(database).reading() as connection:
        rows = connection.execute("SELECT writer, number FROM facts ORDER BY ALL").fetchall()
    assert rows == [(writer, number) for writer in range(writers) for number in range(WRITES)]


@pytest.mark.parametrize("mode", ["read", "write"])
def test_a_foreign_process_is_named_and_given_up_on(database: Path, start: StartWorker, mode: str) -> None:
    tool = start("foreign", database, mode)
    assert tool.hear() == "open"
    with pytest.raises(DatabaseBusyError) as raised, Warehouse(database, wait_seconds=0.2).connection():
        pass
    sentence = str(raised.value)
    assert str(database) in sentence
    assert f"process {tool.pid}" in sentence
    assert "0.2 s" in sentence
    assert "close the notebook or database tool" in sentence
    assert not is_locked(database)


@pytest.mark.parametrize("mode", ["read", "write"])
def test_a_foreign_process_is_waited_for_and_told_of(
    database: Path, start: StartWorker, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(locks, "FIRST_NOTICE_SECONDS", 0.1)
    tool = start("foreign", database, mode)
    assert tool.hear() == "open"
    sentences: list[str] = []

    def notify(sentence: str) -> None:
        sentences.append(sentence)
        tool.tell()

    with Warehouse(database, notify=notify).transaction() as connection:
        connection.execute("INSERT INTO facts VALUES (1, 1)")
    assert f"process {tool.pid} has it open" in sentences[0]
    assert len(sentences) == 1


def test_a_read_beside_a_foreign_reader_simply_works(database: Path, start: StartWorker) -> None:
    assert start("foreign", database, "read").hear() == "open"
    with Warehouse(database, wait_seconds=0).reading() as connection:
        assert connection.execute("SELECT count(*) FROM facts").fetchall() == [(0,)]


def test_our_readers_go_on_while_our_writer_waits_for_a_foreign_reader(
    database: Path, start: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "FIRST_NOTICE_SECONDS", 0.1)
    tool = start("foreign", database, "read")
    assert tool.hear() == "open"
    waits, written = threading.Event(), threading.Event()

    def write() -> None:
        with Warehouse(database, notify=lambda _: waits.set()).transaction() as connection:
            connection.execute("INSERT INTO facts VALUES (1, 1)")
        written.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert waits.wait(60)
    with Warehouse(database).reading() as connection:
        assert connection.execute("SELECT count(*) FROM facts").fetchall() == [(0,)]
    assert not written.is_set()
    tool.tell()
    writer.join()
    assert written.is_set()


def test_a_foreign_process_can_have_the_file_as_soon_as_a_block_has_ended(database: Path, start: StartWorker) -> None:
    with Warehouse(database).reading():
        pass
    assert start("foreign", database, "write").hear() == "open"
