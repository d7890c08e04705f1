"""Disks that refuse in the middle of a run: one sentence, nothing half-written, and the next run heals.

Belongs here: full disks, folders that are none. Does not belong here: what each layer says by itself (their own tests).
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from ops_pipeline.engine.context import Context
from ops_pipeline.errors import BronzeError, UserError
from ops_pipeline.sources import Answer, Request
from ops_pipeline_tests.bronze.test_disk import mounted
from ops_pipeline_tests.engine.conftest import Start
from ops_pipeline_tests.engine.home import FEBRUARY, assert_tidy, bronze_files, contents, key, latest, make_home, run
from ops_pipeline_tests.engine.vendor import Vendor, big, market

TICKERS = tuple(f"T{k}" for k in range(8))
KEYS = [key(ticker) for ticker in TICKERS]


def state(context: Context) -> tuple[Any, ...]:
    return contents(context), bronze_files(context), latest(context)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    context = make_home(tmp_path_factory.mktemp("expected"), Vendor(big), tickers=TICKERS)
    run(context, *KEYS)
    return state(context)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    with mounted(place, "size=64m"):
        yield place


ENOUGH_FOR_ALL_BUT_FOLDING = 500_000


def fill(disk: Path, free: int) -> Path:
    """A file that leaves so many bytes of the disk free."""
    filler = disk / "filler"
    about = os.statvfs(disk)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, about.f_bavail * about.f_frsize - free)
    return filler


def assert_one_sentence(error: UserError) -> None:
    assert "\n" not in str(error)
    assert str(error).endswith(".")


def assert_nothing_half_written(context: Context) -> None:
    """Every file can be read, no temporary one is left, and no row names a file that is not there."""
    files = bronze_files(context)
    assert not any(name.startswith(".tmp") for name in files)


def test_the_bronze_disk_is_full(disk: Path, expected: tuple[Any, ...], tmp_path: Path) -> None:
    settings: dict[str, Any] = {"tickers": TICKERS, "bronze_root": disk / "bronze", "batch_files": 2}
    context = make_home(tmp_path / "home", Vendor(big), **settings)
    filler = fill(disk, 600_000)
    with pytest.raises(BronzeError, match="No space left on device") as caught:
        run(context, *KEYS)
    assert_one_sentence(caught.value)
    assert_nothing_half_written(context)
    stored = {name.split("/")[3] for name in bronze_files(context)}
    assert 0 < len(stored) < len(TICKERS)
    with pytest.raises(BronzeError, match="No space left on device"):
        run(context, *KEYS)
    filler.unlink()
    vendor = Vendor(big)
    context = make_home(tmp_path / "home", vendor, **settings)
    run(context, *KEYS)
    assert not {request.ticker for request in vendor.requests} & stored
    assert_tidy(context)
    assert state(context) == expected


@pytest.mark.parametrize("free", [0, 300_000])
def test_the_disk_of_the_whole_home_is_full(free: int, disk: Path, expected: tuple[Any, ...]) -> None:
    context = make_home(disk / "home", Vendor(big), tickers=TICKERS, batch_files=2)
    assert_refused_and_healed(context, disk, free, expected)


@pytest.mark.parametrize("free", [60_000, 500_000])
def test_the_database_disk_is_full(free: int, disk: Path, expected: tuple[Any, ...], tmp_path: Path) -> None:
    context = make_home(tmp_path / "home", Vendor(big), tickers=TICKERS, database=disk / "ops.duckdb", batch_files=2)
    assert_refused_and_healed(context, disk, free, expected)


def assert_refused_and_healed(context: Context, disk: Path, free: int, expected: tuple[Any, ...]) -> None:
    """With too little space for the run, or with enough for all but the folding of the log, which may wait."""
    filler = fill(disk, free)
    if free < ENOUGH_FOR_ALL_BUT_FOLDING:
        with pytest.raises(UserError, match=r"No space left|is full") as caught:
            run(context, *KEYS)
        assert_one_sentence(caught.value)
    else:
        run(context, *KEYS)
        assert contents(context) == expected[0]
    assert_nothing_half_written(context)
    filler.unlink()
    run(context, *KEYS)
    assert_tidy(context)
    assert state(context) == expected


def test_files_that_may_not_grow(start: Start, expected: tuple[Any, ...], tmp_path: Path) -> None:
    """The same where no file system can be mounted: the system limits every file of the process to less than an answer needs."""
    given = {"tickers": TICKERS, "settings": {"batch_files": 2}, "days": {"today": str(FEBRUARY)}, "vendor": "big"}
    process = start("engine", tmp_path / "home", **given, keys=[list(k) for k in KEYS], file_size=100_000)
    said = process.output()
    assert said.startswith("UserError Bronze file")
    assert "File too large" in said
    context = make_home(tmp_path / "home", Vendor(big), tickers=TICKERS)
    assert_nothing_half_written(context)
    run(context, *KEYS)
    assert_tidy(context)
    assert state(context) == expected


def test_the_bronze_folder_becomes_a_file(tmp_path: Path) -> None:
    """In the middle of a run, as when a disk is unmounted and something else stands in its place."""
    away = tmp_path / "away"

    async def fetch(request: Request) -> AsyncIterator[Answer]:
        if request.ticker == "T4":
            context.settings.bronze_path.rename(away)
            context.settings.bronze_path.write_text("not a folder")
        async for answer in market(request):
            yield answer

    context = make_home(tmp_path / "home", Vendor(fetch), tickers=TICKERS, concurrency=1)
    with pytest.raises(BronzeError, match="move the file that is in the way of a folder") as caught:
        run(context, *KEYS)
    assert_one_sentence(caught.value)
    with pytest.raises(BronzeError, match="move the file that is in the way of a folder") as again:
        run(context, *KEYS)
    assert_one_sentence(again.value)
    assert context.settings.bronze_path.read_text() == "not a folder"
    context.settings.bronze_path.unlink()
    away.rename(context.settings.bronze_path)
    vendor = Vendor(market)
    context = make_home(tmp_path / "home", vendor, tickers=TICKERS)
    run(context, *KEYS)
    assert {request.ticker for request in vendor.requests} == {"T4", "T5", "T6", "T7"}
    assert_tidy(context)
    undisturbed = make_home(tmp_path / "undisturbed", tickers=TICKERS)
    run(undisturbed, *KEYS)
    assert state(context) == state(undisturbed)
