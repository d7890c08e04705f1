"""Laws of staging: it finds what a plain reader finds, both ways of reading agree, and no bytes whatever make it raise or lose a record."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_pipeline.recipes.models import Recipe
from ops_pipeline.silver.bodies import Look
from ops_pipeline.silver.csv_reader import CsvReader
from ops_pipeline.silver.json_reader import JsonReader
from ops_pipeline.silver.staged import Staged
from ops_pipeline_tests.lake import csv_recipe, fx_recipe, good_rows, recipe, rejects, stage_bodies
from ops_pipeline_tests.silver.reference import Expected, csv_records, expected, json_records

COLUMNS: list[dict[str, Any]] = [
    {"name": "date", "type": "date", "required": True},
    {"name": "close", "type": "double", "required": True, "from": "Close/Last"},
    {"name": "volume", "type": "integer"},
    {"name": "note", "type": "text"},
]
MISSING = ["N/A", "-"]
JSON = recipe(columns=COLUMNS, answer={"format": "json", "missing": MISSING}, max_reject_share=1)
CSV = csv_recipe(columns=COLUMNS, answer={"format": "csv", "missing": MISSING}, max_reject_share=1)
NARROW = csv_recipe(columns=COLUMNS[:1], max_reject_share=1)
FX = fx_recipe(max_reject_share=1)

DAYS = st.integers(1, 31).map(lambda n: f"2020-{1 + n // 20:02d}-{n:02d}")  # few days, so that keys repeat; some do not exist
NUMBERS = st.one_of(
    st.integers(-(2**64), 2**64).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(
        ["1", "2.0", "2.5", " 3 ", "1e3", "9007199254740993", "9007199254740992.5", "1e400", "NaN", "inf", "1_0", ""]
    ),
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
CELLS = st.one_of(NUMBERS, TEXTS, DAYS, st.sampled_from([*MISSING, "n/a", '"', "a,b", 'a"b', "two\nlines", "\ufeff"]))
WINDOWS = st.tuples(*[st.one_of(st.none(), st.dates(date(2020, 1, 1), date(2020, 3, 1)))] * 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bodies")


def _check(staged: Staged, number: int, wanted: Expected) -> None:
    profile = staged.profiles[number]
    assert profile.unreadable is None
    assert profile.rows == wanted.rows == profile.good + profile.failed + profile.out_of_window + profile.superseded
    assert (profile.good, profile.failed) == (len(wanted.good), len(wanted.failed))
    assert (profile.out_of_window, profile.superseded) == (wanted.out_of_window, wanted.superseded)
    days = [values["date"] for values in wanted.good.values()]
    assert (profile.from_date, profile.to_date) == (min(days, default=None), max(days, default=None))
    found = good_rows(staged, number)
    assert [{k: v for k, v in row.items() if k != "ticker"} for row in found] == [wanted.good[k] for k in sorted(wanted.good)]
    assert [position for position, _, _ in rejects(staged, number)] == wanted.failed


# A batch costs the same whether it has two bodies or twenty: few examples of many bodies each.

# --- a reference reader -------------------------------------------------------------------------------------------------------

_json_values = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), CELLS
)
_json_record = st.fixed_dictionaries(
    {}, optional={"date": st.one_of(DAYS, DAYS, DAYS, CELLS), "Close/Last": _json_values, "volume": _json_values, "note": CELLS}
)
_json_file = st.tuples(
    st.lists(_json_record, max_size=12), st.sampled_from([None, 0, 2]), st.booleans(), st.sampled_from(["", "\ufeff", "\n "])
)


@given(files=st.lists(_json_file, min_size=1, max_size=10), window=WINDOWS)
@settings(max_examples=16)
def test_json_holds_what_a_plain_reader_finds(folder: Path, files: list[Any], window: tuple[date | None, date | None]) -> None:
    bodies = [
        (mark + json.dumps(records, indent=indent, ensure_ascii=ascii_)).encode() for records, indent, ascii_, mark in files
    ]
    staged = stage_bodies(folder, JSON, bodies, from_date=window[0], to_date=window[1])
    for number, (records, *_) in enumerate(files):
        plain = json_records(json.dumps(records).encode())
        _check(staged, number, expected(JSON, plain, *window))
        for position, raw, reason in rejects(staged, number):
            assert json.loads(raw) == records[position - 1]
            assert reason


_lines = st.lists(st.tuples(st.one_of(DAYS, DAYS, CELLS), NUMBERS, CELLS, CELLS), max_size=12)
_csv_file = st.tuples(
    _lines,
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.permutations(["date", "Close/Last", "volume", "note"]),
    st.booleans(),
)


def _csv_body(lines: list[Any], end: str, quoting: Any, header: list[str], mark: bool) -> bytes:
    text = StringIO(newline="")
    if any("\r" in cell for line in lines for cell in line):
        quoting = csv.QUOTE_ALL  # Python's writer quotes a carriage return only where lines end with one
    writer = csv.DictWriter(text, header, lineterminator=end, quoting=quoting)
    writer.writeheader()
    writer.writerows(dict(zip(["date", "Close/Last", "volume", "note"], line, strict=True)) for line in lines)
    return (("\ufeff" if mark else "") + text.getvalue()).encode()


@given(files=st.lists(_csv_file, min_size=1, max_size=10), window=WINDOWS)
@settings(max_examples=16)
def test_csv_holds_what_a_plain_reader_finds(folder: Path, files: list[Any], window: tuple[date | None, date | None]) -> None:
    bodies = [_csv_body(*file) for file in files]
    staged = stage_bodies(folder, CSV, bodies, from_date=window[0], to_date=window[1])
    for number, body in enumerate(bodies):
        _check(staged, number, expected(CSV, csv_records(body), *window))
        cells = [c for c in csv.reader(StringIO(body.decode("utf-8-sig"), newline="")) if c][1:]
        for position, raw, _ in rejects(staged, number):
            assert next(csv.reader(StringIO(raw, newline=""))) == cells[position - 1]


@given(lines=st.lists(st.tuples(DAYS, *[st.one_of(NUMBERS, st.sampled_from(["N/A", "1.5"]))] * 3), max_size=10), window=WINDOWS)
@settings(max_examples=25)
def test_an_unpivoted_table_holds_what_a_plain_reader_finds(
    folder: Path, lines: list[tuple[str, ...]], window: tuple[date | None, date | None]
) -> None:
    body = "".join(",".join(line) + ",\n" for line in [("Date", "USD", "JPY", "GBP"), *lines]).encode()
    profile = (staged := stage_bodies(folder, FX, [body], from_date=window[0], to_date=window[1])).profiles[0]
    cells = [
        {"Date": line[0], "currency": name, "rate": cell or None}
        for line in lines
        for name, cell in zip(("USD", "JPY", "GBP"), line[1:], strict=True)
        if cell != "N/A"
    ]
    wanted = expected(FX, cells, *window)
    assert (profile.rows, profile.failed, profile.superseded) == (wanted.rows, len(wanted.failed), wanted.superseded)
    assert profile.rows == profile.good + profile.failed + profile.out_of_window + profile.superseded
    assert good_rows(staged) == [wanted.good[key] for key in sorted(wanted.good)]


# --- fast and slow ------------------------------------------------------------------------------------------------------------


@contextmanager
def _only_slowly() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for reader in (CsvReader, JsonReader):
            examine = reader.examine

            def slowly(self: Any, recipe: Recipe, look: Look, examine: Any = examine) -> tuple[bool, tuple[str, ...]]:
                return False, examine(self, recipe, look)[1]

            patch.setattr(reader, "examine", slowly)
        yield


_SCRAPS = [
    ",",
    ",",
    ",",
    "\n",
    "\n",
    "\r\n",
    "\r",
    '"',
    '""',
    '"a"',
    '"a,b"',
    '"\n"',
    'a"b',
    " ",
    ' "',
    '" ',
    "\t",
    "\\",
    "#",
    "N/A",
]
_scraps = st.lists(st.sampled_from([*_SCRAPS, "2020-01-01", "2020-01-02", "1.5", "x", "é\u2028", "\0", "\ufeff"]), max_size=30)
_JSON_SCRAPS = [
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    '"',
    "\\",
    "null",
    "1.5",
    '{"date":"2020-01-02","Close/Last":1}',
    " ",
    "\n",
    "é",
    "\0",
]


def _outcome(staged: Staged, number: int) -> object:
    profile = staged.profiles[number]
    return "unreadable" if profile.unreadable else (profile, good_rows(staged, number), rejects(staged, number))


def _agree(folder: Path, made: Recipe, bodies: list[bytes]) -> None:
    fast = stage_bodies(folder, made, bodies)
    with _only_slowly():
        slow = stage_bodies(folder, made, bodies)
    for number, body in enumerate(bodies):
        assert _outcome(fast, number) == _outcome(slow, number), body
        _accounted(fast, number)


def _accounted(staged: Staged, number: int) -> None:
    profile = staged.profiles[number]
    assert profile.rows == profile.good + profile.failed + profile.out_of_window + profile.superseded
    assert len(good_rows(staged, number)) == profile.good
    assert len(rejects(staged, number)) == profile.failed
    assert all(reason for _, _, reason in rejects(staged, number))


@given(
    scraps=st.lists(_scraps, min_size=1, max_size=20), header=st.sampled_from(["date,Close/Last,note", "Date,USD,JPY", "date"])
)
@settings(max_examples=18)
def test_tables_read_alike_with_and_without_positions(folder: Path, scraps: list[list[str]], header: str) -> None:
    made = {"date,Close/Last,note": CSV, "Date,USD,JPY": FX, "date": NARROW}[header]
    _agree(folder, made, [f"{header}\n{''.join(s)}".encode() for s in scraps])


@given(scraps=st.lists(st.lists(st.sampled_from(_JSON_SCRAPS), max_size=12), min_size=1, max_size=20))
@settings(max_examples=14)
def test_arrays_read_alike_with_and_without_positions(folder: Path, scraps: list[list[str]]) -> None:
    _agree(folder, JSON, [f"[{''.join(s)}]".encode() for s in scraps])


# --- any bytes ----------------------------------------------------------------------------------------------------------------

_SEEDS = [
    b'[{"date":"2020-01-02","Close/Last":1.5,"note":"x"},{"date":"2020-01-02","Close/Last":"abc"}, null, [1]]',
    b'date,Close/Last,note\n2020-01-02,1.5,"a\nb"\r\n2020-01-03,,\n',
    b"Date,USD,JPY,\n2020-01-02,1.5,N/A,\n2020-01-03,x,2,\n",
]
_edits = st.lists(
    st.tuples(st.sampled_from(["cut", "drop", "put", "twice"]), st.integers(0, 200), st.binary(min_size=1, max_size=4)),
    max_size=4,
)
_hostile = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.builds(lambda seed, edits: _edited(seed, edits), st.sampled_from(_SEEDS), _edits),
)


def _edited(body: bytes, edits: list[tuple[str, int, bytes]]) -> bytes:
    for kind, place, content in edits:
        at = place % (len(body) + 1)
        head, tail = body[:at], body[at:]
        body = {"cut": head, "drop": head + tail[1:], "put": head + content + tail, "twice": head + tail + tail}[kind]
    return body


@given(bodies=st.lists(_hostile, min_size=1, max_size=20))
@settings(max_examples=14)
def test_no_bytes_make_staging_raise_or_lose_a_record(folder: Path, bodies: list[bytes]) -> None:
    for made, good, count in zip((JSON, CSV, FX), _SEEDS, (1, 1, 2), strict=True):
        staged = stage_bodies(folder, made, [*bodies, good])
        for number, body in enumerate(bodies):
            _accounted(staged, number)
            if made is JSON and staged.profiles[number].unreadable is None:
                _holds_every_record(staged, number, body)
        assert (staged.profiles[-1].unreadable, staged.profiles[-1].good) == (None, count)


def _holds_every_record(staged: Staged, number: int, body: bytes) -> None:
    try:
        records = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return  # DuckDB forgives a little more than Python does
    assert staged.profiles[number].rows == len(records)
