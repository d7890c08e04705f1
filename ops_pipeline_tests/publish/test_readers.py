"""Readers and publishers beside each other, in processes of their own: nobody waits, nobody loses a file, and kill -9 costs nothing."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ops_pipeline import read
from ops_pipeline.engine.published import publish_now
from ops_pipeline.publish.versions import Versions
from ops_pipeline_tests.engine.home import JANUARY, make_home, run
from ops_pipeline_tests.publish.test_publish import published, stored

PROJECT = Path(__file__).parents[2]
BOUNDARIES = (
    "publishing %d tables",
    "published %s",
    "completing the version",
    "swapping the version",
    "swapped the version",
)

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def january(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that holds January, published; for copying only."""
    folder = tmp_path_factory.mktemp("january") / "home"
    context = make_home(folder)
    run(context, today=JANUARY)
    publish_now(context)
    return folder


@pytest.fixture(scope="module")
def february(january: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same after a run that is not published yet; for copying only."""
    folder = Path(shutil.copytree(january, tmp_path_factory.mktemp("february") / "home", symlinks=True))
    run(make_home(folder))
    return folder


@pytest.fixture
def home(january: Path, tmp_path: Path) -> Path:
    """A copy of January, which the test may change."""
    return Path(shutil.copytree(january, tmp_path / "home", symlinks=True))


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a worker."""
    started: list[subprocess.Popen[str]] = []

    def one(*arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "ops_pipeline_tests.publish.worker", *map(str, arguments)],
            cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield one
    for process in started:
        process.kill()
        process.communicate()


def test_a_notebook_and_a_bi_tool_stay_open_throughout_a_run(home: Path, start: Start) -> None:
    context = make_home(home, publish_keep_minutes=0)
    readers = [start("notebook", home), start("bi_tool", home)]
    for reader in readers:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "open\n"
    with read.lake(home) as lake:
        rows, version = lake.gold("fact_eod").rows, lake.version
    run(context)
    assert publish_now(context).removed == []
    with read.lake(home) as lake:
        assert lake.gold("fact_eod").rows > rows
    # The notebook ends first: the BI tool alone keeps the version.
    assert readers[0].communicate("\n")[0] == f"{rows} {rows}\n"
    assert publish_now(context, whole=True).removed != [version]
    assert (home / "published" / "versions" / version).is_dir()
    assert readers[1].communicate("\n")[0] == f"{rows}\n"
    # This test's own leases went with their blocks, and the processes' with them.
    removed = publish_now(context, whole=True).removed
    assert version in removed
    assert Versions(home / "published").lease(version) is None
    assert len(Versions(home / "published").all()) == 1


def test_a_replaced_version_stays_for_those_who_tell_nobody(home: Path) -> None:
    kept = make_home(home, publish_keep_minutes=10)
    publish_now(kept)
    first = read.lake(home)
    first.close()
    assert publish_now(kept, whole=True).removed == []
    assert first.folder.is_dir()
    assert first.version in publish_now(make_home(home, publish_keep_minutes=0), whole=True).removed
    assert not first.folder.exists()


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_killed_at_a_boundary(boundary: str, february: Path, tmp_path: Path, start: Start) -> None:
    home = Path(shutil.copytree(february, tmp_path / "home", symlinks=True))
    context = make_home(home, publish_keep_minutes=0)
    now = stored(context)
    with read.lake(home) as lake:
        before, january = lake.version, published(lake)
    assert january != now
    assert start("killed", home, boundary).wait() == -signal.SIGKILL
    with read.lake(home) as lake:
        swapped = boundary == "swapped the version"
        assert (lake.version > before) is swapped
        assert published(lake) == (now if swapped else january)
    publish_now(context, whole=True)
    with read.lake(home) as lake:
        assert published(lake) == now
        assert [path.name for path in (home / "published" / "versions").iterdir()] == [lake.version]


def test_what_is_not_there_is_told(home: Path) -> None:
    with pytest.raises(read.ReadError, match="version nonsense is not there"):
        read.lake(home, version="nonsense")
    with pytest.raises(read.ReadError, match=r"There are: gold\.dim_date"):
        read.gold("fact_bonds", home=home)
    with pytest.raises(read.ReadError, match=r"vendor\.prices, vendor\.rates"):
        read.silver("vendor.bonds", home=home)
    shutil.rmtree(home / "published" / "versions")
    with pytest.raises(read.ReadError, match="ops-pipeline publish"):
        read.lake(home)
    context = make_home(home)
    publish_now(context)
    with read.lake(home) as lake:
        assert published(lake) == stored(context)


def test_every_library_reads_the_same_rows(home: Path) -> None:
    table = read.gold("fact_eod", home=home)
    wanted = ["date", "close", "volume", "known_at"]
    by_arrow = table.arrow().to_table(columns=wanted)
    by_polars = table.polars().select(wanted).collect().to_arrow()
    by_pandas = table.pandas(columns=wanted)
    by_duckdb = table.duckdb().project(", ".join(wanted)).to_arrow_table()
    assert len(by_arrow) == table.rows > 0
    assert by_polars.cast(by_arrow.schema).equals(by_arrow)
    assert by_duckdb.cast(by_arrow.schema).equals(by_arrow)
    assert list(by_pandas["close"]) == by_arrow["close"].to_pylist()
    assert str(by_pandas["date"].dtype).startswith("datetime64")
    assert [str(kind) for kind in by_arrow.schema.types] == ["date32[day]", "double", "int64", "timestamp[us, tz=UTC]"]
    assert repr(table).startswith(f"<gold.fact_eod: {table.rows} rows; instrument_id VARCHAR, date DATE")
    import pyarrow.compute as pc

    assert set(table.pandas(filter=pc.field("close") > 50)["close"] > 50) == {True}


def test_a_library_that_is_not_installed_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(read.ReadError, match="pip install polars"):
        read.gold("fact_eod", home=home).polars()
