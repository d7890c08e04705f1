"""Answers that come as a ZIP archive: the one file in it is the answer, and nothing else is taken for one."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from ops_pipeline_tests.sources.http_home import KEY, VARIABLE, Asking
from ops_pipeline_tests.vendor_server import Reply, VendorServer

RECIPE = {"request": {"path": "/prices.zip", "params": {"symbol": "{ticker}"}, "unzip": True}, "answer": {"format": "csv"}}
TABLE = b"date,close\n2024-01-02,1.5\n"


def zipped(method: int = zipfile.ZIP_DEFLATED, **files: bytes) -> bytes:
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    monkeypatch.setenv("NO_PROXY", "*")


def test_the_file_in_the_archive_is_the_answer_without_the_key(tmp_path: Path) -> None:
    with VendorServer(lambda _: Reply(zipped(table=TABLE + KEY.encode()))) as vendor:
        answer = Asking(tmp_path, vendor.url, recipe=RECIPE).answer()
    assert answer.body.startswith(TABLE)
    assert (answer.redacted, KEY.encode() in answer.body) == (True, False)


def test_an_answer_that_is_no_archive_is_taken_as_it_is(tmp_path: Path) -> None:
    with VendorServer(lambda _: Reply(TABLE)) as vendor:
        assert Asking(tmp_path, vendor.url, recipe=RECIPE).answer().body == TABLE


def test_an_archive_in_front_of_a_bomb_is_refused(tmp_path: Path) -> None:
    with VendorServer(lambda _: Reply(zipped(bomb=b"0" * 3_000_000))) as vendor:
        error = Asking(tmp_path, vendor.url, recipe=RECIPE, max_bytes=1_000_000).error()
    assert (error.kind, "more than 1000000 bytes" in str(error)) == ("permanent", True)


CHANGED = zipped(zipfile.ZIP_STORED, a=TABLE).replace(TABLE, TABLE.upper())


@pytest.mark.parametrize(
    "body",
    [zipped(), zipped(a=TABLE, b=TABLE), zipped(a=TABLE)[:-30], CHANGED, b"PK\x03\x04"],
    ids=["empty", "two files", "cut", "changed", "a beginning"],
)
def test_a_damaged_archive_or_one_of_several_files_is_asked_again_and_fails(tmp_path: Path, body: bytes) -> None:
    with VendorServer(lambda _: Reply(body)) as vendor:
        error = Asking(tmp_path, vendor.url, recipe=RECIPE, attempts=2).error()
        assert len(vendor.seen) == 2
    assert (error.kind, "sent a ZIP archive that is damaged, or holds more or less than one file" in str(error)) == (
        "transient",
        True,
    )
