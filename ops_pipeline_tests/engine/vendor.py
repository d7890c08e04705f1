"""The vendors of these tests: sources made of a function, and one that answers the same in every process.

Belongs here: what is asked and answered. Does not belong here: homes, runs and what they leave (`home`).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from datetime import date, timedelta
from hashlib import sha256
from zlib import crc32

from ops_pipeline.recipes.models import NO_TICKER
from ops_pipeline.sources import Answer, Request, SourceError

Fetch = Callable[[Request], AsyncIterator[Answer]]
RESTATED_FROM = date(2024, 1, 29)
RESTATED_SINCE = date(2024, 2, 1)


class Vendor:
    """A source that answers by a function, and remembers what it was asked."""

    def __init__(self, fetch: Fetch) -> None:
        self.requests: list[Request] = []
        self.open = 0
        self._fetch = fetch

    async def fetch(self, request: Request) -> AsyncIterator[Answer]:
        self.requests.append(request)
        self.open += 1
        try:
            async for answer in self._fetch(request):
                yield answer
        finally:
            self.open -= 1

    async def aclose(self) -> None:
        pass

    @property
    def windows(self) -> list[tuple[str, date | None, date | None]]:
        """What was asked, in a fixed order."""
        return sorted((r.ticker, r.from_date, r.to_date) for r in self.requests)


def weekdays(first: date | None, last: date | None) -> list[date]:
    """The sessions of a window, oldest first."""
    if first is None or last is None:
        return []
    days = (first + timedelta(days=k) for k in range((last - first).days + 1))
    return [day for day in days if day.weekday() < 5]


def price(ticker: str, day: date, *, restated: bool = False) -> dict[str, object]:
    """A session's record; the same for ever, but for a restatement."""
    close = 10 + crc32(f"{ticker}{day}".encode()) % 9000 / 100 + (0.5 if restated else 0)
    return {"date": day.isoformat(), "close": close, "volume": crc32(day.isoformat().encode()) % 1000, "adjClose": close / 2}


def prices(request: Request) -> list[dict[str, object]]:
    """The window's sessions, newest first; the end of January is restated for those who ask in February."""
    late = request.to_date is not None and request.to_date >= RESTATED_SINCE
    days = reversed(weekdays(request.from_date, request.to_date))
    return [price(request.ticker, day, restated=late and RESTATED_FROM <= day < RESTATED_SINCE) for day in days]


def rates(request: Request) -> bytes:
    """Three currencies in a table with a blank header and a missing value."""
    lines = ["Date,USD,GBP,XXX,"]
    for day in reversed(weekdays(request.from_date, request.to_date)):
        seed = crc32(day.isoformat().encode())
        lines.append(f"{day},{1 + seed % 100 / 1000},{0.8 + seed % 90 / 1000},{'N/A' if day.day % 2 else '7.5'},")
    return ("\n".join(lines) + "\n").encode()


def body(records: object) -> bytes:
    return json.dumps(records).encode()


async def market(request: Request) -> AsyncIterator[Answer]:
    """A vendor with every kind of answer, by ticker: pages, nothing, an error with a body, records that are refused."""
    if request.ticker == NO_TICKER:
        yield Answer(rates(request), status_code=200)
        return
    records = prices(request)
    match request.ticker:
        case "EMPTY":
            records = []
        case "DOWN":
            raise SourceError(
                "The vendor is down: run again later.", kind="transient", status_code=503, body=b"<html>down</html>"
            )
        case "ODD":
            records[len(records) // 2] |= {"close": "n/a"}
        case "PAGED":
            third = len(records) // 3
            yield Answer(body(records[:third]), part=1, last=False, status_code=200)
            yield Answer(body(records[third : 2 * third]), part=2, last=False, status_code=200)
            yield Answer(body(records[2 * third :]), part=3, status_code=200)
            return
    yield Answer(body(records), status_code=200)


def restating(number: int) -> Fetch:
    """A vendor that changes its mind: every answer is one of three versions, in an order of its own for each number."""
    asked = 0

    async def fetch(request: Request) -> AsyncIterator[Answer]:
        nonlocal asked
        asked += 1
        version = crc32(f"{request.ticker} {number} {asked}".encode()) % 3
        days = weekdays(date(2024, 1, 1), date(2024, 1, 12))
        # The second has fewer days, so that the values of both others meet behind it; no version but the third has the last day.
        chosen = {0: days[:8], 1: days[2:5], 2: days[1:]}[version]
        yield Answer(body([{**price(request.ticker, day), "close": 10 + version} for day in chosen]), status_code=200)

    return fetch


async def big(request: Request) -> AsyncIterator[Answer]:
    """Prices with a remark that no compression makes smaller: some 160 kB an answer."""
    noise = "".join(sha256(f"{request.ticker} {k}".encode()).hexdigest() for k in range(4000))
    records = prices(request)
    yield Answer(body([{**records[0], "remark": noise}, *records[1:]]), status_code=200)
