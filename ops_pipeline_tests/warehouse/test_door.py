from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops_pipeline.errors import DatabaseError, SchemaVersionError
from ops_pipeline.warehouse import CATALOG, Warehouse, WarehouseUsageError, log
from ops_pipeline.warehouse.instance import ROW_GROUP_ROWS
from ops_pipeline_tests.warehouse.conftest import StartWorker, is_locked, is_open_in_this_process


def numbers(database: Path) -> list[int]:
    with Warehouse(database).reading() as connection:
        return [row[0] for row in connection.execute("SELECT number FROM facts ORDER BY ALL").fetchall()]


def insert(connection: duckdb.DuckDBPyConnection, number: int) -> None:
    connection.execute("INSERT INTO facts VALUES (0, ?)", [number])


def test_the_first_write_makes_the_folder_and_the_file(tmp_path: Path) -> None:
    database = tmp_path / "a" / "b" / "ops.duckdb"
    with Warehouse(database).transaction() as connection:
        connection.execute("CREATE SCHEMA ops; CREATE TABLE ops.facts AS SELECT 1 AS number")
    with Warehouse(database).reading() as connection:
        # The file is called like its schema, which DuckDB takes for ambiguous when it opens the file under its own name.
        assert connection.execute("SELECT number FROM ops.facts").fetchall() == [(1,)]
        assert connection.execute("SELECT number FROM warehouse.ops.facts").fetchall() == [(1,)]
    assert sorted(path.name for path in database.parent.iterdir()) == [
        "ops.duckdb",
        "ops.duckdb.lock",
        "ops.duckdb.turnstile",
        "ops.duckdb.wal",
    ]


def test_a_connection_is_in_utc_and_fetches_no_extension(database: Path) -> None:
    for connection in (Warehouse(database).reading(), Warehouse(database).connection()):
        with connection as opened:
            for each in (opened, opened.cursor()):
                each.execute(f"USE {CATALOG}")
                asked = each.execute("SELECT current_setting('TimeZone'), current_setting('autoinstall_known_extensions')")
                assert asked.fetchall() == [("UTC", False)]


def test_a_cursor_of_the_connection_needs_to_be_told_where_it_is(database: Path) -> None:
    for _ in range(2):
        with Warehouse(database).connection() as connection:
            cursor = connection.cursor()
            with pytest.raises(duckdb.Error, match=r"[Cc]atalog .* does not exist"):
                cursor.execute("CREATE TABLE lost (i INTEGER)")
            cursor.execute(f"USE {CATALOG}")
            insert(cursor, 1)
    assert numbers(database) == [1, 1]


def test_a_reader_cannot_write(database: Path) -> None:
    with Warehouse(database).reading() as connection, pytest.raises(duckdb.InvalidInputException, match="read-only"):
        insert(connection, 1)


def test_a_transaction_commits_and_an_exception_rolls_back(database: Path) -> None:
    with Warehouse(database).transaction() as connection:
        insert(connection, 1)
    for exception in (ValueError, KeyboardInterrupt, GeneratorExit):
        with pytest.raises(exception), Warehouse(database).transaction() as connection:
            insert(connection, 2)
            raise exception
    assert numbers(database) == [1]


def test_a_connection_without_commit_drops_its_open_transaction(database: Path) -> None:
    with Warehouse(database).connection() as connection:
        connection.execute("BEGIN")
        insert(connection, 1)
    assert numbers(database) == []


def test_nested_blocks_share_the_connection_and_only_the_outermost_commits(database: Path) -> None:
    warehouse, again = Warehouse(database), Warehouse(database)
    with warehouse.reading() as one, again.reading() as two:
        assert one is two
    with warehouse.transaction() as one:
        with again.transaction() as two, again.connection() as three, again.reading() as four:
            assert one is two is three is four
            insert(four, 1)
        assert is_locked(database)
        one.execute("SELECT 1")
    assert numbers(database) == [1]
    with pytest.raises(ValueError, match="late"), warehouse.transaction() as one:
        with again.transaction() as two:
            insert(two, 2)
        raise ValueError("late")
    assert numbers(database) == [1]
    with warehouse.connection() as one:
        with again.transaction() as two:
            insert(two, 3)
        with pytest.raises(ValueError, match="late"), again.transaction() as two:
            insert(two, 4)
            raise ValueError("late")
    assert numbers(database) == [1, 3]


