"""What is published is what the database held at one moment, and costs what changed."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ops_pipeline import read
from ops_pipeline.engine.context import Context, steps
from ops_pipeline.engine.published import publish_after_run, publish_now
from ops_pipeline.errors import DatabaseMissingError, SettingsError
from ops_pipeline.publish import database
from ops_pipeline.publish.database import PublishError
from ops_pipeline.publish.selection import Selection
from ops_pipeline.publish.versions import Versions
from ops_pipeline.settings import load_settings
from ops_pipeline_tests.engine.home import JANUARY, PRICES, RATES, key, make_home, run

GOLD = "gold.fact_eod"


@pytest.fixture(scope="module")
def january(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that holds January, published; for copying only."""
    folder = tmp_path_factory.mktemp("january")
    context = make_home(folder)
    run(context, today=JANUARY)
    publish_now(context)
    return folder


@pytest.fixture
def home(january: Path, tmp_path: Path) -> Path:
    """A copy of it, which the test may change."""
    return Path(shutil.copytree(january, tmp_path / "home", symlinks=True))


def stored(context: Context) -> dict[str, list[tuple[str, ...]]]:
    """Every row of silver and gold in the database, every column, as text."""
    with context.warehouse.reading() as connection:
        names = connection.execute(
            "SELECT schema_name || '.' || table_name FROM duckdb_tables() WHERE schema_name IN ('silver', 'gold') ORDER BY 1"
        ).fetchall()
        return {name: texts(connection, f"SELECT * FROM {name}") for (name,) in names}


def texts(connection: duckdb.DuckDBPyConnection, query: str) -> list[tuple[str, ...]]:
    columns = connection.execute(f"SELECT COLUMNS(*)::VARCHAR FROM ({query}) ORDER BY ALL")
    return [tuple(map(str, row)) for row in columns.fetchall()]


def published(lake: read.Lake) -> dict[str, list[tuple[str, ...]]]:
    """The same of a version, by its views."""
    return {table.name: texts(lake.duckdb(), f"SELECT * FROM {table.name}") for table in lake.tables()}


def files(lake: read.Lake) -> set[Path]:
    return {path.relative_to(lake.folder) for table in lake.tables() for path in table.files}


def test_a_version_holds_every_row_of_silver_and_gold(home: Path) -> None:
    context = make_home(home)
    with read.lake(home) as lake:
        assert published(lake) == stored(context)
        assert all(sum(1 for _ in published(lake)[t.name]) == t.rows for t in lake.tables())


def test_a_run_makes_a_version_and_an_open_one_stays_as_it_is(home: Path) -> None:
    context = make_home(home)
    with read.lake(home) as before:
        rows, names = published(before), files(before)
        run(context)
        report = publish_now(context)
        assert report.created
        with read.lake(home) as after:
            assert after.version == report.version > before.version
            assert published(after) == stored(context)
            assert report.shared == len(files(after) & names) > 0
            assert len(report.written) == len(files(after) - names) > 0
        assert published(before) == rows


def test_nothing_is_written_where_nothing_changed(home: Path) -> None:
    context = make_home(home)
    version = publish_now(context).version
    seen = {path: path.lstat().st_mtime_ns for path in context.settings.published_path.rglob("*")}
    report = publish_now(context)
    assert (report.version, report.created, report.written) == (version, False, [])
    assert {path: path.lstat().st_mtime_ns for path in context.settings.published_path.rglob("*")} == seen
    # The database was written, but for the ledger nothing is another than before: compared, and found to be the same.
    run(context, key("DOWN"), today=JANUARY)
    report = publish_now(context)
    assert (report.version, report.created, report.written) == (version, False, [])
    assert len(Versions(context.settings.published_path).all()) == 2


def test_no_database_is_told(tmp_path: Path) -> None:
    context = make_home(tmp_path / "home")
    context.settings.database_path.unlink()
    with pytest.raises(DatabaseMissingError, match="ops-pipeline run"):
        publish_now(context)
    assert publish_after_run(context, pytest.fail) is None


