"""One question to a vendor over a real connection: what is sent, and what each answer becomes.

Belongs here: requests on the wire, status codes, bodies and limits. Does not belong here: further attempts (`test_http_retry`), the key
(`test_http_secrets`), proxies (`test_http_proxy`), whole runs (`test_http_runs`).
"""

from __future__ import annotations

import asyncio
import gzip
import json
import tracemalloc
import warnings
import zlib
from pathlib import Path

import pytest

from ops_pipeline import __version__
from ops_pipeline.sources import SourceError
from ops_pipeline.sources.http_errors import TRANSIENT_STATUS
from ops_pipeline_tests.sources.http_home import ERRORS, KEY, Asking
from ops_pipeline_tests.vendor_server import Reply, Seen, VendorServer, prices

HTML = b"<html><head><title>Forbidden</title></head></html>"
ODD = (
    "BRK.B",
    "BTC/USD",
    "^GSPC",
    "../../etc/passwd",
    "a b&c=d",
    "a+b",
    "100%",
    "%2e%2e",
    "x?y#z",
    "{ticker}",
    "日本",
    "a;b",
    "[x]",
    "é",
)


def failing(vendor: VendorServer, folder: Path, reply: Reply, **about: object) -> SourceError:
    """The error of a reply that is the same at every attempt."""
    return Asking(folder, vendor.when(reply).url, **about).error()


# --- what is sent -----------------------------------------------------------------------------------------------------------------


def test_a_good_answer_is_given_as_it_came(vendor: VendorServer, tmp_path: Path) -> None:
    answer = Asking(tmp_path, vendor.url).answer()
    assert (answer.status_code, answer.part, answer.last, answer.redacted) == (200, 1, True, False)
    assert answer.body == prices(vendor.seen[0]).body
    (seen,) = vendor.seen
    assert seen.params == {"symbol": "AAA", "from": "2024-01-01", "to": "2024-01-31", "apikey": KEY}
    assert seen.headers["user-agent"] == f"ops_pipeline/{__version__}"
    assert "cookie" not in seen.headers


@pytest.mark.parametrize("ticker", ODD)
def test_an_odd_ticker_arrives_as_written_as_a_parameter_and_in_the_path(
    vendor: VendorServer, tmp_path: Path, ticker: str
) -> None:
    Asking(tmp_path, vendor.url).answer(ticker)
    below = {"request": {"path": "/v1/{ticker}/daily/{ticker}", "params": {"k": "v"}}}
    Asking(tmp_path, vendor.url + "/api", recipe=below).answer(ticker)
    param, path = vendor.seen
    assert (param.path, param.params["symbol"]) == ("/prices", ticker)
    assert (path.ticker, path.params) == (ticker, {"k": "v", "apikey": KEY})
    assert path.path.split("/")[:3] == ["", "api", "v1"]
    assert path.path.count("/") == 5


@pytest.mark.parametrize("ticker", [".", "..", "\ud800"])
def test_a_ticker_that_no_path_can_hold_is_not_sent(vendor: VendorServer, tmp_path: Path, ticker: str) -> None:
    asking = Asking(tmp_path, vendor.url, recipe={"request": {"path": "/v1/{ticker}"}})
    error = asking.error(ticker)
    assert (error.kind, vendor.seen) == ("permanent", [])
    assert "cannot be asked of vendor.prices" in str(error)
    assert "correct the recipe or the universe" in str(error)


def test_the_key_goes_into_a_header_behind_its_prefix(vendor: VendorServer, tmp_path: Path) -> None:
    key = {"env": "VENDOR_API_KEY", "header": "Authorization", "prefix": "Token "}
    Asking(tmp_path, vendor.url, key=key).answer()
    (seen,) = vendor.seen
    assert seen.headers["authorization"] == f"Token {KEY}"
    assert KEY not in seen.line
    assert "apikey" not in seen.line