def test_a_failed_inner_block_cannot_be_committed(database: Path) -> None:
    warehouse = Warehouse(database)
    with pytest.raises(WarehouseUsageError, match="swallowed"), warehouse.transaction() as outer:
        insert(outer, 1)
        with pytest.raises(ValueError, match="inner"), warehouse.transaction() as inner:
            insert(inner, 2)
            raise ValueError("inner")
    assert numbers(database) == []
    with warehouse.transaction() as connection:
        insert(connection, 3)
    assert numbers(database) == [3]


def test_a_read_cannot_become_a_write(database: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.duckdb"
    link.symlink_to(database)
    with Warehouse(database).reading() as connection:
        for opened in (Warehouse(database).connection(), Warehouse(link).transaction()):
            with pytest.raises(WarehouseUsageError, match="open it for writing first"), opened:
                pass
        assert connection.execute("SELECT count(*) FROM facts").fetchall() == [(0,)]
    assert issubclass(WarehouseUsageError, RuntimeError)
    assert not is_locked(database)


BLOCKS: dict[str, Callable[[Warehouse], AbstractContextManager[duckdb.DuckDBPyConnection]]] = {
    "reading": lambda warehouse: warehouse.reading(),
    "connection": lambda warehouse: warehouse.connection(),
    "transaction": lambda warehouse: warehouse.transaction(),
}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(blocks=st.lists(st.sampled_from(sorted(BLOCKS)), max_size=5), fails=st.booleans())
def test_any_nesting_works_or_is_refused_and_leaves_nothing_open(database: Path, blocks: list[str], fails: bool) -> None:
    warehouse = Warehouse(database)
    refused = blocks[:1] == ["reading"] and set(blocks) != {"reading"}
    connections: list[duckdb.DuckDBPyConnection] = []
    expected = WarehouseUsageError if refused else ZeroDivisionError if fails else None
    with pytest.raises(expected) if expected else nullcontext(), ExitStack() as stack:
        connections.extend(stack.enter_context(BLOCKS[block](warehouse)) for block in blocks)
        if fails:
            raise ZeroDivisionError
    assert len({id(connection) for connection in connections}) <= 1
    assert not is_locked(database)
    assert not is_open_in_this_process(database)


def test_an_exception_leaves_nothing_open_even_while_its_traceback_is_kept(database: Path, start: StartWorker) -> None:
    with Warehouse(database).transaction() as connection:
        connection.execute("INSERT INTO facts SELECT i, i FROM range(1000000) r(i)")

    def work(connection: duckdb.DuckDBPyConnection) -> None:
        relation = connection.sql("FROM facts")
        relation.fetchone()
        reader = connection.execute("FROM facts").to_arrow_reader(1000)
        reader.read_next_batch()
        raise ValueError

    for opened in (Warehouse(database).reading(), Warehouse(database).connection(), Warehouse(database).transaction()):
        with pytest.raises(ValueError) as kept, opened as connection:
            work(connection)
        assert kept.tb is not None
        assert not is_open_in_this_process(database)
        other = start("foreign", database, "write")
        assert other.hear() == "open"
        other.tell()
        assert other.hear() == "closed"


def test_a_cursor_that_is_still_read_after_the_block_is_a_fault_of_the_program(database: Path) -> None:
    warehouse = Warehouse(database)
    with warehouse.transaction() as connection:
        connection.execute("INSERT INTO facts SELECT i, i FROM range(1000000) r(i)")
    with warehouse.reading() as connection:
        reader = connection.cursor().execute(f"FROM {CATALOG}.facts").to_arrow_reader(1000)
        reader.read_next_batch()
    with pytest.raises(WarehouseUsageError, match="still referenced"), warehouse.connection():
        pass
    del reader
    with warehouse.connection():
        pass


def in_threads(*works: Callable[[], None]) -> None:
    failures: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed over to the main thread
            failures.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def test_threads_read_at_once_on_connections_of_their_own(database: Path) -> None:
    together = threading.Barrier(3)
    connections: list[duckdb.DuckDBPyConnection] = []

    def read() -> None:
        with Warehouse(database).reading() as connection:
            together.wait()
            assert connection.execute("SELECT count(*) FROM facts").fetchall() == [(0,)]
            connections.append(connection)
            together.wait()

    in_threads(read, read, read)
    assert len({id(connection) for connection in connections}) == 3
    assert not is_open_in_this_process(database)


def test_a_writing_thread_waits_for_readers_and_is_not_starved_by_them(database: Path) -> None:
    done = threading.Event()

    def write() -> None:
        try:
            for number in range(20):
                with Warehouse(database).transaction() as connection:
                    insert(connection, number)
        finally:
            done.set()

    def read() -> None:
        seen = 0
        while not done.is_set():
            with Warehouse(database).reading() as connection:
                rows = connection.execute("SELECT count(*) FROM facts").fetchall()[0][0]
                assert rows >= seen
                seen = rows

    in_threads(write, read, read, read)
    assert numbers(database) == list(range(20))


def test_writing_threads_take_turns(database: Path) -> None:
    def write() -> None:
        for _ in range(10):
            with Warehouse(database).transaction() as connection:
                [(rows,)] = connection.execute("SELECT count(*) FROM facts").fetchall()
                insert(connection, rows)

    in_threads(write, write, write)
    assert numbers(database) == list(range(30))


@pytest.fixture
def migrated(tmp_path: Path) -> Path:
    path = tmp_path / "migrated.duckdb"
    with Warehouse(path, schema_version=1).transaction() as connection:
        connection.execute(
            "CREATE SCHEMA ops; CREATE TABLE ops.schema_migrations (version INTEGER); CREATE TABLE facts (i INTEGER)"
        )
        connection.execute("INSERT INTO ops.schema_migrations VALUES (1), (3)")
    return path


def test_newer_schema_is_refused_on_every_open(migrated: Path) -> None:
    older = Warehouse(migrated, schema_version=2)
    for opened in (older.reading(), older.connection(), older.transaction()):
        with pytest.raises(SchemaVersionError, match=r"has schema version 3, and .* only up to 2"), opened:
            raise AssertionError("not reached")
    with pytest.raises(SchemaVersionError):
        older.checkpoint()
    assert not is_locked(migrated)
    with older.connection(check_schema=False), Warehouse(migrated).connection():
        pass
    with Warehouse(migrated, schema_version=3).reading(), Warehouse(migrated, schema_version=4).reading():
        pass


def test_an_empty_schema_table_is_no_newer_one(migrated: Path) -> None:
    with Warehouse(migrated).transaction() as connection:
        connection.execute("DELETE FROM ops.schema_migrations")
    with Warehouse(migrated, schema_version=0).reading():
        pass


def test_a_schema_table_of_somebody_else_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "other.duckdb"
    with Warehouse(path).transaction() as connection:
        connection.execute("CREATE SCHEMA ops; CREATE TABLE ops.schema_migrations (name TEXT)")
    with pytest.raises(DatabaseError, match="not one of ours"), Warehouse(path, schema_version=1).connection():
        pass


def test_few_rows_are_written_on_one_thread_and_a_run_shares_the_processors(database: Path) -> None:
    def threads(opened: AbstractContextManager[duckdb.DuckDBPyConnection]) -> int:
        with opened as connection:
            return int(connection.execute("SELECT current_setting('threads')").fetchall()[0][0])

    warehouse = Warehouse(database)
    everything = threads(warehouse.reading())
    assert threads(warehouse.transaction(few_rows=True)) == 1
    assert threads(warehouse.transaction()) == everything
    assert threads(warehouse.transaction(few_rows=True)) == 1
    with warehouse.transaction():
        assert threads(warehouse.transaction(few_rows=True)) == everything
    assert threads(warehouse.reading()) == everything
    assert threads(warehouse.connection(threads="half")) == max(1, everything // 2)
    assert threads(warehouse.reading()) == everything


def groups_of(database: Path) -> list[int]:
    with Warehouse(database).reading() as connection:
        found = connection.execute(
            """SELECT sum(count) FROM pragma_storage_info('facts') WHERE column_name = 'number' AND segment_type <> 'VALIDITY'
            GROUP BY row_group_id ORDER BY row_group_id"""
        ).fetchall()
    return [int(rows) for (rows,) in found]


def test_row_groups_are_small_also_behind_a_large_one_of_another_program(database: Path) -> None:
    with duckdb.connect(str(database)) as connection:
        connection.execute("INSERT INTO facts SELECT 0, i FROM range(50000) r(i)")
    warehouse = Warehouse(database)
    for first in (50_000, 90_000):
        with warehouse.transaction() as connection:
            connection.execute("INSERT INTO facts SELECT 0, i FROM range(?, ?) r(i)", [first, first + 40_000])
        warehouse.checkpoint()
    assert numbers(database) == list(range(130_000))
    groups = groups_of(database)
    assert groups[0] == 50_000
    assert all(rows <= ROW_GROUP_ROWS for rows in groups[1:])


def test_small_commits_do_not_leave_a_group_of_rows_each(database: Path) -> None:
    warehouse = Warehouse(database)
    for _ in range(40):
        with warehouse.transaction() as connection:
            connection.execute("INSERT INTO facts SELECT 0, i FROM range(500) r(i)")
        warehouse.checkpoint()
    rows = groups_of(database)
    assert sum(rows) == 20_000
    assert len(rows) <= 4


def test_a_fold_joins_a_few_groups_and_leaves_the_others_to_the_next_ones(database: Path) -> None:
    warehouse = Warehouse(database)
    for _ in range(24):
        with warehouse.transaction() as connection:
            connection.execute(f"INSERT INTO facts SELECT 0, i FROM range({ROW_GROUP_ROWS + 2_000}) r(i)")
    counts = []
    for _ in range(3):
        warehouse.checkpoint()
        rows = groups_of(database)
        assert sum(rows) == 24 * (ROW_GROUP_ROWS + 2_000)
        counts.append(len(rows))
    assert 40 < counts[0] <= 48  # two tasks join six groups at most
    assert counts[0] >= counts[1] >= counts[2]


def test_the_log_is_folded_when_it_is_long_or_on_demand(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Path(f"{database}.wal")
    warehouse = Warehouse(database)
    with warehouse.transaction() as connection:
        insert(connection, 1)
    assert file.exists()
    warehouse.checkpoint()
    assert not file.exists()
    with warehouse.transaction() as connection:
        # Few enough rows for the log: DuckDB writes whole row groups straight to the file.
        connection.execute("INSERT INTO facts SELECT hash(random()) % 1000000000, i FROM range(5000) r(i)")
    assert file.stat().st_size < log.FOLD_LOG_BYTES
    monkeypatch.setattr(log, "FOLD_LOG_BYTES", file.stat().st_size)
    with warehouse.connection() as connection:
        insert(connection, 2)
        connection.execute("BEGIN")
    assert not file.exists()
    assert len(numbers(database)) == 5_002


@given(st.floats(0, 1000), st.floats(0, 1000))
def test_the_log_may_grow_longer_where_a_fold_takes_longer_and_never_without_end(one: float, other: float) -> None:
    shorter, longer = sorted((one, other))
    assert log.FOLD_LOG_BYTES <= log.log_limit(shorter) <= log.log_limit(longer) <= log.LONGEST_LOG_BYTES


def test_the_log_gets_what_is_left_of_an_almost_full_disk(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "FOLD_LOG_BYTES", 0)
    room = log.ROOM_TO_FOLD_BYTES
    for needed, folded in ((2**62, False), (room, True)):
        monkeypatch.setattr(log, "ROOM_TO_FOLD_BYTES", needed)
        with Warehouse(database).transaction() as connection:
            insert(connection, 1)
        assert Path(f"{database}.wal").exists() is not folded


def test_a_log_that_cannot_be_folded_fails_nothing(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "FOLD_LOG_BYTES", 0)
    sentences: list[str] = []
    with Warehouse(database, notify=sentences.append).connection() as connection:
        insert(connection, 1)
        connection.close()
    assert len(sentences) == 1
    assert "could not be folded" in sentences[0]
    assert numbers(database) == [1]
