"""The ledger's queries against the barest SQL, on a ledger of a million rows or as many as wanted.

Belongs here: the pairs, and measuring them. Does not belong here: the rows (`ledger_rows`) and the SQL compared with (`ledger_barest`).

Run it alone with `python -m benchmarks.ledger --rows 1000000 --partitions 100000`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import ledger_barest as barest
from benchmarks.ledger_rows import build, recipe_hash
from benchmarks.pages import pages
from ops_pipeline.ops import queries
from ops_pipeline.ops.columns import to_arrow
from ops_pipeline.ops.ingestion import Stage
from ops_pipeline.ops.queries import RunFilter
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.ops.service import OpsService
from ops_pipeline.recipes.loading import load_catalogue
from ops_pipeline.recipes.models import Recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import duckdb

    from ops_pipeline.recipes.universe import PartitionKey
    from ops_pipeline.warehouse import Warehouse


@dataclass
class Pair:
    """Two ways to the same answer; `same` compares what they return."""

    name: str
    ours: Callable[[], Any]
    other: Callable[[], Any]
    same: Callable[[Any, Any], bool]


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


def compare(pair: Pair, repeats: int) -> dict[str, Any]:
    """Runs both in turn, the other one first every second time, and takes the median of each."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeats):
        first, second = (0, 1) if turn % 2 else (1, 0)
        results: dict[int, Any] = {}
        for side in (first, second):
            seconds, results[side] = _timed((pair.ours, pair.other)[side])
            times[side].append(seconds)
        assert pair.same(results[0], results[1]), f"{pair.name}: the two answers differ"
    ours, other = (1000 * statistics.median(t) for t in times)
    return {"name": pair.name, "ours": round(ours, 1), "other": round(other, 1), "ratio": round(ours / other, 2), "unit": "ms"}


def _recipes(partitions: list[PartitionKey]) -> dict[PartitionKey, Recipe]:
    """A recipe for each invented dataset, otherwise that of the sample prices."""
    sample = load_catalogue().recipes["sample.eod-prices"].model_dump(by_alias=True)
    more = {"first_date": barest.FIRST_DATE, "last_date": None, "lookback_days": 0}
    made: dict[str, Recipe] = {}
    for key in {p.dataset for p in partitions}:
        source, dataset = key.split(".")
        made[key] = Recipe.model_validate({**sample, **more, "source": source, "dataset": dataset})
    return {p: made[p.dataset] for p in partitions}


def _many(warehouse: Warehouse, connection: duckdb.DuckDBPyConnection, partitions: list[PartitionKey]) -> Iterator[Pair]:
    repo, count = OpsRepo(connection), f"{len(partitions):,} partitions"

    def latest(islands: dict[PartitionKey, Any]) -> int:
        return len(islands)

    yield Pair(
        f"ledger: covered days of {count} vs the barest SQL with the same answer",
        lambda: repo.islands(partitions),
        lambda: connection.execute(barest.ISLANDS).fetchall(),
        lambda ours, other: (
            {(k.dataset, k.ticker, *span) for k, spans in ours.items() for span in spans}
            == {(f"{r[0]}.{r[1]}", *r[2:]) for r in other}
        ),
    )
    yield Pair(
        f"ledger: covered days of {count} vs max(date) by partition, which sees no holes, failures or refusals",
        lambda: repo.islands(partitions),
        lambda: connection.execute(barest.LATEST).fetchall(),
        lambda ours, other: latest(ours) <= len(other),
    )
    recipes, service = _recipes(partitions), OpsService(warehouse)

    def bare_next() -> list[tuple[Any, ...]]:
        with warehouse.reading() as inner:
            return inner.execute(barest.NEXT).fetchall()

    def same_next(ours: dict[PartitionKey, Any], other: list[tuple[Any, ...]]) -> bool:
        found = {(f"{r[0]}.{r[1]}", r[2]): r[3] for r in other}
        return all(found.get((k.dataset, k.ticker), barest.FIRST_DATE) == day for k, day in ours.items())

    yield Pair(
        f"ledger: next from-dates of {count}, door included, vs the barest SQL with the same answer",
        lambda: service.next_from_dates(recipes),
        bare_next,
        same_next,
    )


