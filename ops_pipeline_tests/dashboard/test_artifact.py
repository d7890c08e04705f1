"""Raw files in every state are shown as far as they can be."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from ops_pipeline.bronze import BronzeStore
from ops_pipeline.dashboard import artifact as art
from ops_pipeline.dashboard.artifact import open_artifact


@pytest.fixture
def store(tmp_path: Path) -> BronzeStore:
    return BronzeStore(tmp_path)


def put(store: BronzeStore, body: bytes, extension: str = "json") -> str:
    return store.store(folder="equities/acme/prices/AAA", file_id="f1", body=body, extension=extension, run_id="r").filename


def test_json_is_a_document_whose_pages_are_its_elements(store: BronzeStore) -> None:
    found = open_artifact(store, put(store, json.dumps([{"n": n} for n in range(120)]).encode()))
    assert (found.kind, found.problem, found.length, found.page_length) == ("json", "", 120, art.PAGE_RECORDS)
    assert open_artifact(store, put(store, b'{"a": 1}')).length == 1


def test_csv_is_a_table(store: BronzeStore) -> None:
    found = open_artifact(store, put(store, b'\xef\xbb\xbfdate,note\n2024-01-02,"a,\nb"\n\n2024-01-03,c\n', "csv"))
    assert (found.kind, found.problem) == ("csv", "")
    assert found.header == ["date", "note"]
    assert found.rows == [["2024-01-02", "a,\nb"], ["2024-01-03", "c"]]


@pytest.mark.parametrize(
    ("body", "extension", "why"),
    [
        (b'[{"date": "2024-01-0', "json", "no valid JSON"),
        (b"[" * 200_000, "json", "no valid JSON"),
        (b"Bad Gateway", "csv", "no CSV table"),
        (b"", "json", "no valid JSON"),
        (b"", "csv", "empty"),
        (b"\xff\xfe\x00", "json", "no valid JSON"),
    ],
)
def test_what_is_not_what_it_should_be_is_text(store: BronzeStore, body: bytes, extension: str, why: str) -> None:
    found = open_artifact(store, put(store, body, extension))
    assert found.kind == "text"
    assert why in found.problem
    assert found.text.encode("utf-8", errors="replace")[:20] == body.decode("utf-8", errors="replace")[:20].encode()


def test_bytes_that_are_no_utf8_do_not_hide_a_table(store: BronzeStore) -> None:
    found = open_artifact(store, put(store, b"a,b\n\xe9,1\n", "csv"))
    assert found.kind == "csv"
    assert "UTF-8" in found.problem


@pytest.mark.parametrize("cut", [5, 15, -3])
def test_of_a_cut_file_the_beginning_is_shown(store: BronzeStore, cut: int) -> None:
    name = put(store, json.dumps([{"date": f"day {n}", "close": n * 7919 % 1000} for n in range(3000)]).encode())
    path = store.path(name)
    path.write_bytes(path.read_bytes()[:cut])
    found = open_artifact(store, name)
    assert found.kind == "text"
    assert found.problem
    if cut < 0:
        assert found.text.startswith('[{"date": "day 0"')


def test_a_file_with_another_body_than_its_name_says_is_shown_with_a_warning(store: BronzeStore) -> None:
    name = put(store, b'{"a": 1}')
    store.path(name).write_bytes(gzip.compress(b'{"a": 2}'))
    found = open_artifact(store, name)
    assert (found.kind, found.text) == ("text", '{"a": 2}')
    assert "another body" in found.problem


@pytest.mark.parametrize(
    "name", ["equities/acme/prices/AAA/none.json.gz", "../../etc/passwd", "/etc/passwd", "a/../../b.json.gz"]
)
def test_no_name_leads_out_of_the_store_and_a_missing_file_is_a_sentence(store: BronzeStore, name: str) -> None:
    found = open_artifact(store, name)
    assert (found.kind, found.text, found.size) == ("text", "", 0)
    assert found.problem


def test_a_body_too_large_for_a_page_is_cut(store: BronzeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(art, "MOST_BYTES", 100_000)
    found = open_artifact(store, put(store, b"x" * 500_000, "json"))
    assert (found.kind, found.size) == ("text", 100_000)
    assert "Only the first" in found.problem
