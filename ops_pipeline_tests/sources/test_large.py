"""Large answers: on disk as they come, the same in bronze as if they had been held in memory, and as safe."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import tracemalloc
import zipfile
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from ops_pipeline.bronze.store import BronzeStore
from ops_pipeline.engine.outcome import OutcomeKind
from ops_pipeline.errors import BronzeError
from ops_pipeline.sources import large
from ops_pipeline.sources.large import Collected, LargeBody, in_memory
from ops_pipeline.sources.redaction import REDACTED, Redactor
from ops_pipeline.sources.unpacking import BrokenBodyError, TooLargeError, only_member, unpacked
from ops_pipeline_tests.engine.home import assert_tidy, bronze_files, ledger
from ops_pipeline_tests.sources.http_home import KEY, make_home, run
from ops_pipeline_tests.vendor_server import Reply, Seen, VendorServer, prices

MEGABYTE = 1_000_000


async def _sent(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def unpack(pieces: Iterable[bytes], coding: str, folder: Path, limit: int = 100 * MEGABYTE) -> bytes | LargeBody:
    return asyncio.run(unpacked(_sent(pieces), coding, limit, folder))


def test_a_large_body_is_held_in_pieces_from_the_vendor_to_bronze(tmp_path: Path) -> None:
    """40 MB by way of the client's unpacking, the search for the key and the store: a few megabytes are held."""
    line = hashlib.sha256(b"line").hexdigest().encode() * 1000
    packed = gzip.compress(line * 625, 1)
    pieces = [packed[k : k + 65_536] for k in range(0, len(packed), 65_536)]
    store = BronzeStore(tmp_path / "bronze")
    tracemalloc.start()
    body = unpack(pieces, "gzip", tmp_path / "wait")
    assert isinstance(body, LargeBody)
    assert not Redactor(KEY).is_in(body)
    stored = [store.store(folder="e", file_id="a", body=body, extension="csv", run_id="r") for _ in range(2)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * large.LARGE + 4 * MEGABYTE
    assert stored[0] == stored[1]
    assert (stored[0].size, stored[0].payload_hash) == (40 * MEGABYTE, hashlib.sha256(line * 625).hexdigest())
    assert store.read(stored[0].filename) == line * 625
    assert list((tmp_path / "wait").iterdir()) == []  # the waiting file has no name


def test_bombs_cut_bodies_and_a_disk_that_refuses(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(60 * MEGABYTE))
    with pytest.raises(TooLargeError):
        unpack([bomb], "gzip", tmp_path, limit=20 * MEGABYTE)
    with pytest.raises(TooLargeError):
        unpack([bytes(MEGABYTE)] * 21, "", tmp_path, limit=20 * MEGABYTE)
    with pytest.raises(BrokenBodyError):
        unpack([bomb[:-9]], "gzip", tmp_path)
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", bytes(60 * MEGABYTE))
    with pytest.raises(TooLargeError):
        only_member(body.getvalue(), 20 * MEGABYTE, tmp_path)
    whole = only_member(body.getvalue(), 60 * MEGABYTE, tmp_path)
    assert isinstance(whole, LargeBody)
    assert whole.payload_hash == hashlib.sha256(bytes(60 * MEGABYTE)).hexdigest()
    whole.close()
    (tmp_path / "file").touch()
    with pytest.raises(BronzeError, match="cannot be written below"):
        unpack([bytes(MEGABYTE)] * 10, "", tmp_path / "file")


def test_a_body_of_just_the_limit_is_taken_and_small_ones_stay_in_memory(tmp_path: Path) -> None:
    limit = large.LARGE + 1
    assert isinstance(unpack([bytes(large.LARGE)], "", tmp_path, limit), bytes)
    for coding, sent in (("", bytes(limit)), ("gzip", gzip.compress(bytes(limit)))):
        body = unpack([sent], coding, tmp_path, limit)
        assert isinstance(body, LargeBody)
        assert in_memory(body) == bytes(limit)
        body.close()
    collected = Collected(10**9, None)
    collected.take(bytes(2 * large.LARGE))
    assert isinstance(collected.whole(), bytes)


@pytest.mark.parametrize("place", [0, large.PIECE - 5, large.PIECE, 3 * large.PIECE - 1])
def test_a_key_is_found_across_pieces(tmp_path: Path, place: int) -> None:
    text = bytearray(b"." * (4 * large.PIECE))
    text[place : place + len(KEY)] = KEY.encode()
    file = (tmp_path / "body").open("w+b")
    file.write(text)
    body = LargeBody(file, len(text), "")
    assert Redactor(KEY).is_in(body)
    assert not Redactor("another-key-of-some-length").is_in(body)
    assert not Redactor(None).is_in(body)
    assert (body.beginning, body.end) == (bytes(text[:4096]), bytes(text[-4096:]))
    body.close()


def test_a_run_over_large_answers_of_every_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "LARGE", 500)
    spooled: list[int] = []
    whole = Collected.whole

    def noted(self: Collected) -> bytes | LargeBody:
        body = whole(self)
        spooled.append(isinstance(body, LargeBody))
        return body

    monkeypatch.setattr(Collected, "whole", noted)

    def echoing(seen: Seen) -> Reply:
        records = [{**record, "link": f"https://vendor.example/?apikey={KEY}"} for record in json.loads(prices(seen).body)]
        return Reply(json.dumps(records).encode())

    with VendorServer() as vendor:
        vendor.when(echoing, ticker="ECHO")
        vendor.when(lambda seen: Reply(prices(seen).body[:-9]), ticker="CUT")
        vendor.when(lambda seen: Reply(b'{"Error Message": "no"}' + b" " * 2000), ticker="ERROR")
        vendor.when(lambda seen: Reply(b"down " * 900, status=404), ticker="GONE")
        vendor.when(lambda seen: Reply(gzip.compress(prices(seen).body), headers={"Content-Encoding": "gzip"}), ticker="PACKED")
        tickers = ["AAA", "ECHO", "CUT", "ERROR", "GONE", "PACKED"]
        context = make_home(tmp_path, vendor.url, tickers, attempts=1)
        told = run(context)
    assert spooled == [True] * 6
    good, bad = ("AAA", "ECHO", "PACKED"), ("CUT", "ERROR", "GONE")
    assert {told[t].kind for t in good} == {OutcomeKind.PROMOTED}
    assert {told[t].kind for t in bad} == {OutcomeKind.FAILED}
    assert "HTTP 200" in told["ERROR"].reason
    stored, rows = bronze_files(context), {row.ticker: row for row in ledger(context)}
    bodies = {ticker: stored[rows[ticker].bronze_filename or ""] for ticker in tickers}
    for ticker, body in bodies.items():
        assert hashlib.sha256(body).hexdigest() == rows[ticker].bronze_payload_hash, ticker
        assert KEY.encode() not in body
    assert rows["ECHO"].bronze_redacted
    assert bodies["ECHO"].count(REDACTED.encode()) == 23
    assert len(json.loads(bodies["PACKED"])) == len(json.loads(bodies["AAA"])) == 23
    assert bodies["GONE"] == b"down " * 900
    assert_tidy(context)
