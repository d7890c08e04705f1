"""Asking again: when, how often, and after which pause.

Belongs here: attempts and Retry-After. Does not belong here: which answers are worth another attempt (`test_http`).
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_pipeline.clock import utc_now
from ops_pipeline.sources import http
from ops_pipeline.sources.http_errors import seconds
from ops_pipeline_tests.sources.http_home import Asking
from ops_pipeline_tests.vendor_server import Reply, VendorServer

BUSY = Reply(b"busy", status=503)


def limited(retry_after: str | None) -> Reply:
    return Reply(b'{"message": "slow down"}', status=429, headers={} if retry_after is None else {"Retry-After": retry_after})


def test_an_answer_at_a_later_attempt_is_an_answer(vendor: VendorServer, tmp_path: Path) -> None:
    vendor.when(BUSY, attempts=[1]).when(limited("0"), attempts=[2])
    asking = Asking(tmp_path, vendor.url)
    assert asking.answer().status_code == 200
    assert [seen.attempt for seen in vendor.seen] == [1, 2, 3]
    assert len({seen.target for seen in vendor.seen}) == 1
    assert len(asking.pauses) == 2


def test_pauses_grow_and_are_spread(vendor: VendorServer, tmp_path: Path) -> None:
    asking = Asking(tmp_path, vendor.when(BUSY).url, attempts=6)
    asking.error()
    assert len(vendor.seen) == 6
    assert len(asking.pauses) == 5
    for k, pause in enumerate(asking.pauses):
        longest = http.FIRST_PAUSE_SECONDS * 2**k
        assert longest / 2 <= pause <= longest


def test_one_attempt_means_one(vendor: VendorServer, tmp_path: Path) -> None:
    asking = Asking(tmp_path, vendor.when(BUSY).url, attempts=1)
    assert asking.error().kind == "transient"
    assert (len(vendor.seen), asking.pauses) == (1, [])


def test_requests_that_fail_at_once_do_not_share_their_attempts(vendor: VendorServer, tmp_path: Path) -> None:
    tickers = [f"T{k}" for k in range(8)]
    for k, ticker in enumerate(tickers):
        vendor.when(BUSY, ticker=ticker, attempts=range(1, k + 1))
    told = Asking(tmp_path, vendor.url, attempts=5).all(*tickers)
    assert [isinstance(one, Exception) for one in told] == [False] * 5 + [True] * 3
    assert {t: vendor.tickers.count(t) for t in tickers} == {t: min(k + 1, 5) for k, t in enumerate(tickers)}


@pytest.mark.parametrize(("header", "wanted"), [("0", 0), ("7", 7), (" 60 ", 60), ("2.5", 2.5)])
def test_the_vendors_own_pause_is_kept(vendor: VendorServer, tmp_path: Path, header: str, wanted: float) -> None:
    vendor.when(limited(header), attempts=[1])
    asking = Asking(tmp_path, vendor.url)
    asking.answer()
    (pause,) = asking.pauses
    assert wanted <= pause <= wanted + http.SPREAD_SECONDS


def test_the_vendors_own_pause_may_be_a_date(vendor: VendorServer, tmp_path: Path) -> None:
    vendor.when(limited(format_datetime(utc_now() + timedelta(seconds=30), usegmt=True)), attempts=[1])
    asking = Asking(tmp_path, vendor.url)
    asking.answer()
    assert 20 < asking.pauses[0] < 31


@pytest.mark.parametrize(
    "header", [None, "soon", "-5", "nan", "inf", "1e3", "Wed, 99 Nov 2026", "", "0x10", "Mon, 01 Jan 99999 00:00:00 GMT"]
)
def test_nonsense_is_no_pause_of_the_vendors(vendor: VendorServer, tmp_path: Path, header: str | None) -> None:
    vendor.when(limited(header), attempts=[1])
    asking = Asking(tmp_path, vendor.url)
    asking.answer()
    assert asking.pauses[0] <= http.FIRST_PAUSE_SECONDS


def test_a_date_that_has_passed_is_no_pause(vendor: VendorServer, tmp_path: Path) -> None:
    vendor.when(limited("Wed, 21 Oct 2015 07:28:00 GMT"), attempts=[1])
    asking = Asking(tmp_path, vendor.url)
    asking.answer()
    assert asking.pauses[0] <= http.SPREAD_SECONDS


@pytest.mark.parametrize("header", ["61", "86400", "9" * 400, "a date"])
def test_a_longer_pause_than_allowed_is_a_quota_that_is_used_up(vendor: VendorServer, tmp_path: Path, header: str) -> None:
    if header == "a date":  # made here: a parameter must be the same in every process of the test run
        header = format_datetime(utc_now() + timedelta(days=1), usegmt=True)
    asking = Asking(tmp_path, vendor.when(limited(header)).url)
    error = asking.error()
    assert (error.kind, error.status_code, len(vendor.seen), asking.pauses) == ("deferred", 429, 1, [])
    assert str(error).startswith("vendor wants to be left alone")
    assert str(error).endswith("it answered with HTTP 429: slow down; a later run asks again.")


def test_a_server_that_is_closed_for_longer_is_not_asked_again_by_this_run(vendor: VendorServer, tmp_path: Path) -> None:
    asking = Asking(tmp_path, vendor.when(Reply(status=503, headers={"Retry-After": "3600"})).url)
    assert (asking.error().kind, len(vendor.seen), asking.pauses) == ("transient", 1, [])


def test_a_declared_kind_beats_the_pause(vendor: VendorServer, tmp_path: Path) -> None:
    asking = Asking(tmp_path, vendor.when(Reply(b"Error Message", status=429, headers={"Retry-After": "1"})).url)
    assert (asking.error().kind, len(vendor.seen)) == ("permanent", 1)


def test_a_pause_can_be_cancelled(vendor: VendorServer, tmp_path: Path) -> None:
    vendor.when(limited("60"))

    async def stopped() -> None:
        asking = Asking(tmp_path, vendor.url)
        pausing = asyncio.Event()

        async def sleep(_: float) -> None:
            pausing.set()
            await asyncio.sleep(3600)

        asking.client._sleep = sleep
        task = asyncio.create_task(asking.one())
        await pausing.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asking.client.aclose()

    asyncio.run(stopped())
    assert vendor.idle.wait(300)


@given(st.text(max_size=40) | st.integers(0, 10**30).map(str) | st.floats(0).map(str) | st.datetimes().map(format_datetime))
def test_any_header_is_a_pause_or_none(header: str) -> None:
    told = seconds(header)
    assert told is None or told >= 0