def test_a_vendor_without_key_gets_none(vendor: VendorServer, tmp_path: Path) -> None:
    Asking(tmp_path, vendor.url, key=None).answer()
    assert set(vendor.seen[0].params) == {"symbol", "from", "to"}


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "it wants a key; put it into the environment variable VENDOR_API_KEY"),
        ("", "it wants a key"),
        (" \n", "it wants a key"),
        ("Bearer abcdefgh12345678", "VENDOR_API_KEY holds a blank"),
        ("abcdefgh\r\nX-Other: 1", "VENDOR_API_KEY holds a blank"),
        ("schlüssel-123", "outside ASCII"),
    ],
)
def test_without_a_usable_key_nothing_is_sent(
    vendor: VendorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None, why: str
) -> None:
    monkeypatch.delenv("VENDOR_API_KEY") if value is None else monkeypatch.setenv("VENDOR_API_KEY", value)
    error = Asking(tmp_path, vendor.url).error()
    assert (error.kind, vendor.seen) == ("permanent", [])
    assert str(error).startswith("vendor cannot be asked: ")
    assert why in str(error)
    assert not value or not value.strip() or value.strip() not in str(error)


def test_blanks_around_a_key_are_not_part_of_it(vendor: VendorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VENDOR_API_KEY", f" {KEY}\r\n")
    Asking(tmp_path, vendor.url).answer()
    assert vendor.seen[0].params["apikey"] == KEY


def test_a_source_never_has_more_requests_under_way_than_it_says(vendor: VendorServer, tmp_path: Path) -> None:
    vendor.answer = lambda _: Reply(b"[" + b" " * 20 + b"]", drip=0.0002)
    told = Asking(tmp_path, vendor.url, concurrency=3).all(*(f"T{k}" for k in range(12)))
    assert not [one for one in told if isinstance(one, SourceError)]
    assert vendor.most_under_way == 3
    assert len({seen.ticker for seen in vendor.seen}) == 12


# --- what an answer becomes -------------------------------------------------------------------------------------------------------

REFUSED = [
    (Reply(b'{"message": "Invalid API key."}', status=401), "HTTP 401: Invalid API key (check the key in VENDOR_API_KEY)"),
    (Reply(b"Premium endpoint: upgrade\nyour plan.", status=402), "HTTP 402: Premium endpoint: upgrade your plan (the plan does not"),
    (Reply(HTML, status=403), "HTTP 403 (the plan does not allow this; check the key in VENDOR_API_KEY)"),
    (Reply(b'{"status": "error", "errors": [{"detail": "no such symbol"}]}', status=404), "HTTP 404: no such symbol (check the recipe's"),
    (Reply(b"", status=400), "HTTP 400 (check the recipe's request)"),
    (Reply(b"[]", status=418), "HTTP 418 (the request is refused; check the recipe and the ticker)"),
    (Reply(b'{"Error Message": "unknown symbol"}'), "HTTP 200: unknown symbol ("),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "sentence"), REFUSED, ids=[str(reply.status) for reply, _ in REFUSED])
def test_what_is_refused_for_good_is_asked_once(vendor: VendorServer, tmp_path: Path, reply: Reply, sentence: str) -> None:
    error = failing(vendor, tmp_path, reply)
    kind = {401: "auth", 402: "plan"}.get(reply.status, "permanent")
    assert (error.kind, error.status_code, error.body) == (kind, reply.status, reply.body)
    assert f"vendor answered with {sentence}" in str(error)
    assert str(error).endswith(".")
    assert "\n" not in str(error)
    assert len(vendor.seen) == 1


@pytest.mark.parametrize("status", sorted(TRANSIENT_STATUS))
def test_an_overloaded_server_is_asked_again_up_to_the_limit(vendor: VendorServer, tmp_path: Path, status: int) -> None:
    error = failing(vendor, tmp_path, Reply(b"<h1>busy</h1>", status=status), attempts=3)
    assert (error.kind, error.status_code, error.body) == ("transient", status, b"<h1>busy</h1>")
    assert str(error) == f"vendor answered with HTTP {status}; the next run asks again."
    assert len(vendor.seen) == 3