@pytest.mark.parametrize(("setting", "chosen"), [
    ("gold", lambda name: name.startswith("gold.")),
    ("silver, gold, -silver.*_history", lambda name: not name.endswith("_history")),
    ("gold.fact_*", lambda name: name.startswith("gold.fact_")),
])  # fmt: skip
def test_the_setting_chooses_the_tables(setting: str, chosen: Callable[[str], bool], home: Path) -> None:
    with read.lake(home) as lake:
        names = {table.name for table in lake.tables() if chosen(table.name)}
    publish_now(make_home(home, publish=setting))
    with read.lake(home) as lake:
        assert {table.name for table in lake.tables()} == names
    assert "gold.fact_eod" in Selection(setting)


def test_publishing_can_be_turned_off(tmp_path: Path) -> None:
    context = make_home(tmp_path / "home", publish="none")
    run(context, key())
    assert publish_after_run(context, pytest.fail) is None
    assert not context.settings.published_path.exists()


@pytest.mark.parametrize("wrong", ["sliver", "gold, none", "gold.fact eod", "ops.file_ingestions", "gold,,silver"])
def test_a_setting_that_names_nothing_is_refused(wrong: str) -> None:
    with pytest.raises(SettingsError, match="the option for publish has the value"):
        load_settings(publish=wrong)


def test_a_file_that_lost_its_end_is_written_again(home: Path) -> None:
    context = make_home(home)
    with read.lake(home) as lake:
        damaged = lake.gold("fact_fx").files[0]
        damaged.write_bytes(damaged.read_bytes()[:100])
    run(context, key())
    publish_now(context)
    with read.lake(home) as lake:
        assert published(lake) == stored(context)


def test_a_folder_that_cannot_be_written_fails_no_run(tmp_path: Path) -> None:
    context = make_home(tmp_path / "home")
    run(context, key())
    context.settings.published_path.write_text("in the way")
    told: list[str] = []
    assert publish_after_run(context, told.append) is None
    assert "not published: " in told[0]
    assert "`ops-pipeline publish` tries again" in told[0]
    with pytest.raises(PublishError, match="published before stays"):
        publish_now(context)


@pytest.mark.parametrize("symlinks", [True, False], ids=["links kept", "links followed"])
def test_a_moved_data_folder_is_published_anew(symlinks: bool, january: Path, tmp_path: Path) -> None:
    strange = Path(shutil.copytree(january, tmp_path / "a [b] *'c", symlinks=symlinks))
    context = make_home(strange)
    report = publish_now(context)
    assert report.created
    with read.lake(strange) as lake:
        assert published(lake) == stored(context)
        assert lake.gold("fact_eod").duckdb().count("*").fetchall() == [(lake.gold("fact_eod").rows,)]
        assert lake.gold("fact_eod").polars().collect().height == lake.gold("fact_eod").rows


class Writing(logging.Handler):
    """Has another thread write as soon as the first part is read: it gets in before the next opening."""

    def __init__(self, context: Context, times: int) -> None:
        super().__init__(logging.DEBUG)
        self.context, self.times = context, times
        self.threads: list[threading.Thread] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == "published %s" and len(self.threads) < self.times:
            turnstile = Path(f"{self.context.settings.database_path.resolve()}.turnstile")
            before = turnstile.read_bytes()[:8]
            thread = threading.Thread(target=self._write, args=[len(self.threads)])
            self.threads.append(thread)
            thread.start()
            # Until it stands in line for the database, which the publisher has open.
            while turnstile.read_bytes()[:8] == before:
                time.sleep(0.001)

    def _write(self, number: int) -> None:
        moved = f"close = {1000 + number}"
        with self.context.warehouse.transaction() as connection:
            connection.execute(f"UPDATE silver.vendor_prices SET {moved}, ingested_at = now() WHERE ticker = 'AAA'")
            connection.execute(f"UPDATE gold.fact_eod SET {moved}, built_at = now() WHERE source = 'vendor'")