def _figures(connection: duckdb.DuckDBPyConnection) -> Iterator[Pair]:
    run = connection.execute(barest.A_RECENT_RUN).fetchall()[0][0]
    ticker = connection.execute("SELECT max(ticker) FROM ops.file_ingestions").fetchall()[0][0]

    def figures(summary: queries.RunSummary) -> tuple[Any, ...]:
        return (
            summary.run_id, summary.started, summary.ended, summary.files, summary.datasets, summary.tickers,
            *(summary.bronze.get(o, 0) for o in barest.OUTCOMES), summary.bronze_rows, summary.bronze_bytes, summary.silver_files,
            summary.silver_failed_files, *summary.silver_rows.values(), summary.gold_files, summary.gold_failed_files,
            *summary.gold_rows.values(),
        )  # fmt: skip

    def page(name: str, other: str, parameters: list[Any], **wanted: Any) -> Pair:
        where = {k: v for k, v in wanted.items() if k != "offset"}
        return Pair(
            f"ledger: {name}",
            lambda: queries.list_runs(connection, RunFilter(**where), offset=wanted.get("offset", 0)),
            lambda: connection.execute(other, parameters).fetchall(),
            lambda ours, bare: [figures(s) for s in ours] == bare,
        )

    yield Pair(
        "ledger: run summary vs the barest SQL with the same figures",
        lambda: queries.run_summary(connection, run),
        lambda: connection.execute(barest.SUMMARY, [run]).fetchall(),
        lambda ours, other: [figures(ours)] == other,
    )
    yield Pair(
        "ledger: run summary vs an aggregate by run_id, which misses what the run promoted of other runs' files",
        lambda: queries.run_summary(connection, run),
        lambda: connection.execute(barest.BRONZE_SUMMARY, [run]).fetchall(),
        lambda ours, other: (ours.bronze_rows, ours.bronze_bytes) == other[0][-2:],
    )
    runs = "page of 20 runs vs the barest SQL with the same figures"
    yield page(f"first {runs}", barest.runs(), [0])
    yield page(f"thirtieth {runs}", barest.runs(), [580], offset=580)
    yield page(f"filtered by ticker, {runs}", barest.runs("ticker = ?"), [ticker, 0], ticker=ticker)
    yield page(f"only failures, {runs}", barest.runs(having=barest.FAILED), [0], only_failures=True)
    yield Pair(
        "ledger: first page of 20 runs vs GROUP BY run_id, which misses what runs promoted of other runs' files",
        lambda: queries.list_runs(connection),
        lambda: connection.execute(barest.BRONZE_RUNS).fetchall(),
        lambda ours, other: len(ours) == len(other),
    )
    yield Pair(
        "ledger: page of 100 files of a run vs the barest SQL",
        lambda: queries.run_files(connection, run),
        lambda: connection.execute(barest.RUN_FILES, [run] * 3).fetchall(),
        lambda ours, other: [r.key for r in ours] == [r[:2] for r in other],
    )
    yield Pair(
        "ledger: coverage, page of 1,000 partitions, vs the same without holes",
        lambda: queries.coverage(connection),
        lambda: connection.execute(barest.COVERAGE).fetchall(),
        lambda ours, other: [(r["ticker"], r["files"], r["to_date"]) for r in ours] == [(r[3], r[4], r[6]) for r in other],
    )
    yield Pair(
        "ledger: files whose records do not add up vs the barest SQL",
        lambda: queries.unaccounted_files(connection),
        lambda: connection.execute(barest.UNACCOUNTED).fetchall(),
        lambda ours, other: len(ours) == len(other),
    )


