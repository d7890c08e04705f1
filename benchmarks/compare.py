"""Contenders side by side: each loads the same market from the same vendor, as a whole process, into a fresh folder.

Belongs here: taking turns, checking what was loaded, and the figures of parts a and c. Does not belong here: the contenders, the vendor.

A result that is not exactly the truth ends the benchmark: a contender that loses rows may be as fast as it likes.
"""

from __future__ import annotations

import atexit
import math
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import duckdb

from benchmarks.figures import Figure, WrongResultError
from benchmarks.processes import Ended, run_process
from benchmarks.vendor import ROOT, Market, Truth, counts, serving

FIRST, INCREMENTAL = "first load", "incremental run"
LIMIT_SECONDS = 1800.0
WARM_UP_TICKERS = 3


@dataclass(frozen=True)
class Contender:
    """A command that keeps the contract of `contract`."""

    name: str
    command: tuple[str, ...]

    @classmethod
    def of_module(cls, name: str, module: str) -> Contender:
        """One of ours, run by this interpreter."""
        return cls(name, (sys.executable, "-m", f"benchmarks.{module}"))

    @classmethod
    def of_text(cls, text: str) -> Contender:
        """NAME=COMMAND, as on the command line."""
        name, _, command = text.partition("=")
        return cls(name, tuple(shlex.split(command)))


OURS = Contender.of_module("batch engine", "contender")
BARE = Contender.of_module("bare script", "bare")
STRAIGHT = Contender.of_module("straight script", "straight")
DLT = Contender.of_module("dlt", "with_dlt")


@dataclass(frozen=True)
class Run:
    """One contender's phase, found right."""

    ended: Ended
    requests: int
    rows_served: int


Runs = dict[tuple[str, str], list[Run]]


def compare(contenders: Sequence[Contender], market: Market, latency_ms: float, repeat: int) -> Runs:
    """Lets the contenders take turns, as often as asked for; gives every run by contender and phase.

    Raises:
        WrongResultError: when a contender's table is not what the market says.
    """
    found: Runs = {(c.name, phase): [] for c in contenders for phase in (FIRST, INCREMENTAL)}
    folder = scratch()
    with serving(market, latency_ms) as url:
        for contender in contenders:  # its files come into the machine's cache, and a mistake shows before an hour has passed
            both_phases(contender, market, market.symbols[:WARM_UP_TICKERS], url, folder)
        for turn in range(repeat):
            order = contenders if turn % 2 == 0 else contenders[::-1]
            for contender in order:
                for phase, run in both_phases(contender, market, market.symbols, url, folder).items():
                    found[contender.name, phase].append(run)
                    say(f"  {contender.name}, {phase}: {run.ended.seconds:.2f} s, {run.ended.peak_mb:.0f} MB")
    return found


def both_phases(contender: Contender, market: Market, symbols: Sequence[str], url: str, root: Path) -> dict[str, Run]:
    """The first load and the incremental run of one contender, in a fresh folder below root.

    Raises:
        WrongResultError: as `load`.
    """
    folder = Path(tempfile.mkdtemp(dir=root))
    return {
        phase: load(contender, market, symbols, url, folder, phase, to)
        for phase, to in ((FIRST, market.cut), (INCREMENTAL, market.days[-1]))
    }


def load(contender: Contender, market: Market, symbols: Sequence[str], url: str, folder: Path, phase: str, to: date) -> Run:
    """One phase of one contender.

    Args:
        contender: who loads.
        market: what the vendor serves.
        symbols: the market's first so many tickers.
        url: the vendor.
        folder: kept from phase to phase.
        phase: its name, for messages.
        to: the last day to load.

    Raises:
        WrongResultError: when the table is not what the market says, or the process says that it failed.
    """
    tickers = folder / "tickers"
    tickers.write_text("\n".join(symbols) + "\n", encoding="utf-8")
    asked = {
        "--url": url,
        "--from": market.first.isoformat(),
        "--to": to.isoformat(),
        "--tickers": tickers,
        "--dir": folder / "work",
    }
    command = [*contender.command, *(str(part) for pair in asked.items() for part in pair)]
    counts(url)
    ended = run_process(command, log=folder / "log", folder=ROOT, limit=LIMIT_SECONDS)
    served = counts(url)
    problem = wrong(ended, folder / "work", market.truth(to, len(symbols)))
    if problem:
        raise WrongResultError(f"{contender.name}, {phase}: {problem}")
    return Run(ended, served["requests"], served["rows"])


