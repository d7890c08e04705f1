"""Whole runs against a vendor that misbehaves: what is good is promoted, what is bad fails alone with a sentence, and is asked again.

Belongs here: runs over a home whose source stands in a recipe file. Does not belong here: single answers (`test_http`) and the key
(`test_http_secrets`).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ops_pipeline.engine.context import build_context
from ops_pipeline.engine.outcome import OutcomeKind
from ops_pipeline.errors import SettingsError
from ops_pipeline.settings import load_settings
from ops_pipeline.sources import http
from ops_pipeline_tests.engine.home import assert_tidy, bronze_files, ledger
from ops_pipeline_tests.engine.vendor import price, weekdays
from ops_pipeline_tests.faults import CHANGED, ODD
from ops_pipeline_tests.sources.http_home import FIRST, KEY, LAST, make_home, run
from ops_pipeline_tests.vendor_server import Reply, Seen, VendorServer, prices

SYMBOLS = ("AAA", "BRK.B", "BTC/USD", "^GSPC", "../../etc/passwd", "a b&c=d")
# What is odd and no error is good too.
GOOD = (*SYMBOLS, *(f"ODD{k}" for k in range(len(ODD))))
SESSIONS = len(weekdays(FIRST, LAST))


def cut(seen: Seen) -> Reply:
    return Reply(prices(seen).body[:-20])


# Ticker -> what it gets, what becomes of it, and what its reason says.
FAULTS = {
    "UNAUTHORIZED": (Reply(b'{"message": "bad key"}', status=401), "failed", "bad key (check the key in VENDOR_API_KEY)"),
    "PREMIUM": (Reply(b"Premium only", status=402), "not_in_plan", "HTTP 402: Premium only (the plan does not hold this; leave it out"),
    "FORBIDDEN": (Reply(b"<html>no</html>", status=403), "failed", "HTTP 403 (the plan does not allow this"),
    "UNKNOWN": (Reply(b"{}", status=404), "failed", "HTTP 404 (check the recipe's path and the ticker)"),
    "LIMITED": (Reply(status=429), "failed", "HTTP 429; the next run asks again"),
    "DOWN": (Reply(b"<h1>down</h1>", status=500), "failed", "HTTP 500; the next run asks again"),
    "GATEWAY": (Reply(b"bad gateway", status=502), "failed", "HTTP 502: bad gateway; the next run asks again"),
    "RESET": (Reply(b"[" * 99, sent=50, then="reset"), "failed", "broke off in the middle"),
    "SHORT": (Reply(b"[]", length=500, then="close"), "failed", "broke off in the middle"),
    "CUT": (cut, "failed", "sent an answer that was cut"),
    "ERROR200": (Reply(b'{"Error Message": "no such thing"}'), "failed", "HTTP 200: no such thing"),
    "LATER200": (Reply(b'{"info": "Try again"}'), "failed", "HTTP 200: Try again; the next run asks again"),
    "MOVED": (Reply(status=301, headers={"Location": "https://vendor.example/new"}), "failed", "redirects to https://vendor.example"),
    "LATIN1": (Reply('[{"date": "2024-01-02", "close": "é"}]'.encode("latin-1")), "failed", ""),
    "NOTHING": (Reply(b""), "failed", "empty"),
    "EMPTY": (Reply(b"[]"), "empty", ""),
    "HTML200": (Reply(b"<html>Welcome</html>"), "failed", "not a JSON array"),
    "GONE": (CHANGED["a column is gone"], "failed", "close"),
    "TYPE": (CHANGED["a type changed"], "failed", "close"),
    "DATES": (CHANGED["dates are written anew"], "failed", "date"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "FIRST_PAUSE_SECONDS", 0.001)


def misbehaving(vendor: VendorServer) -> None:
    for ticker, (reply, _, _) in FAULTS.items():
        vendor.when(reply, ticker=ticker)
    for k, odd in enumerate(ODD.values()):
        vendor.when(odd, ticker=f"ODD{k}")


def test_what_fails_fails_alone_with_a_sentence_and_the_next_run_asks_for_it(vendor: VendorServer, tmp_path: Path) -> None:
    misbehaving(vendor)
    vendor.when(Reply(status=503), ticker="AAA", attempts=[1, 2])  # passes
    context = make_home(tmp_path, vendor.url, [*GOOD, *FAULTS], concurrency=4, attempts=3)
    told = run(context)
    assert {told[t].kind for t in GOOD} == {OutcomeKind.PROMOTED}
    rows = {row.ticker: row for row in ledger(context)}
    for ticker, (reply, kind, sentence) in FAULTS.items():
        assert told[ticker].kind.value == kind, (ticker, told[ticker])
        assert sentence in told[ticker].reason, (ticker, told[ticker].reason)
        assert "\n" not in told[ticker].reason
        if isinstance(reply, Reply) and kind == "failed" and reply.then == "keep":
            kept = rows[ticker].bronze_filename
            assert (bronze_files(context)[kept] if kept else b"") == reply.body, ticker
            assert rows[ticker].bronze_status_code == reply.status
    kinds = {ticker: rows[ticker].bronze_error_kind for ticker in ("UNAUTHORIZED", "PREMIUM", "UNKNOWN", "DOWN", "AAA", "EMPTY")}
    assert list(kinds.values()) == ["auth", "plan", "permanent", "transient", None, None]
    assert vendor.most_under_way <= 4
    assert {t: vendor.tickers.count(t) for t in ("LIMITED", "DOWN", "GATEWAY", "RESET", "CUT")} == dict.fromkeys(
        ("LIMITED", "DOWN", "GATEWAY", "RESET", "CUT"), 3
    )
    assert_tidy(context)
    with context.warehouse.reading() as connection:
        stored = connection.execute(
            "SELECT ticker, date::VARCHAR, close, volume FROM silver.vendor_prices ORDER BY ALL"
        ).fetchall()
    records = [(t, price(t, day)) for t in sorted(GOOD) for day in weekdays(FIRST, LAST)]
    assert stored == [(t, r["date"], r["close"], r["volume"]) for t, r in records]

    # While nothing is mended, the bad ones are asked again, and only they; what the plan does not hold is not.
    vendor.seen.clear()
    assert {t: o.kind.value for t, o in run(context).items() if t in FAULTS} == {t: kind for t, (_, kind, _) in FAULTS.items()}
    assert {seen.ticker for seen in vendor.seen} == FAULTS.keys() - {"PREMIUM"}
    vendor.recover()
    again = run(context)
    assert {again[t].kind for t in GOOD} == {OutcomeKind.UP_TO_DATE}
    # What the plan does not hold is remembered; whoever forces it gets it.
    assert again["PREMIUM"].kind is OutcomeKind.NOT_IN_PLAN
    assert {again[t].kind for t in FAULTS if t != "PREMIUM"} == {OutcomeKind.PROMOTED}
    assert run(context, force=True)["PREMIUM"].kind is OutcomeKind.PROMOTED
    assert vendor.tickers == sorted(FAULTS)
    assert {seen.window for seen in vendor.seen} == {(FIRST, LAST)}
    with context.warehouse.reading() as connection:
        assert connection.execute("SELECT count(*) FROM gold.fact_eod").fetchall() == [(SESSIONS * (len(GOOD) + len(FAULTS)),)]
    assert {outcome.kind for outcome in run(context).values()} == {OutcomeKind.UP_TO_DATE}


def test_a_vendor_that_is_away_fails_every_key_and_no_more(tmp_path: Path) -> None:
    with VendorServer() as gone:
        context = make_home(tmp_path, gone.url, ("AAA", "BBB"), attempts=2)
    told = run(context)
    assert {(o.kind, o.reason) for o in told.values()} == {
        (OutcomeKind.FAILED, "vendor cannot be reached (connection refused); the next run asks again.")
    }
    assert_tidy(context)


def test_without_its_key_nothing_is_asked_and_every_key_says_which_variable(
    vendor: VendorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_home(tmp_path, vendor.url, ("AAA", "BBB"))
    monkeypatch.delenv("VENDOR_API_KEY")
    told = run(context)
    assert {o.reason for o in told.values()} == {
        "vendor cannot be asked: it wants a key; put it into the environment variable VENDOR_API_KEY and run again."
    }
    assert vendor.seen == []
    monkeypatch.setenv("VENDOR_API_KEY", KEY)
    assert {o.kind for o in run(context).values()} == {OutcomeKind.PROMOTED}


# --- another address --------------------------------------------------------------------------------------------------------------


def test_a_source_can_be_asked_at_another_address(vendor: VendorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPS_PIPELINE_SOURCE_VENDOR_BASE_URL", vendor.url + "/mirror/")
    context = make_home(tmp_path, "https://vendor.invalid/v3", ("AAA",))
    assert {o.kind for o in run(context).values()} == {OutcomeKind.PROMOTED}
    assert [seen.path for seen in vendor.seen] == ["/mirror/prices"]
    monkeypatch.delenv("OPS_PIPELINE_SOURCE_VENDOR_BASE_URL")
    assert {o.kind for o in run(build_context(load_settings(home=tmp_path))).values()} == {OutcomeKind.UP_TO_DATE}


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("OPS_PIPELINE_SOURCE_VENDER_BASE_URL", "https://a.example", "by HTTP; such variables here: OPS_PIPELINE_SOURCE_VENDOR_BASE_URL"),
        ("OPS_PIPELINE_SOURCE_SAMPLE_BASE_URL", "https://a.example", "names no source that is reached by HTTP"),
        ("OPS_PIPELINE_SOURCE_VENDOR_BASE_URL", "http://a.example", "use https"),
        ("OPS_PIPELINE_SOURCE_VENDOR_BASE_URL", "a.example", "write scheme, host and path only"),
        ("OPS_PIPELINE_SOURCE_VENDOR_BASE_URL", "https://me:s3cret@a.example", "no user"),
        ("OPS_PIPELINE_SOURCE_VENDOR_URL", "https://a.example", "is no setting of ops_pipeline"),
        ("OPS_PIPELINE_SOURCE__BASE_URL", "https://a.example", ""),
    ],
)  # fmt: skip
def test_another_address_follows_the_rules_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, why: str
) -> None:
    make_home(tmp_path, "https://vendor.invalid", ("AAA",))
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        build_context(load_settings(home=tmp_path))
    text = str(caught.value)
    assert text.startswith(variable)
    assert why in text
    assert "s3cret" not in text
    assert text.endswith("unset it.")