@pytest.mark.parametrize("pattern", ERRORS, ids=lambda pattern: pattern["kind"])
@pytest.mark.parametrize("status", [200, 403, 500])
def test_a_declared_text_says_what_an_answer_is_whatever_its_status(
    vendor: VendorServer, tmp_path: Path, pattern: dict[str, str], status: int
) -> None:
    body = json.dumps({"info": pattern["match"] + " please"}).encode()
    error = failing(vendor, tmp_path, Reply(body, status=status), attempts=2)
    assert (error.kind, error.status_code, error.body) == (pattern["kind"], status, body)
    assert len(vendor.seen) == (2 if pattern["kind"] == "transient" else 1)
    if pattern["kind"] == "deferred":
        assert (
            str(error)
            == f"vendor wants to be left alone: it answered with HTTP {status}: Limit Reach please; a later run asks again."
        )


def test_a_declared_text_deep_in_a_good_answer_is_data(vendor: VendorServer, tmp_path: Path) -> None:
    body = json.dumps(["x" * 5000, "Error Message"]).encode()
    assert Asking(tmp_path, vendor.when(Reply(body)).url).answer().body == body


@pytest.mark.parametrize("body", [b"[]", b"", b" \n", b"\xff\xfe[1]", b'[{"a": "\xe9"}]', HTML, b"1", b"{}", b"date,close\n"])
def test_what_a_body_means_is_not_for_the_client_to_say(vendor: VendorServer, tmp_path: Path, body: bytes) -> None:
    assert Asking(tmp_path, vendor.when(Reply(body)).url).answer().body == body


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_refused_and_the_key_goes_nowhere_else(vendor: VendorServer, tmp_path: Path, status: int) -> None:
    with VendorServer() as other:
        location = f"{other.url}/elsewhere?apikey={KEY}"
        error = failing(vendor, tmp_path, Reply(b"", status=status, headers={"Location": location}))
        assert other.seen == []
    assert (error.kind, error.status_code) == ("permanent", status)
    assert "it redirects to http://127.0.0.1, where the key is not sent; write the right address into base_url or path" in str(
        error
    )
    assert "elsewhere" not in str(error)


@pytest.mark.parametrize("location", ["", "/v2", "//[", "javascript:alert(1)", "https://" + "x" * 500])
def test_any_redirect_is_a_sentence(vendor: VendorServer, tmp_path: Path, location: str) -> None:
    assert "it redirects to " in str(failing(vendor, tmp_path, Reply(b"", status=302, headers={"Location": location})))


# --- bodies that break ------------------------------------------------------------------------------------------------------------