def _batch(connection: duckdb.DuckDBPyConnection) -> Iterator[Pair]:
    """What a run asks for each batch of 500 files: barest is one plain query with the same condition."""
    repo = OpsRepo(connection)
    keys = connection.execute(barest.RECENT.format(500)).fetchall()
    files = list(repo.get(keys).values())
    partitions = list({f.partition for f in files})
    connection.execute("CREATE OR REPLACE TEMP TABLE batch_files (run_id VARCHAR, file_id VARCHAR)")
    connection.executemany("INSERT INTO batch_files VALUES (?, ?)", [list(k) for k in keys])
    connection.execute("CREATE OR REPLACE TEMP TABLE batch AS FROM (VALUES ('', '', '')) v (source, dataset, ticker) LIMIT 0")
    connection.executemany("INSERT INTO batch VALUES (?, ?, ?)", [[*p.dataset.split("."), p.ticker] for p in partitions])

    def pair(name: str, ours: Callable[[], Any], other: str) -> Pair:
        def same(mine: Any, bare: list[tuple[Any, ...]]) -> bool:
            rows = mine.values() if isinstance(mine, dict) else mine
            return sorted(r.key for r in rows) == sorted(r[:2] for r in bare)

        return Pair(
            f"ledger, batch of 500 files: {name} vs the barest SQL", ours, lambda: connection.execute(other).fetchall(), same
        )

    yield pair("their rows", lambda: repo.get(keys), barest.BATCH_ROWS)
    yield pair("latest files", lambda: repo.latest_files(partitions), barest.BATCH_LATEST)
    hashes = {name: recipe_hash(name) for name in {p.dataset for p in partitions}}
    yield pair("waiting for silver", lambda: repo.promotable(Stage.SILVER, partitions, hashes), barest.BATCH_WAITING)
    yield pair("all without answer", repo.asked, barest.ASKED)
    yield Pair(
        "ledger, batch of 500 files: latest promoted vs the barest SQL",
        lambda: repo.latest_promoted(partitions),
        lambda: connection.execute(barest.BATCH_PROMOTED).fetchall(),
        lambda ours, other: sorted(ours.values()) == sorted(other),
    )


def _writing(warehouse: Warehouse) -> Iterator[Pair]:
    with warehouse.reading() as connection:
        files = list(OpsRepo(connection).get(connection.execute(barest.RECENT.format(1000)).fetchall()).values())
    service, table = OpsService(warehouse), to_arrow(files)

    def bare() -> None:
        with warehouse.transaction() as connection:
            connection.register("ready", table)
            connection.execute(barest.MERGE)
            connection.unregister("ready")

    def unchanged(_ours: None, _other: None) -> bool:
        with warehouse.reading() as connection:
            return OpsRepo(connection).get(f.key for f in files) == {f.key: f for f in files}

    yield Pair(
        "ledger: upsert of 1,000 recent rows vs a ready Arrow table and MERGE; door and commit on both sides",
        lambda: service.record_file_ingestions(files, Stage.SILVER),
        bare,
        unchanged,
    )


def measure(rows: int = 1_000_000, partitions: int = 100_000, *, repeats: int = 5) -> list[dict[str, Any]]:
    """Builds a ledger in a temporary folder and compares every pair on it.

    Args:
        rows: ledger rows, about.
        partitions: a multiple of 20, and at most as many as rows.
        repeats: how often each side runs; the figures are medians.

    Returns:
        {"name", "ours", "other", "ratio", "unit"} for each pair, in milliseconds.
    """
    results = []
    with tempfile.TemporaryDirectory(prefix="ops-ledger-") as folder:
        warehouse, keys = build(Path(folder), rows, partitions)
        for pair in _writing(warehouse):
            results.append(compare(pair, repeats))
        with warehouse.connection() as connection:  # able to write, for the temporary tables of the barest
            for group in (_many(warehouse, connection, keys), _figures(connection), _batch(connection)):
                for pair in group:
                    results.append(compare(pair, repeats))
        for page in pages(Path(folder)):
            results.append(compare(Pair(f"ledger: dashboard, {page.name}", page.ours, page.other, page.same), repeats))
    return [{**r, "name": r["name"].replace("ledger", f"ledger of {rows:,} rows", 1)} for r in results]


def main() -> None:
    """Prints one line a pair, or one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--partitions", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = measure(options.rows, options.partitions, repeats=options.repeats)
    if options.json:
        json.dump(results, sys.stdout, indent=2)
        return
    for r in results:
        print(f"{r['ratio']:6.2f}  {r['ours']:10.1f} {r['other']:10.1f} {r['unit']}  {r['name']}")


if __name__ == "__main__":
    main()
