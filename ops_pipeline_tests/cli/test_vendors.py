"""A packaged vendor as a user meets it: listed in the universe, run against a server on loopback, looked at."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from ops_pipeline_tests.cli.command import ok, ops, rows
from ops_pipeline_tests.vendor_server import Reply, Seen, VendorServer

FIRST, TODAY = date(2024, 12, 1), "2025-01-05"


def _candles(seen: Seen) -> Reply:
    """Coinbase's answers: at most 300 candles, newest first, one element more than the recipe knows."""
    if "NOPE" in seen.path:
        return Reply(b'{"message":"NotFound"}', status=404)
    first, last = (date.fromisoformat(seen.params[name][:10]) for name in ("start", "end"))
    if (last - first).days >= 300:
        return Reply(b'{"message":"granularity too small for the requested time range"}', status=400)
    days = [last - timedelta(days=n) for n in range((last - max(first, FIRST)).days + 1)]
    return Reply(
        json.dumps(
            [[int(datetime(d.year, d.month, d.day, tzinfo=UTC).timestamp()), 1, 3, 2, d.day, 0.5, 7] for d in days]
        ).encode()
    )


def test_a_packaged_vendor_is_listed_run_and_looked_at(tmp_path: Path) -> None:
    home, dataset = tmp_path / "home", "coinbase.candles"
    with VendorServer(_candles) as vendor:
        env = {"OPS_PIPELINE_SOURCE_COINBASE_BASE_URL": vendor.url, "NO_PROXY": "*"}
        ok("universe", "add", "BTC-USD", "NOPE-USD", "--dataset", dataset, "--home", home, env=env)
        told = ops("run", "--dataset", dataset, "--today", TODAY, "--home", home, "--json", env=env)
        shown = ok("datasets", "show", dataset, "--home", home, env=env).out
    assert "6      7" in " ".join(shown.split("The vendor also sends fields")[1].splitlines())
    assert (told.status, told.document["keys"]) == (1, {"failed": 1, "promoted": 1})
    (failed,) = [o for o in told.document["outcomes"] if o["outcome"] == "failed"]
    assert failed["reason"] == "coinbase answered with HTTP 404: NotFound (check the recipe's path and the ticker)."
    # A day is final a day later; everything before is there, and asked in pieces that the vendor takes.
    found = rows(
        home,
        "SELECT count(*) AS n, min(s.date)::VARCHAR AS a, max(s.date)::VARCHAR AS b, sum(g.split_adjusted_close) AS closes"
        " FROM silver.coinbase_candles s JOIN gold.fact_eod g ON g.date = s.date AND g.close = g.adjusted_close",
    )
    assert found == [{"n": 35, "a": "2024-12-01", "b": "2025-01-04", "closes": sum(range(1, 32)) + 1 + 2 + 3 + 4}]


def test_a_dividend_changes_adjusted_prices_back_to_the_beginning(tmp_path: Path) -> None:
    """Tiingo restates its adjusted columns: what the overlap shows is held, and the next run asks for the whole history."""
    home, dataset, adjusted = tmp_path / "home", "tiingo.eod-prices", [1.0]
    days = [date(2024, 12, 20), date(2024, 12, 23), date(2024, 12, 24), date(2024, 12, 26), date(2024, 12, 27)]

    def answer(seen: Seen) -> Reply:
        asked = [d for d in days if seen.params["startDate"] <= str(d) <= seen.params["endDate"]]
        return Reply(
            json.dumps([{"date": f"{d}T00:00:00.000Z", "close": 100, "adjClose": 100 * adjusted[0]} for d in asked]).encode()
        )

    with VendorServer(answer) as vendor:
        env = {"OPS_PIPELINE_SOURCE_TIINGO_BASE_URL": vendor.url, "TIINGO_API_KEY": "sentinel-0123456789", "NO_PROXY": "*"}
        ok("universe", "add", "AAPL", "--dataset", dataset, "--home", home, env=env)
        outcomes = []
        for today, factor in (("2024-12-25", 1.0), ("2024-12-25", 1.0), ("2024-12-27", 0.9), ("2024-12-27", 0.9)):
            adjusted[0] = factor
            told = ops("run", "--dataset", dataset, "--today", today, "--home", home, "--json", env=env)
            (outcome,) = told.document["outcomes"]
            outcomes.append(outcome["outcome"])
        asked = [seen.params["startDate"] for seen in vendor.seen]
    # New York is closed at Christmas, so the second run asks nothing.
    assert outcomes == ["promoted", "up_to_date", "unchanged", "promoted"]
    assert asked == ["1962-01-02", "2024-12-15", "1962-01-02"]
    assert rows(home, "SELECT adj_close, count(*) AS n FROM silver.tiingo_eod_prices GROUP BY ALL") == [
        {"adj_close": 90.0, "n": 5}
    ]
    assert rows(home, "SELECT * FROM silver.mixed_basis") == []
