"""A vendor on loopback with a made-up market, and the truth about it.

Belongs here: the market, the server that answers as a daily-price endpoint does, and its process. Does not belong here: who asks.

The market is the same for the same arguments: closing prices walk at random on weekdays, and every 25th ticker is delisted before the
incremental days, so that its incremental answer is truly empty. Answers are put together when the server starts; a request costs it a
slice of bytes.

    GET /stable/historical-price-eod/full?symbol=T00001&from=2024-01-01&to=2024-12-31&apikey=k   a JSON array, newest first
    GET /counts   {"requests": ..., "rows": ...} served since the last call
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import importlib.util
import json
import math
import random
import subprocess
import sys
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs, urlsplit

ROOT = Path(__file__).resolve().parent.parent
END = date(2024, 12, 31)
INCREMENTAL_DAYS = 35
DELISTED_EVERY = 25
PRICES = "/stable/historical-price-eod/full"


@dataclass(frozen=True)
class Truth:
    """What a table must hold: rows by ticker, and the sum of all closing prices."""

    rows: dict[str, int]
    total: float


@dataclass(frozen=True)
class Market:
    """Tickers with a random walk each.

    Attributes:
        tickers: how many.
        rows: trading days of a ticker that is still listed.
        seed: another seed, other prices.
    """

    tickers: int
    rows: int
    seed: int = 7

    @property
    def symbols(self) -> list[str]:
        """The tickers' names."""
        return [f"T{i:05d}" for i in range(self.tickers)]

    @cached_property
    def days(self) -> list[date]:
        """The trading days, oldest first: weekdays."""
        found: list[date] = []
        day = END
        while len(found) < self.rows:
            if day.weekday() < 5:
                found.append(day)
            day -= timedelta(days=1)
        return found[::-1]

    @property
    def new_days(self) -> int:
        """Trading days that only the incremental run can see."""
        return max(1, min(INCREMENTAL_DAYS, self.rows // 5))

    @property
    def first(self) -> date:
        """The first trading day."""
        return self.days[0]

    @property
    def cut(self) -> date:
        """The last day of the first load."""
        return self.days[-1 - self.new_days]

    def closes(self, number: int) -> list[float]:
        """The closing prices of one ticker, oldest first; a delisted one has fewer than the market has days."""
        rng = random.Random(f"{self.seed} {number}")
        length = self.rows
        if number % DELISTED_EVERY == DELISTED_EVERY - 1:
            length = max(1, self.rows - self.new_days - self.rows // 10)
        price, found = rng.uniform(5, 500), []
        for _ in range(length):
            price = max(1.0, price * (1 + rng.gauss(0.0003, 0.015)))
            found.append(round(price, 2))
        return found

    def truth(self, to: date, tickers: int | None = None) -> Truth:
        """What is right to have stored up to a day, of all or of the first so many tickers."""
        until = bisect.bisect_right(self.days, to)
        rows, sums = {}, []
        for number, symbol in enumerate(self.symbols[:tickers]):
            closes = self.closes(number)[:until]
            rows[symbol] = len(closes)
            sums.append(math.fsum(closes))
        return Truth(rows, math.fsum(sums))


class _Series:
    """One ticker's answer, newest first, as bytes; `starts` tells where the records of the last k days begin and end."""

    def __init__(self, symbol: str, days: list[date], closes: list[float]) -> None:
        self.days = days[: len(closes)]
        records, before = [], closes[0]
        for day, close in zip(self.days, closes, strict=True):
            high, low = round(max(close, before) * 1.01, 2), round(min(close, before) * 0.99, 2)
            change = round(close - before, 4)
            records.append(
                f'{{"symbol":"{symbol}","date":"{day}","open":{before},"high":{high},"low":{low},"close":{close},'
                f'"volume":{int(close * 7919) * 100},"change":{change},"changePercent":{round(100 * change / before, 6)},'
                f'"vwap":{round((high + low + close) / 3, 4)}}},'
            )
            before = close
        self.starts = [0]
        for record in reversed(records):
            self.starts.append(self.starts[-1] + len(record))
        self.body = "".join(reversed(records)).encode()

    def window(self, first: date, to: date) -> tuple[int, bytes]:
        """The number of records in a window, and the JSON array of them."""
        begin, end = bisect.bisect_left(self.days, first), bisect.bisect_right(self.days, to)
        if begin >= end:
            return 0, b"[]"
        newest, oldest = self.starts[len(self.days) - end], self.starts[len(self.days) - begin]
        return end - begin, b"[%b]" % self.body[newest : oldest - 1]


class Vendor:
    """Answers requests, and counts them."""

    def __init__(self, market: Market, latency: float = 0.0) -> None:
        """Renders the whole market.

        Args:
            market: what there is to ask.
            latency: seconds between a request and its answer.
        """
        self.series = {s: _Series(s, market.days, market.closes(i)) for i, s in enumerate(market.symbols)}
        self.latency = latency
        self.requests = self.rows = 0

    def answer(self, target: str) -> tuple[float, bytes]:
        """Seconds to wait, and the whole HTTP answer."""
        asked = urlsplit(target)
        if asked.path == "/counts":
            counts = {"requests": self.requests, "rows": self.rows}
            self.requests = self.rows = 0
            return 0.0, _http(200, json.dumps(counts).encode())
        if asked.path != PRICES:
            return 0.0, _http(404, b'{"Error Message":"There is nothing here."}')
        given = {name: values[0] for name, values in parse_qs(asked.query).items()}
        if not given.get("apikey"):
            return 0.0, _http(401, b'{"Error Message":"Invalid API KEY."}')
        try:
            first, to = date.fromisoformat(given["from"]), date.fromisoformat(given["to"])
        except (KeyError, ValueError):
            return 0.0, _http(400, b'{"Error Message":"Give from and to as YYYY-MM-DD."}')
        series = self.series.get(given.get("symbol", ""))
        count, body = series.window(first, to) if series else (0, b"[]")
        self.requests += 1
        self.rows += count
        return self.latency, _http(200, body)


def _http(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d -\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


class _Connection(asyncio.Protocol):
    """Just enough HTTP for GET requests on a connection that stays open: a framework would cost more than the answers."""

    def __init__(self, vendor: Vendor) -> None:
        self.vendor = vendor
        self.unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        *heads, self.unread = (self.unread + data).split(b"\r\n\r\n")
        for head in heads:
            wait, answer = self.vendor.answer(head.split(b" ", 2)[1].decode())
            if wait:
                asyncio.get_running_loop().call_later(wait, self._send, answer)
            else:
                self._send(answer)

    def _send(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer)


async def _serve(vendor: Vendor, watched: bool) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(vendor), "127.0.0.1", 0, backlog=512)
    ended = asyncio.Event()
    if watched:
        loop.add_reader(sys.stdin.fileno(), ended.set)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await ended.wait()
    server.close()


@contextmanager
def serving(market: Market, latency_ms: float = 0.0) -> Iterator[str]:
    """The market's vendor as a process of its own; gives its address, and ends it."""
    command = [sys.executable, "-m", "benchmarks.vendor", *_options(market), "--latency-ms", str(latency_ms), "--watched"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise RuntimeError(f"the vendor did not start: exit status {process.wait()}")
        yield url
    finally:
        process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()
        process.stdout.close()


def counts(url: str) -> dict[str, int]:
    """How many requests the vendor answered, and with how many rows, since the last call."""
    with urllib.request.urlopen(f"{url}/counts") as answer:  # noqa: S310 - loopback
        found: dict[str, int] = json.load(answer)
    return found


def _options(market: Market) -> Iterable[str]:
    for name in ("tickers", "rows", "seed"):
        yield from (f"--{name}", str(getattr(market, name)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tickers", type=int, default=500)
    parser.add_argument("--rows", type=int, default=245, help="trading days a ticker")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--latency-ms", type=float, default=0.0, help="between a request and its answer")
    # A killed benchmark leaves no vendor behind: the pipe closes, however its other end came to its end.
    parser.add_argument("--watched", action="store_true", help="end when standard input is closed")
    given = parser.parse_args()
    vendor = Vendor(Market(given.tickers, given.rows, given.seed), given.latency_ms / 1000)
    fast = importlib.util.find_spec("uvloop")  # the webserver brings it, but not on every platform
    loop_factory = importlib.import_module("uvloop").new_event_loop if fast else None
    with suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_serve(vendor, given.watched))


if __name__ == "__main__":
    main()
