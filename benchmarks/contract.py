"""What every contender is given and must say at its end.

Belongs here: the arguments and the closing line. Does not belong here: any contender.

A contender is a command. It is called with `--url U --from D --to D --tickers FILE --dir DIR`, once for the first load and once more, with
a later day and the same folder, for the incremental run, in which it should ask each ticker only from the day after the last one stored.
Its last line of standard output is one JSON object: `db` (the DuckDB file, below DIR), `table` (with the columns symbol, date, close) and
`failed` (the tickers that it knows it did not load); its exit status is not 0 if any failed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import NoReturn

STARTED = time.perf_counter()
PATH = "/stable/historical-price-eod/full"
CONCURRENCY = 16


@dataclass(frozen=True)
class Task:
    """What to load.

    Attributes:
        url: the vendor's address.
        first: the first day of a ticker of which nothing is stored.
        to: the last day.
        tickers: all of them.
        folder: what is kept between the first load and the incremental run.
    """

    url: str
    first: date
    to: date
    tickers: list[str]
    folder: Path


def read_task(description: str | None) -> Task:
    """The task in the command line's arguments; its folder exists afterwards."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="the vendor's address")
    parser.add_argument("--from", dest="first", type=date.fromisoformat, required=True, help="first day of a ticker without rows")
    parser.add_argument("--to", type=date.fromisoformat, required=True, help="last day")
    parser.add_argument("--tickers", type=Path, required=True, help="a file, one ticker a line")
    parser.add_argument("--dir", type=Path, required=True, help="folder kept between the first load and the incremental run")
    given = parser.parse_args()
    given.dir.mkdir(parents=True, exist_ok=True)
    return Task(given.url.rstrip("/"), given.first, given.to, given.tickers.read_text(encoding="utf-8").split(), given.dir)


def finish(database: str, table: str, failed: Iterable[str] = ()) -> NoReturn:
    """Prints the closing line and ends the process, with status 3 if a ticker failed."""
    names = sorted(failed)
    seconds = round(time.perf_counter() - STARTED, 3)
    print(json.dumps({"db": database, "table": table, "inner_s": seconds, "failed": names}), flush=True)
    sys.exit(3 if names else 0)