GOOD = prices(Seen("GET /prices?symbol=AAA&from=2024-01-01&to=2024-01-31 HTTP/1.1", {})).body
BROKEN = {
    "reset in the middle": (Reply(GOOD, sent=100, then="reset"), "broke off in the middle"),
    "closed in the middle": (Reply(GOOD, sent=100, then="close"), "broke off in the middle"),
    "reset before the head": (Reply(b"", head=b"", then="reset"), "cannot be reached"),
    "closed before the head": (Reply(b"", head=b"", then="close"), "cannot be reached"),
    "half a head": (Reply(b"", head=b"HTTP/1.1 200 OK\r\nContent-Le", then="close"), "cannot be reached"),
    "not HTTP": (Reply(b"", head=b"220 smtp.example ESMTP\r\n\r\n", then="close"), "not HTTP"),
    "too many headers": (Reply(headers={f"X-{k}": "y" * 100 for k in range(300)}), "not HTTP"),
    "more claimed than sent": (Reply(GOOD, length=len(GOOD) + 1, then="close"), "broke off in the middle"),
    "less claimed than sent": (Reply(GOOD, length=len(GOOD) - 5, then="close"), " an answer"),
    "a chunk cut": (Reply(head=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n", then="close"), "broke off in the middle"),
    "cut and delivered whole": (Reply(GOOD[:-20]), "an answer that was cut"),
    "an object, cut": (Reply(b'{"data": [1, 2'), "an answer that was cut"),
    "gzip, cut": (Reply(gzip.compress(GOOD)[:-12], headers={"Content-Encoding": "gzip"}), "broke off in the middle"),
    "gzip, its end cut": (Reply(gzip.compress(GOOD)[:-3], headers={"Content-Encoding": "gzip"}), "broke off in the middle"),
    "gzip, damaged": (Reply(gzip.compress(GOOD)[:-8] + bytes(8), headers={"Content-Encoding": "gzip"}), "broke off in the middle"),
    "a coding that was not asked for": (Reply(GOOD, headers={"Content-Encoding": "br"}), "broke off in the middle"),
    "gzip that is none": (Reply(GOOD, headers={"Content-Encoding": "gzip"}), "broke off in the middle"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_half_an_answer_is_none_and_is_asked_again(vendor: VendorServer, tmp_path: Path, name: str) -> None:
    reply, sentence = BROKEN[name]
    vendor.when(reply, attempts=[1, 2, 3, 4])  # the library itself asks again once on a connection that it had used before
    asking = Asking(tmp_path, vendor.url, attempts=5)
    assert asking.answer().body == GOOD
    vendor.recover()
    error = failing(vendor, tmp_path, reply, attempts=2)
    assert error.kind == "transient"
    assert sentence in str(error)
    assert str(error).endswith("; the next run asks again.")


def test_the_next_request_is_not_harmed_by_bytes_that_are_left_over(vendor: VendorServer, tmp_path: Path) -> None:
    vendor.when(Reply(GOOD + b'{"left": "over"}', length=len(GOOD)), ticker="AAA")

    async def both() -> None:
        asking = Asking(tmp_path, vendor.url, concurrency=1)
        for ticker in ("AAA", "BBB", "AAA", "BBB"):
            try:
                answer = await asking.one(ticker)
            except SourceError as e:
                assert (e.kind, ticker) == ("transient", "AAA")  # it depends on whether the rest came in the same packet
            else:
                assert answer.body == prices(vendor.seen[-1]).body
        await asking.client.aclose()

    asyncio.run(both())


def test_a_vendor_that_drips_is_given_up(vendor: VendorServer, tmp_path: Path) -> None:
    error = failing(vendor, tmp_path, Reply(GOOD, drip=0.01), timeout_seconds=0.1, attempts=1)
    assert (error.kind, error.body) == ("transient", None)
    assert str(error) == "vendor did not answer within 0.1 s; the next run asks again."


def test_a_port_where_nobody_listens(tmp_path: Path) -> None:
    with VendorServer() as gone:
        url = gone.url
    error = Asking(tmp_path, url, attempts=2).error()
    assert error.kind == "transient"
    assert str(error) == "vendor cannot be reached (connection refused); the next run asks again."


def test_a_host_that_does_not_exist(tmp_path: Path) -> None:
    error = Asking(tmp_path, "https://vendor.invalid", attempts=1).error()
    assert error.kind == "transient"
    assert "cannot be reached (its name is not known)" in str(error)


def test_a_vendor_that_speaks_no_tls(vendor: VendorServer, tmp_path: Path) -> None:
    error = Asking(tmp_path, vendor.url.replace("http:", "https:"), attempts=1).error()
    assert error.kind == "transient"
    assert "cannot be reached (tls: " in str(error)
    assert vendor.seen == []


# --- size -------------------------------------------------------------------------------------------------------------------------

LIMIT = 1_000_000


PACKED = {
    "gzip": gzip.compress(GOOD),
    "GZIP ": gzip.compress(GOOD[:9]) + gzip.compress(GOOD[9:]),
    "deflate": zlib.compress(GOOD),
    "Deflate": zlib.compress(GOOD, wbits=-15),
    "identity": GOOD,
}


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("coding", PACKED)
def test_a_packed_answer_is_unpacked(vendor: VendorServer, tmp_path: Path, coding: str, chunked: bool) -> None:
    body = PACKED[coding]
    chunks = (body[:1], *(body[k : k + 50] for k in range(1, len(body), 50))) if chunked else ()
    vendor.when(Reply(body, chunks=chunks, headers={"Content-Encoding": coding}))
    assert Asking(tmp_path, vendor.url).answer().body == GOOD
    assert vendor.seen[0].headers["accept-encoding"] == "gzip, deflate"


def test_an_empty_answer_may_claim_to_be_packed(vendor: VendorServer, tmp_path: Path) -> None:
    assert Asking(tmp_path, vendor.when(Reply(b"", headers={"Content-Encoding": "gzip"})).url).answer().body == b""


def test_a_large_and_well_packed_answer_within_the_limit_is_taken(vendor: VendorServer, tmp_path: Path) -> None:
    body = b"[" + b" " * 40_000_000 + b"]"
    vendor.when(Reply(gzip.compress(body, 1), headers={"Content-Encoding": "gzip"}))
    assert Asking(tmp_path, vendor.url).answer().body == body


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("chunked", [False, True])
def test_the_limit_is_exact(vendor: VendorServer, tmp_path: Path, extra: int, chunked: bool) -> None:
    body = b"[" + b" " * (998 + extra) + b"]"
    vendor.when(Reply(b"", chunks=(body[:500], body[500:])) if chunked else Reply(body))
    (told,) = Asking(tmp_path, vendor.url, max_bytes=1000).all("AAA")
    if extra:
        assert isinstance(told, SourceError)
        assert (told.kind, told.body, len(vendor.seen)) == ("permanent", None, 1)
        assert str(told) == "vendor sent an answer of more than 1000 bytes: ask for less, or raise max_bytes."
    else:
        assert not isinstance(told, SourceError)


def _bomb() -> bytes:
    """A quarter of a gigabyte in a quarter of a megabyte."""
    packer = zlib.compressobj(6, wbits=31)
    zeros = bytes(1 << 24)
    return b"".join(packer.compress(zeros) for _ in range(16)) + packer.flush()


@pytest.mark.parametrize("kind", ["bomb", "plain"])
def test_memory_does_not_grow_with_what_a_vendor_sends(vendor: VendorServer, tmp_path: Path, kind: str) -> None:
    vendor.when(Reply(_bomb(), headers={"Content-Encoding": "gzip"}) if kind == "bomb" else Reply(bytes(60 * LIMIT)))
    asking = Asking(tmp_path, vendor.url, max_bytes=LIMIT)
    tracemalloc.start()
    try:
        error = asking.error()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "more than 1000000 bytes" in str(error)
    assert peak < 8 * LIMIT  # the server's own buffers are in it


# --- being stopped ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reply", [Reply(b"", head=b"", then="hang"), Reply(GOOD, sent=50, then="hang")], ids=["head", "body"])
def test_a_request_that_is_cancelled_leaves_no_connection(vendor: VendorServer, tmp_path: Path, reply: Reply) -> None:
    vendor.when(reply)
    complaints: list[object] = []

    async def stopped() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        asking = Asking(tmp_path, vendor.url)
        task = asyncio.create_task(asking.one())
        await asyncio.to_thread(vendor.hanging.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asking.client.aclose()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(stopped(), debug=True)
    assert vendor.idle.wait(300)
    assert complaints == []


def test_a_client_that_was_never_asked_closes(tmp_path: Path) -> None:
    asyncio.run(Asking(tmp_path, "https://vendor.invalid").client.aclose())


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(b'{"error_message": "api_key is not registered"}', status=400), "auth"),
        (Reply(b'{"error_message": "no such series"}', status=400), "permanent"),
        (Reply(b"Exclusive Endpoint", status=403), "plan_dataset"),
        (Reply(b"Special symbol"), "plan"),
        (Reply(b"anything", status=409), "transient"),
    ],
)
def test_errors_are_known_by_text_and_code_as_declared(vendor: VendorServer, tmp_path: Path, reply: Reply, kind: str) -> None:
    errors = [
        {"status": [400], "match": "api_key", "kind": "auth"},
        {"status": [403], "match": "Exclusive", "kind": "plan", "of": "dataset"},
        {"match": "Special", "kind": "plan"},
        {"status": [409], "kind": "transient"},
    ]
    assert Asking(tmp_path, vendor.when(reply).url, errors=errors, attempts=1).error().kind == kind
