"""Part p: what publishing costs beside what changed.

Belongs here: a database with a large fact, changes of several sizes, and publishing after each. Does not belong here: how it is shown.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb

from benchmarks.compare import say
from benchmarks.figures import Figure, WrongResultError
from ops_pipeline.ops.migrations import latest_version, migrate
from ops_pipeline.publish.publisher import Order, publish
from ops_pipeline.publish.selection import Selection
from ops_pipeline.publish.versions import LAKE, Versions
from ops_pipeline.warehouse import Warehouse

LONGEST_HOLD_SECONDS = 1.0


class _Timed(Warehouse):
    """The door, with the time that the last publication's longest opening took."""

    longest = 0.0

    @contextlib.contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:  # type: ignore[override]
        started = time.monotonic()
        with super().reading() as connection:
            yield connection
        self.longest = max(self.longest, time.monotonic() - started)


class _Market:
    def __init__(self, folder: Path, tickers: int, days: int) -> None:
        self.tickers = tickers
        self.warehouse = _Timed(folder / "ops.duckdb", schema_version=latest_version())
        migrate(self.warehouse, notify=lambda _: None)
        self.order = Order(self.warehouse, folder / "ops.duckdb", folder / "published", Selection("gold"), {}, 0.0)
        self.execute(self._rows(f"range({days})"))

    @staticmethod
    def _instrument(number: str) -> str:
        return f"left(md5(({number})::VARCHAR), 16)"

    def _rows(self, days: str) -> str:
        # By ticker, as a first load commits them; `days` numbers weekdays from 2015 on.
        return f"""INSERT INTO gold.fact_eod (instrument_id, date, source, close, adjusted_close, volume, simple_return, log_return,
                bronze_file_id, run_id, known_at, built_at)
            SELECT {self._instrument("t.range")}, DATE '2015-01-01' + (d.range * 7 // 5)::INTEGER, 'bench', random(), random(),
                (random() * 1e7)::BIGINT, random(), random(), md5(t.range::VARCHAR), 'run', now(), now()
            FROM range({self.tickers}) t, {days} d ORDER BY t.range, d.range"""

    def execute(self, sql: str) -> None:
        with self.warehouse.transaction() as connection:
            connection.execute(sql)
        self.warehouse.checkpoint()

    def a_day(self, number: int) -> None:
        self.execute(self._rows(f"range({number}, {number + 1})"))

    def a_ticker(self, number: int) -> None:
        self.execute(
            f"UPDATE gold.fact_eod SET close = random(), built_at = now() WHERE instrument_id = {self._instrument(str(number))}"
        )

    def timed(self, *, whole: bool = False) -> float:
        self.warehouse.longest = 0.0
        started = time.monotonic()
        publish(self.order, whole=whole)
        return time.monotonic() - started

    def check(self) -> None:
        """What is published is what is stored."""
        query = "SELECT count(*), sum(hash(instrument_id, date, close)) FROM gold.fact_eod"
        with self.warehouse.reading() as connection:
            stored = connection.execute(query).fetchone()
        with duckdb.connect(str(self.order.root / LAKE), read_only=True) as lake:
            published = lake.execute(query).fetchone()
        if stored != published:
            raise WrongResultError(f"published: {published}, stored: {stored}")


def measure(tickers: int, days: int, repeat: int) -> Iterator[Figure]:
    """Times of publishing everything, a day of all tickers, one ticker's history, and nothing."""
    rows = tickers * days
    say(f"p. publishing a fact of {rows:,} rows")
    with tempfile.TemporaryDirectory(prefix="ops-pipeline-publish-") as folder:
        market = _Market(Path(folder), tickers, days)
        times: dict[str, list[float]] = {"everything": [], "a day of all tickers": [], "one ticker's history": [], "nothing": []}
        holds = []
        for turn in range(repeat):
            for name in times:
                if name == "a day of all tickers":
                    market.a_day(days + turn)
                elif name == "one ticker's history":
                    market.a_ticker(turn)
                times[name].append(market.timed(whole=name == "everything"))
                holds.append(market.warehouse.longest)
                market.check()
        whole = sorted(times["everything"])[repeat // 2]
        targets = {"a day of all tickers": 0.3, "one ticker's history": 0.5, "nothing": 0.05}
        for name, target in targets.items():
            spent = sorted(times[name])[repeat // 2]
            yield Figure(f"p. publishing {name} / everything, {rows:,} rows", spent, whole, "s", at_most=target)
        yield Figure("p. longest opening of the database / the limit", max(holds), LONGEST_HOLD_SECONDS, "s", at_most=1.0)
        versions = len(Versions(market.order.root).all())
        if versions != 1:
            raise WrongResultError(f"{versions} versions are left, of which nobody reads any")