@pytest.fixture
def writing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(database, "HOLD_SECONDS", 0.0)
    before = steps.level
    steps.setLevel(logging.DEBUG)
    handlers: list[Writing] = []

    def start(context: Context, times: int) -> Writing:
        handlers.append(Writing(context, times))
        steps.addHandler(handlers[-1])
        return handlers[-1]

    yield start
    for handler in handlers:
        steps.removeHandler(handler)
    steps.setLevel(before)


@pytest.mark.parametrize("times", [1, 30])
def test_what_is_written_meanwhile_is_in_the_version_whole_or_not_at_all(times: int, home: Path, writing: Any) -> None:
    """At 30 somebody writes during every round but the last, which is a single opening."""
    context = make_home(home)
    shutil.rmtree(context.settings.published_path)
    handler = writing(context, times)
    publish_now(context)
    handler.times = 0
    assert handler.threads
    for thread in handler.threads:
        thread.join()
    with read.lake(home) as lake:
        silver = (
            lake.duckdb().sql("SELECT DISTINCT close FROM silver.vendor_prices WHERE ticker = 'AAA' AND close >= 1000").fetchall()
        )
        gold = lake.duckdb().sql("SELECT DISTINCT close FROM gold.fact_eod WHERE close >= 1000").fetchall()
        assert silver == gold
        assert len(silver) == 1
    publish_now(context)
    with read.lake(home) as lake:
        assert published(lake) == stored(context)


def test_two_datasets_and_their_histories_are_found_by_their_keys(home: Path) -> None:
    with read.lake(home) as lake:
        assert lake.silver(RATES).name == "silver.vendor_rates"
        assert lake.silver(RATES).dataset == RATES
        assert lake.history(RATES).name == "silver.vendor_rates_history"
        assert lake.gold("gold.fact_eod").name == lake.gold("fact_eod").name == GOLD
        assert isinstance(lake.created_at, datetime)
        comment = next(c.comment for c in lake.gold("fact_eod").columns if c.name == "log_return")
        assert comment is not None
        assert comment.startswith("ln(")
        (described,) = (
            lake.duckdb()
            .execute("SELECT comment FROM duckdb_columns() WHERE table_name = 'fact_eod' AND column_name = 'log_return'")
            .fetchall()
        )
        assert described == (comment,)


def test_as_of_reads_from_a_version_what_the_database_knew_then(home: Path) -> None:
    context = make_home(home)
    between = datetime.now(UTC)
    run(context)
    publish_now(context)
    with context.warehouse.reading() as connection:
        moment = f"TIMESTAMPTZ '{between.isoformat()}'"
        expected = {name: texts(connection, f"SELECT * FROM {name}_as_of({moment})") for name in (GOLD, "silver.vendor_prices")}
    with read.lake(home) as lake:
        for name, told in ((GOLD, GOLD), ("silver.vendor_prices", PRICES)):
            found = lake.as_of(told, between)
            assert found.columns[0] in ("instrument_id", "ticker")
            assert sorted(tuple(map(str, row)) for row in found.project("COLUMNS(*)::VARCHAR").fetchall()) == sorted(
                expected[name]
            )
            assert 0 < len(expected[name]) < lake.table(name).rows
        with pytest.raises(read.ReadError, match="has no zone"):
            lake.as_of(GOLD, datetime(2024, 1, 1))  # noqa: DTZ001 - the fault
        with pytest.raises(read.ReadError, match="has no history"):
            lake.as_of("gold.dim_date", between)
    publish_now(make_home(home, publish="gold"))
    with pytest.raises(read.ReadError, match="has no history"):
        read.as_of(GOLD, between, home=home)


def test_versions_sort_also_when_the_clock_is_set_back(home: Path) -> None:
    versions = Versions(home / "published")
    current = versions.current()
    assert current is not None
    assert versions.new_folder(datetime(2001, 1, 1)).name > current.name  # noqa: DTZ001 - any time before
