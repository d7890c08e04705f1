"""`asof` and `explain`, as a user types them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from ops_pipeline_tests.cli.command import ok, ops, refused, rows

AAPL = ("AAPL", "2012-09-19")


def test_explain_walks_from_gold_to_the_file_that_holds_the_number(whole_home: Path) -> None:
    [trail] = ok("explain", *AAPL, "--home", whole_home, "--json").document["trails"]
    assert (trail["gold_table"], trail["gold"]["close"], trail["silver"]["close"]) == ("gold.fact_eod", 702.1, 702.1)
    assert [v["operation"] for v in trail["versions"]] == ["created"]
    assert trail["previous"]["date"] == "2012-09-18"
    [file] = trail["files"]
    assert (file["run_id"], file["file_id"]) == (trail["silver"]["run_id"], trail["silver"]["bronze_file_id"])
    assert (whole_home / "bronze" / file["bronze_filename"]).is_file()
    shown = ok("explain", "USD", "2024-05-06", "--home", whole_home)
    for words in ("gold.fact_fx", "rate 1.0776", "its returns also rest on", "2024-05-03", "sha256", "created"):
        assert words in shown.out
    assert "coverage" in refused("explain", "AAPL", "2012-09-16", "--home", whole_home)


def test_asof_gives_what_stood_and_says_what_it_rests_on(whole_home: Path) -> None:
    # The two datasets are fetched side by side: by then both were known.
    [known] = rows(
        whole_home,
        "SELECT strftime(greatest((SELECT max(known_at) FROM silver.sample_eod_prices_history),"
        " (SELECT max(known_at) FROM silver.sample_fx_rates_history)), '%Y-%m-%dT%H:%M:%S.%fZ') AS at",
    )
    found = ok(
        "asof", "sample.eod-prices", known["at"], "--ticker", AAPL[0], "--date", AAPL[1], "--home", whole_home, "--json"
    ).document
    assert ([r["close"] for r in found["rows"]], found["clock"], found["truncated"]) == ([702.1], "known", False)
    text = ok("asof", "sample.fx-rates", known["at"], "--layer", "gold", "--date", "2024-05-06", "--csv", "--home", whole_home)
    usd = next(line for line in csv.DictReader(io.StringIO(text.out)) if line["currency"] == "USD")
    assert (usd["rate"], usd["date"]) == ("1.0776", "2024-05-06")
    early = ok("asof", "sample.eod-prices", "2020-01-31", "--home", whole_home)
    assert early.out == ""
    assert "Before the first answer" in early.err
    assert "give one" in refused("asof", "sample.eod-prices", "2020-01-31", "--json", "--csv", "--home", whole_home)
    wrong = ops("asof", "sample.eod-prices", "2020-13-01", "--home", whole_home)
    assert wrong.status == 2
    assert "2020-13-01" in wrong.err
