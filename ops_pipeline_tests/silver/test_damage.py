"""Stored files that are damaged, and one bad file among many good ones."""

from __future__ import annotations

import gzip
import random
from datetime import date
from pathlib import Path

import pytest

from ops_pipeline.recipes.models import Recipe
from ops_pipeline.silver.staging import stage
from ops_pipeline_tests.lake import body_of, csv_recipe, good_rows, recipe, stage_bodies, stored_bodies

DAYS = [date(2020, 1, n) for n in range(1, 29)]
JSON_BODY = body_of([{"date": str(day), "close": n + 0.5} for n, day in enumerate(DAYS)] * 4)
CSV_BODY = b"date,close\n" + b"".join(f"{day},{n}.5\n".encode() for n, day in enumerate(DAYS)) * 4
BOTH = pytest.mark.parametrize(("made", "body"), [(recipe(), JSON_BODY), (csv_recipe(), CSV_BODY)], ids=["json", "csv"])


@BOTH
def test_a_file_cut_on_disk_is_damaged_wherever_it_was_cut(tmp_path: Path, made: Recipe, body: bytes) -> None:
    rows, paths = stored_bodies(tmp_path, made, [body])
    path = paths[rows[0].key]
    packed = path.read_bytes()
    for end in range(0, len(packed), 7):
        path.write_bytes(packed[:end])
        profile = stage(made, rows, paths).profiles[0]
        assert profile.unreadable == "the stored file is damaged: it ends too early"
        assert profile.rows == 0


@BOTH
def test_a_flipped_bit_is_noticed(tmp_path: Path, made: Recipe, body: bytes) -> None:
    rows, paths = stored_bodies(tmp_path, made, [body])
    path = paths[rows[0].key]
    packed = path.read_bytes()
    chance = random.Random(1)
    for _ in range(60):
        place = chance.randrange(10, len(packed))  # behind the header, whose time stamp and flags carry no content
        path.write_bytes(packed[:place] + bytes([packed[place] ^ (1 << chance.randrange(8))]) + packed[place + 1 :])
        staged = stage(made, rows, paths)
        assert (staged.profiles[0].unreadable or "").startswith("the stored file is damaged: ")
        assert staged.good.num_rows == 0


@BOTH
def test_what_is_not_the_stored_file_is_not_read(tmp_path: Path, made: Recipe, body: bytes) -> None:
    rows, paths = stored_bodies(tmp_path, made, [body])
    path = paths[rows[0].key]
    packed = path.read_bytes()
    for content in (b"", b"\x00" * 100, body, packed + packed, packed + b"x", gzip.compress(body + b"\n")):
        path.write_bytes(content)
        assert (stage(made, rows, paths).profiles[0].unreadable or "").startswith("the stored file is damaged: ")
    path.unlink()
    assert stage(made, rows, paths).profiles[0].unreadable == "the stored file cannot be read: No such file or directory"
    path.mkdir()
    assert stage(made, rows, paths).profiles[0].unreadable == "the stored file cannot be read: Is a directory"


def test_bad_files_among_many_change_nothing_for_the_others(tmp_path: Path) -> None:
    bad = [
        b"",
        b"{}",
        JSON_BODY[:100],
        b'[{"date":"2020-01-02","close":1},{"date":"2020-01-0" "close":1}]',
        b'[{"date":"2020-01-02","close":1}][]',
        b'[{"date":"\xff\xff\xff" x}]',
        b'[{"date":"2020-01-02","close":"\xc3"}]',
        '[{"date":"2020-01-02"}]'.encode("utf-16"),
    ]
    bodies = [JSON_BODY] * 30
    for n, body in enumerate(bad):
        bodies.insert(n * 4, body)
    staged = stage_bodies(tmp_path, recipe(), bodies)
    for number, body in enumerate(bodies):
        profile = staged.profiles[number]
        if body is JSON_BODY:
            assert (profile.unreadable, profile.rows, profile.good, profile.superseded) == (None, 112, 28, 84)
        else:
            assert profile.unreadable
    assert staged.good.num_rows == 30 * 28
    assert good_rows(staged, 2)[0] == {"ticker": "T2", "date": DAYS[0], "close": 0.5, "volume": None, "adj_close": None}


def test_bad_tables_among_many_change_nothing_for_the_others(tmp_path: Path) -> None:
    bad = [
        b"",
        b"no,header\n1,2\n",
        CSV_BODY[:-8],
        b'date,close\n2020-01-02,"1\n',
        b"date,close\n2020-01-02,\xff\n",
        b"date,cl\x00ose\n",
    ]
    other_header = b"close,date\n" + b"".join(f"{n}.5,{day}\n".encode() for n, day in enumerate(DAYS))
    bodies = [CSV_BODY, *bad, other_header, CSV_BODY + b"2020-01-02,abc\n", b"date,close\r\n2020-01-02,1\r\n", CSV_BODY]
    staged = stage_bodies(tmp_path, csv_recipe(max_reject_share=1), bodies)
    good = [p.good for p in staged.profiles]
    assert good == [28, 0, 0, 0, 0, 0, 0, 28, 28, 1, 28]
    assert [n for n, p in enumerate(staged.profiles) if p.unreadable] == [1, 2, 3, 4, 5, 6]


def test_files_may_lie_in_folders_of_any_name(tmp_path: Path) -> None:
    for name in ("a b", "a[1]", "a*b", "a?b", "it's", "x{1}", "é", "k=v", "a#b%20"):
        folder = tmp_path / name
        folder.mkdir()
        for made, body in ((recipe(), JSON_BODY), (csv_recipe(), CSV_BODY)):
            staged = stage_bodies(folder, made, [body, body, body + b"x", b"[]"])
            assert [p.good for p in staged.profiles] == [28, 28, 0, 0], name


def test_no_files(tmp_path: Path) -> None:
    staged = stage_bodies(tmp_path, recipe(), [])
    assert (staged.files, staged.profiles, staged.good.num_rows, staged.rejects.num_rows) == ([], [], 0, 0)


def test_one_stored_file_may_be_the_answer_of_two_rows(tmp_path: Path) -> None:
    # A then B then A again: the third answer is the first one's file.
    rows, paths = stored_bodies(tmp_path, recipe(), [JSON_BODY, b"[]"])
    paths[rows[1].key] = paths[rows[0].key]
    rows[1].bronze_bytes = rows[0].bronze_bytes
    staged = stage(recipe(), rows, paths)
    assert [p.good for p in staged.profiles] == [28, 28]
    assert {row["ticker"] for row in good_rows(staged, 1)} == {"T1"}