def wrong(ended: Ended, folder: Path, truth: Truth) -> str:
    """What is wrong with what a contender left behind; empty where nothing is."""
    if ended.status != 0:
        return f"exit status {ended.status}; it ended with:\n{ended.tail}"
    if not {"db", "table"} <= set(ended.said):
        return f"its last line is not the JSON object that the contract asks for:\n{ended.tail}"
    return table_problem(folder / str(ended.said["db"]), str(ended.said["table"]), truth)


def table_problem(database: Path, table: str, truth: Truth) -> str:
    """Where a table differs from the truth; empty where it does not."""
    if not database.is_file():
        return f"there is no database {database.name} in its folder"
    try:
        with duckdb.connect(str(database), read_only=True) as connection:
            stored = connection.execute(
                f"SELECT symbol, count(*), count(DISTINCT date), coalesce(sum(close), 0) FROM {table} GROUP BY symbol"
            ).fetchall()
    except duckdb.Error as error:
        return f"its table {table} cannot be read: {error}"
    for symbol, rows, days, _ in stored:
        if rows != days:
            return f"{symbol} has {rows} rows for {days} days"
    have = {symbol: rows for symbol, rows, _, _ in stored}
    differing = [s for s in truth.rows.keys() | have.keys() if truth.rows.get(s, 0) != have.get(s, 0)]
    if differing:
        symbol = min(differing)
        return (
            f"{sum(have.values())} rows stored where {sum(truth.rows.values())} are right; {len(differing)} tickers differ, "
            f"such as {symbol} with {have.get(symbol, 0)} instead of {truth.rows.get(symbol, 0)}"
        )
    total = math.fsum(total for *_, total in stored)
    if not math.isclose(total, truth.total, rel_tol=1e-9):
        return f"the closing prices add up to {total:.4f} instead of {truth.total:.4f}"
    return ""


def against_bare(
    sizes: Sequence[tuple[int, int]], latencies: Sequence[float], repeat: int, others: Sequence[Contender] = ()
) -> Iterator[Figure]:
    """Part a: wall time beside the bare script, and beside the straight one, which keeps the same promises.

    Args:
        sizes: (tickers, rows a ticker).
        latencies: of the vendor, in milliseconds.
        repeat: runs of each contender; the figure is the median.
        others: further contenders to set the engine beside.
    """
    for tickers, rows in sizes:
        for latency in latencies:
            setting = f"{tickers:,} tickers x {rows:,} rows, {latency:g} ms"
            say(f"a. {setting}")
            runs = compare([OURS, BARE, STRAIGHT, *others], Market(tickers, rows), latency, repeat)
            for phase in (FIRST, INCREMENTAL):
                for other in (BARE, STRAIGHT, *others):
                    target = (2.0 if latency == 0 else 1.2) if other is BARE else None
                    yield _seconds(f"a. {setting}, {phase}: {OURS.name} / {other.name}", runs, phase, other, target)


def against_dlt(tickers: int, rows: int, repeat: int) -> Iterator[Figure]:
    """Part c: throughput beside dlt."""
    setting = f"{tickers:,} tickers x {rows:,} rows"
    say(f"c. {setting}")
    runs = compare([OURS, DLT], Market(tickers, rows), 0.0, repeat)
    for phase in (FIRST, INCREMENTAL):
        ours, other = (tickers / _median(runs[c.name, phase]) for c in (OURS, DLT))
        yield Figure(
            f"c. {setting}, {phase}: throughput, {OURS.name} / dlt", ours, other, "tickers/s", at_least=6.0, more=_more(runs, phase, DLT)
        )  # fmt: skip


def _seconds(name: str, runs: Runs, phase: str, other: Contender, at_most: float | None) -> Figure:
    ours, theirs = (_median(runs[c.name, phase]) for c in (OURS, other))
    return Figure(name, ours, theirs, "s", at_most=at_most, more=_more(runs, phase, other))


def _median(runs: Sequence[Run]) -> float:
    return median(run.ended.seconds for run in runs)


def _more(runs: Runs, phase: str, other: Contender) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, contender in (("ours", OURS), ("other", other)):
        of = runs[contender.name, phase]
        found[f"{name}_seconds"] = [round(run.ended.seconds, 3) for run in of]
        found[f"{name}_peak_mb"] = round(max(run.ended.peak_mb for run in of))
        found[f"{name}_requests"] = of[-1].requests
        found[f"{name}_rows_served"] = of[-1].rows_served
    return found


def scratch() -> Path:
    """A folder for homes, removed when the process ends.

    Not before: ext4 passes over inodes that were deleted in the last minutes one by one, which makes the files of the next turn dearer.
    """
    folder = Path(tempfile.mkdtemp(prefix="ops-pipeline-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def say(text: str) -> None:
    """Tells how far the benchmark is, on standard error."""
    print(text, file=sys.stderr, flush=True)
