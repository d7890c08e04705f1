"""A vendor's key is nowhere but on the wire: not in a file, the database, a log, an exception, or what a command prints.

Belongs here: runs, by the engine, a command and Dagster, against a vendor that repeats the key in every way it can, and the search
through everything they leave. Does not belong here: how a key is found (`test_redaction`).
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import logging
import sqlite3
import traceback
import zlib
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote

import pyarrow.parquet as parquet
import pytest

from ops_pipeline.sources import http
from ops_pipeline.warehouse import Warehouse
from ops_pipeline_tests.cli.command import Answer, ops
from ops_pipeline_tests.engine.home import ledger
from ops_pipeline_tests.sources.http_home import KEY, LAST, VARIABLE, Asking, make_home, run, write_recipe, write_universe
from ops_pipeline_tests.vendor_server import Reply, Seen, VendorServer, prices

PLAIN = "0sentinel1sentinel2"
KEYS = pytest.mark.parametrize("key", [PLAIN, KEY, "<sentinel>&'\"\\/+%25;=?#"], ids=["plain", "base64", "signs"])
PLACES = pytest.mark.parametrize("place", [{"query": "apikey"}, {"header": "X-Api-Key"}], ids=["query", "header"])


def _forms(key: str) -> list[bytes]:
    """How a key could stand in what is left; the small ones of letters are found whatever is around them."""
    quoted = [quote(key, safe=""), quote(key), quote_plus(key), quote(key, safe="!$&'()*+,;=:@/?")]
    # Within a longer text a key's base64 depends on how many bytes stand before it; its ends on what stands around it.
    packed = [base64.b64encode(b"\0" * before + key.encode())[4:-4].decode() for before in range(3)]
    packed += [p.translate(str.maketrans("+/", "-_")) for p in packed] + [key.encode().hex(), key.encode().hex().upper()]
    return [form.encode() for form in {key, *quoted, *(q.lower() for q in quoted), *packed, json.dumps(key)[1:-1], key[:12]}]


def _key(seen: Seen) -> str:
    return seen.params.get("apikey") or seen.headers["x-api-key"]


def _as_sent(seen: Seen) -> bytes:
    """The key as it came: percent-encoded in the query, as it is in the header."""
    return (seen.target + "|" + _key(seen)).encode()


def _echo(seen: Seen) -> bytes:
    """A good answer whose records name the request that they answer."""
    records = json.loads(prices(seen).body)
    return json.dumps([{**r, "request": seen.target, "key": _key(seen)} for r in records]).encode()


def _split(seen: Seen) -> Reply:
    """Every piece of the body, but for the first, begins in the middle of a key."""
    pieces = _echo(seen).split(_key(seen)[:5].encode())
    cut = _key(seen)[:5].encode()
    return Reply(chunks=tuple(p for p in (pieces[0] + cut, *(p + cut for p in pieces[1:-1]), pieces[-1]) if p))


def _message(seen: Seen) -> Reply:
    """A message that holds the key in a spelling that only reading it as JSON undoes."""
    spelt = "".join(f"\\u{ord(c):04x}" for c in _key(seen))
    return Reply(f'{{"message": "the key {spelt} is wrong"}}'.encode(), status=401)


FAULTS = {
    "ECHO": lambda seen: Reply(_echo(seen)),
    "SPLIT": _split,
    "GZIP": lambda seen: Reply(gzip.compress(_echo(seen)), headers={"Content-Encoding": "gzip"}),
    "DEFLATE": lambda seen: Reply(zlib.compress(_echo(seen)), headers={"Content-Encoding": "deflate"}),
    "WIDE": lambda seen: Reply(f"<h1>{_key(seen)}</h1>".encode("utf-16"), status=403),
    "ENCODED": lambda seen: Reply(quote(_key(seen), safe="").encode(), status=400),
    "MESSAGE": _message,
    "UNAUTHORIZED": lambda seen: Reply(b"not with " + _as_sent(seen), status=401),
    "PREMIUM": lambda seen: Reply(b"buy " + _as_sent(seen), status=402),
    "PAGE": lambda seen: Reply(b"<a href='" + _as_sent(seen) + b"'>", status=404),
    "LIMITED": lambda seen: Reply(_as_sent(seen), status=429, headers={"Retry-After": _key(seen)}),
    "DOWN": lambda seen: Reply(_as_sent(seen), status=503),
    "ERROR200": lambda seen: Reply(b'{"Error Message": "' + _as_sent(seen) + b'"}'),
    "MOVED": lambda seen: Reply(status=302, headers={"Location": f"https://{PLAIN}.example{seen.target}"}),
    "COOKIE": lambda seen: Reply(prices(seen).body, headers={"Set-Cookie": f"key={quote(_key(seen))}", "X-Key": _key(seen)}),
    "REASON": lambda seen: Reply(head=f"HTTP/1.1 500 {_key(seen)}\r\nContent-Length: 2\r\n\r\n".encode()),
    "BADHEAD": lambda seen: Reply(head=f"HTTP/1.1 200 OK\r\n{_key(seen)} {seen.target}\r\n\r\n".encode(), then="close"),
    "BADLINE": lambda seen: Reply(head=f"{seen.target} {_key(seen)}\r\n\r\n".encode(), then="close"),
    "BADCHUNK": lambda seen: Reply(
        head=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + _as_sent(seen) + b"\r\n", then="close"
    ),
    "CUT": lambda seen: Reply(_echo(seen)[:-9]),
    "RESET": lambda seen: Reply(_echo(seen), sent=300, then="reset"),
    "SHORT": lambda seen: Reply(_echo(seen), length=10**6, then="close"),
    "CSV": lambda seen: Reply(b"date,close\n" + _as_sent(seen)),
    "EMPTY": lambda _: Reply(b"[]"),
    # Behind it nothing more is asked.
    "QUOTA": lambda seen: Reply(_as_sent(seen), status=429, headers={"Retry-After": "9999"}),
}  # fmt: skip
STORED = ("ECHO", "SPLIT", "GZIP", "DEFLATE")
KEPT = ("WIDE", "ENCODED", "UNAUTHORIZED", "PREMIUM", "PAGE", "LIMITED", "QUOTA", "DOWN", "ERROR200", "CUT", "CSV")


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "FIRST_PAUSE_SECONDS", 0.001)


@pytest.fixture
def leaky(vendor: VendorServer) -> VendorServer:
    for ticker, fault in FAULTS.items():
        vendor.when(fault, ticker=ticker)
    return vendor


def _assert_clean(what: str, content: bytes, key: str) -> None:
    for form in _forms(key):
        assert form not in content, (what, form, content[max(0, content.find(form) - 80) :][:200])
    assert key.encode("utf-16-le")[:-1] not in content, what


def _assert_no_file_has_it(home: Path, key: str) -> None:
    files = [path for path in home.rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        _assert_clean(str(path), path.name.encode(), key)
        content = path.read_bytes()
        _assert_clean(str(path), content, key)
        if path.suffix == ".gz":
            _assert_clean(str(path), gzip.decompress(content), key)
        if content.startswith(b"SQLite format 3"):  # a long text is spread over pages
            with contextlib.closing(sqlite3.connect(path)) as database:
                _assert_clean(str(path), "\n".join(database.iterdump()).encode(), key)
        if path.suffix == ".parquet":
            _assert_clean(str(path), str(parquet.read_table(path).to_pylist()).encode(), key)
    if not (home / "ops.duckdb").exists():
        return
    # What the database packs is not found in its file as it is.
    with Warehouse(home / "ops.duckdb").reading() as connection:
        tables = connection.execute("SELECT schema_name || '.' || table_name FROM duckdb_tables() WHERE NOT internal").fetchall()
        assert len(tables) > 5
        for (table,) in tables:
            rows = connection.execute(f"SELECT t::VARCHAR FROM {table} t").fetchall()
            _assert_clean(table, "\n".join(row[0] for row in rows).encode(), key)


@KEYS
@PLACES
def test_no_file_no_log_and_no_reason_holds_the_key(
    leaky: VendorServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    key: str,
    place: dict[str, str],
) -> None:
    monkeypatch.setenv(VARIABLE, key)
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    context = make_home(tmp_path, leaky.url, ["AAA", *FAULTS], key={"env": VARIABLE, **place}, attempts=2, concurrency=1)
    with caplog.at_level(logging.DEBUG):
        for name in ("aiohttp", "asyncio", "ops_pipeline", "tenacity"):
            logging.getLogger(name).setLevel(logging.DEBUG)
        told = run(context)
    assert {_key(seen) for seen in leaky.seen} == {key}, "the vendor got it"
    _assert_clean("log", "\n".join(logging.Formatter().format(record) for record in caplog.records).encode(), key)
    _assert_clean("outcomes", "\n".join(str(outcome) for outcome in told.values()).encode(), key)
    captured = capfd.readouterr()
    _assert_clean("terminal", (captured.out + captured.err).encode(), key)
    _assert_no_file_has_it(tmp_path, key)
    rows = {row.ticker: row for row in ledger(context)}
    assert {t: rows[t].bronze_redacted for t in (*STORED, *KEPT)} == dict.fromkeys((*STORED, *KEPT), True)
    assert {t: rows[t].bronze_redacted for t in ("AAA", "EMPTY", "COOKIE")} == dict.fromkeys(("AAA", "EMPTY", "COOKIE"), False)
    assert {told[t].kind.value for t in ("AAA", "COOKIE", *STORED)} == {"promoted"}
    body = gzip.decompress(context.store.path(rows["ECHO"].bronze_filename or "").read_bytes())
    assert b"[redacted]" in body
    assert body.count(b'"close"') == leaky_sessions(leaky)


def leaky_sessions(vendor: VendorServer) -> int:
    (seen,) = [seen for seen in vendor.seen if seen.ticker == "ECHO"]
    return len(json.loads(prices(seen).body))


@KEYS
@PLACES
def test_no_exception_holds_the_key_nor_hangs_on_to_one_that_does(
    leaky: VendorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, place: dict[str, str]
) -> None:
    monkeypatch.setenv(VARIABLE, key)
    told = Asking(tmp_path, leaky.url, key={"env": VARIABLE, **place}, attempts=2, timeout_seconds=5).all(*FAULTS)
    errors: list[BaseException] = [one for one in told if isinstance(one, Exception)]
    assert len(errors) > 15
    for error in errors:
        _assert_clean("traceback", "".join(traceback.format_exception(error)).encode(), key)
        chain: BaseException | None = error
        while chain is not None:
            assert not type(chain).__module__.startswith(("aiohttp", "yarl")), chain
            _assert_clean("exception", f"{chain!r} {chain} {vars(chain)}".encode(), key)
            chain = chain.__cause__ or chain.__context__


def test_no_command_prints_the_key(leaky: VendorServer, tmp_path: Path) -> None:
    home, key = tmp_path / "home", KEY
    write_recipe(home, leaky.url, attempts=2)
    write_universe(home, ["AAA", *(ticker for ticker in FAULTS if ticker != "QUOTA")])
    loud = {VARIABLE: key, "OPS_PIPELINE_LOG_LEVEL": "DEBUG", "PYTHONDEVMODE": "1", "PYTHONUNBUFFERED": "1"}

    def said(*arguments: str, status: int) -> Answer:
        answer = ops(*arguments, "--home", home, env=loud)
        assert answer.status == status, answer
        for text in (answer.out, answer.err):
            _assert_clean(" ".join(arguments), text.encode(), key)
            _assert_clean(" ".join(arguments), unquote(text).encode(), key)
        assert "Unclosed" not in answer.err
        assert "Traceback" not in answer.err
        return answer

    document = said("run", "--json", "--today", LAST.isoformat(), status=1).document
    assert document["keys"]["promoted"] >= 6
    assert document["keys"]["failed"] >= 15
    said("run", "--today", LAST.isoformat(), status=1)
    said("show", "last", "--json", status=0)
    assert VARIABLE in said("datasets", "show", "vendor.prices", status=0).out
    _assert_no_file_has_it(home, key)


def test_nothing_that_dagster_keeps_holds_the_key(leaky: VendorServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Events, failures, run tags and compute logs, in an instance of files."""
    import dagster as dg

    from ops_pipeline.defs.partitions import add_missing
    from ops_pipeline_tests.defs.homes import Lake, failure

    place = {"env": VARIABLE, "header": "X-Api-Key"}
    context = make_home(tmp_path / "home", leaky.url, ["AAA", *FAULTS], key=place, attempts=2, concurrency=1)
    kept = tmp_path / "dagster"
    kept.mkdir()
    with dg.DagsterInstance.local_temp(str(kept), overrides={"python_logs": {"python_log_level": "DEBUG"}}) as instance:
        add_missing(instance, context.universe())
        lake = Lake(context, instance)
        result = lake.batch()
        assert not result.success
        events = [str(entry) for entry in instance.all_logs(result.run_id)]
        assert len(events) > len(FAULTS)
        _assert_clean("events", "\n".join(events).encode(), KEY)
        _assert_clean("failure", failure(result).encode(), KEY)
        assert lake.status("silver")["vendor.prices|ECHO"] == "MATERIALIZED"
        assert lake.status("bronze")["vendor.prices|UNAUTHORIZED"] == "FAILED"
    assert {_key(seen) for seen in leaky.seen} == {KEY}, "the vendor got it"
    captured = capfd.readouterr()
    _assert_clean("terminal", (captured.out + captured.err).encode(), KEY)
    assert {".db", ".err", ".out"} <= {path.suffix for path in kept.rglob("*")}, "events and what was printed"
    _assert_no_file_has_it(tmp_path / "home", KEY)
    _assert_no_file_has_it(kept, KEY)
