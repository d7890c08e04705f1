"""Ways in which a vendor's answers go wrong, by name: those that pass, answers of another shape, and oddities that are no errors.

Belongs here: replies made of an honest one. Does not belong here: the server (`vendor_server`), who gets which, and expectations.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from zlib import crc32

from ops_pipeline_tests.engine.vendor import price
from ops_pipeline_tests.vendor_server import Answering, Reply, Seen, prices

Record = dict[str, Any]


def records_of(seen: Seen) -> list[Record]:
    """The records of an honest answer."""
    told: list[Record] = json.loads(prices(seen).body)
    return told


def _body(records: object) -> bytes:
    return json.dumps(records).encode()


def _honest(**reply: Any) -> Answering:
    """The honest body, sent in a bad way."""
    return lambda seen: Reply(prices(seen).body, **reply)


def _always(*given: Any, **reply: Any) -> Answering:
    return lambda _: Reply(*given, **reply)


def _other(change: Callable[[Seen, list[Record]], object]) -> Answering:
    """Other records than the honest ones."""
    return lambda seen: Reply(_body(change(seen, records_of(seen))))


# An overloaded or restarting server: the client asks again, and what fails at every attempt is asked again by the next run.
PASSING: dict[str, Answering] = {
    "limited": _always(b'{"message": "slow down"}', status=429),
    "limited for a while": _always(b"", status=429, headers={"Retry-After": "0.01"}),
    "down": _always(b"<h1>Internal Server Error</h1>", status=500),
    "bad gateway": _always(b"bad gateway", status=502),
    "reset in the middle": _honest(sent=200, then="reset"),
    "closed in the middle": _honest(length=10**6, then="close"),
    "never answers": _always(b"", head=b"", then="hang"),
    "hangs in the middle": _honest(sent=100, then="hang"),
    "slow drip": _honest(drip=0.05),
    "cut": lambda seen: Reply(prices(seen).body[:-20]),
    "error with 200": _always(b'{"info": "Try again in a moment"}'),
    # These come whole and with status 200: only reading them, or the calendar, tells that they are no answers.
    "not UTF-8": lambda seen: Reply(prices(seen).body.replace(b'"volume"', b'"note": "\xff\xfe", "volume"')),
    "a page": _always(b"<html><body>Welcome</body></html>", headers={"Content-Type": "text/html"}),
    "no body": _always(b""),
    "falsely empty": _always(b"[]"),
    "lags behind": _other(lambda _, records: records[5:]),  # newest first: the last week is not there yet
}

# Another answer than the recipe's: asking again changes nothing until the vendor or the recipe does.
CHANGED: dict[str, Answering] = {
    "a column is gone": _other(lambda _, records: [{k: v for k, v in r.items() if k != "close"} for r in records]),
    "a type changed": _other(lambda _, records: [{**r, "close": {"value": r["close"], "currency": "USD"}} for r in records]),
    "dates are written anew": _other(lambda _, records: [{**r, "date": "on " + r["date"]} for r in records]),
}


def _outside(seen: Seen, records: list[Record]) -> list[Record]:
    """Days before and behind the window that was asked for, with values that are wrong."""
    first, last = seen.window
    assert first
    assert last
    days = [first - timedelta(days=3), first - timedelta(days=1), last + timedelta(days=1), last + timedelta(days=40)]
    return [*records, *({**price(seen.ticker, day), "close": 0.01} for day in days)]


def _shuffled(seen: Seen, records: list[Record]) -> list[Record]:
    return sorted(records, key=lambda r: crc32(f"{seen.ticker}{r['date']}{seen.attempt}".encode()))


# What vendors do on good days: nothing of it may lose, double or change a row.
ODD: dict[str, Answering] = {
    "rows twice": _other(lambda _, records: [*records, *records[3:9]]),
    "rows twice, the first one stale": _other(lambda _, records: [*({**r, "close": 1.0} for r in records[:4]), *records]),
    "unsorted": _other(_shuffled),
    "outside the window": _other(_outside),
    "a new column": _other(lambda _, records: [{**r, "vwap": 1.5, "tags": ["a", {"b": 1}]} for r in records]),
    "another content type": _honest(headers={"Content-Type": "text/html; charset=latin-1"}),
    "numbers as text": _other(
        lambda _, records: [{**r, "close": str(r["close"]), "volume": f"{r['volume']}.0"} for r in records]
    ),
    "with a mark": lambda seen: Reply(b"\xef\xbb\xbf" + prices(seen).body),
}
