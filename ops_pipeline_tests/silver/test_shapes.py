"""Answers that are no plain list of records: where the records stand, and what stands around them."""

from __future__ import annotations

import csv
import json
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_pipeline.recipes.models import Recipe
from ops_pipeline_tests.lake import body_of, csv_recipe, good_rows, recipe, rejects, stage_bodies

DATE: dict[str, Any] = {"name": "date", "type": "date", "required": True}
CLOSE: dict[str, Any] = {"name": "close", "type": "double"}


def shaped(columns: list[dict[str, Any]], *, key: list[str] | None = None, **answer: Any) -> Recipe:
    return recipe(columns=columns, key=key or ["date"], answer={"format": "json", **answer}, max_reject_share=1)


HISTORICAL = shaped([DATE, CLOSE, {"name": "symbol", "type": "text", "up": 1}], records="/historical/*")
ARRAYS = shaped([{**DATE, "from": "0", "format": "epoch_s"}, {**CLOSE, "from": "4"}], record="array")
PARALLEL = shaped(
    [
        {**DATE, "path": "/timestamp", "format": "epoch_s", "zone": "America/New_York"},
        {**CLOSE, "path": "/quote/0/close"},
        {"name": "symbol", "type": "text", "path": "/chart/0/meta/symbol", "up": 1},
        {"name": "n", "type": "integer", "record_name": True},
    ],
    records="/chart/0",
    record="parallel",
)
FACTS = shaped(
    [
        {"name": "concept", "type": "text", "record_name": True, "up": 2, "required": True},
        {"name": "unit", "type": "text", "record_name": True, "up": 1, "required": True},
        {**DATE, "from": "end"},
        {"name": "value", "type": "double", "from": "val"},
        {"name": "label", "type": "text", "up": 2},
        {"name": "entity", "type": "text", "up": 3},
    ],
    key=["concept", "unit", "date"],
    records="/facts/*/units/*/*",
)
BY_DAY = shaped([{**DATE, "record_name": True}, {**CLOSE, "from": "4. close"}], records="/Time Series (Daily)/*")
SCALARS = shaped([{**DATE, "path": ""}], records="/dates/*")
ONE = shaped([DATE, CLOSE], records="/data")
NEW_YORK = ZoneInfo("America/New_York")


def test_records_below_a_name_get_the_fields_around_them(tmp_path: Path) -> None:
    days = [{"date": "2024-01-03", "close": 2, "x": {"y": 1}}, {"date": "2024-01-02", "close": "bad"}]
    staged = stage_bodies(
        tmp_path, HISTORICAL, [body_of({"symbol": "AAA", "historical": days}), b'{"symbol":"B","historical":[]}']
    )
    assert [(p.rows, p.good, p.failed, p.unreadable) for p in staged.profiles] == [(2, 1, 1, None), (0, 0, 0, None)]
    assert good_rows(staged) == [{"ticker": "T0", "date": date(2024, 1, 3), "close": 2.0, "symbol": "AAA"}]
    assert rejects(staged) == [(2, '{"date":"2024-01-02","close":"bad"}', "close: bad is not of type double")]
    assert [(u.field, u.example) for u in staged.unknown] == [("x", '{"y":1}')]


def test_records_that_are_arrays_are_read_by_position(tmp_path: Path) -> None:
    staged = stage_bodies(tmp_path, ARRAYS, [b"[[1602806400, 9588, 9860, 9828.84, 9672.41], [1577836800.0, 1, 1, 1], []]"])
    assert good_rows(staged) == [
        {"ticker": "T0", "date": date(2020, 1, 1), "close": None},
        {"ticker": "T0", "date": date(2020, 10, 16), "close": 9672.41},
    ]
    assert rejects(staged) == [(3, "[]", "date is missing")]
    assert [u.field for u in staged.unknown] == ["1", "2", "3"]


def test_lists_side_by_side_are_records(tmp_path: Path) -> None:
    chart = {"meta": {"symbol": "IBM"}, "timestamp": [-252322200, 1577888999, None], "quote": [{"close": [7.5, None, 3]}]}
    staged = stage_bodies(tmp_path, PARALLEL, [body_of({"chart": [chart]})])
    assert good_rows(staged) == [
        {"ticker": "T0", "date": date(1962, 1, 2), "close": 7.5, "symbol": "IBM", "n": 0},
        {"ticker": "T0", "date": date(2020, 1, 1), "close": None, "symbol": "IBM", "n": 1},
    ]
    assert rejects(staged) == [(3, '{"/timestamp":null,"/quote/0/close":"3"}', "date is missing")]
    assert [u.field for u in staged.unknown] == ["meta"]


def test_lists_inside_maps_inside_maps_are_records(tmp_path: Path) -> None:
    units = {"USD": [{"end": "2024-03-31", "val": 1}, {"end": "2024-06-30", "val": 2}], "EUR": []}
    facts = {"Revenue": {"label": "R", "units": units}, "a/b~c": {"units": {"x.y": [{"end": "2024-03-31"}]}}}
    staged = stage_bodies(tmp_path, FACTS, [body_of({"entity": "E", "facts": facts})])
    assert [tuple(row.values())[1:] for row in good_rows(staged)] == [
        ("Revenue", "USD", date(2024, 3, 31), 1.0, "R", "E"),
        ("Revenue", "USD", date(2024, 6, 30), 2.0, "R", "E"),
        ("a/b~c", "x.y", date(2024, 3, 31), None, None, "E"),
    ]


def test_values_of_a_map_scalars_and_a_single_record(tmp_path: Path) -> None:
    series = {"2024-01-02": {"1. open": "1", "4. close": "2.5"}, "2024-01-03": {"4. close": "3"}, "Note": {}}
    staged = stage_bodies(tmp_path, BY_DAY, [body_of({"Meta Data": {}, "Time Series (Daily)": series})])
    assert [(row["date"].day, row["close"]) for row in good_rows(staged)] == [(2, 2.5), (3, 3.0)]
    assert rejects(staged) == [(3, "{}", "date: Note is not of type date")]
    staged = stage_bodies(tmp_path, SCALARS, [b'{"dates":["2024-01-02","x",null]}'])
    assert [row["date"] for row in good_rows(staged)] == [date(2024, 1, 2)]
    assert [(n, raw) for n, raw, _ in rejects(staged)] == [(2, '"x"'), (3, "null")]
    staged = stage_bodies(tmp_path, ONE, [b'{"data":{"date":"2024-01-02","close":1}}'])
    assert staged.profiles[0].good == 1


@pytest.mark.parametrize(
    ("made", "body", "sentence"),
    [
        (HISTORICAL, b'{"Error Message": "no"}', 'no list of records at /historical; it begins with \'{"Error Message": "no"}\''),
        (HISTORICAL, b'{"historical": null}', "no list of records at /historical"),
        (HISTORICAL, b'{"historical": 5}', "no list of records at /historical"),
        (HISTORICAL, b'[{"date":"2024-01-02"}]', "no list of records at /historical"),
        (HISTORICAL, b"no data", "no JSON document; it begins with 'no data'"),
        (HISTORICAL, b'{"historical": [{"date":"2024-01-02"}]', "does not end where the answer ends"),
        (HISTORICAL, b'{"historical": [{"date":"2024-01-02"}', "cannot be read"),
        (ONE, b'{"data": null}', "holds nothing at /data"),
        (PARALLEL, b'{"chart": [{"timestamp": [1], "quote": [{"close": [1, 2]}]}]}', "not of one length"),
        (PARALLEL, b'{"chart": [{"quote": [{"close": [1]}]}]}', "lacks the required column /timestamp"),
        (PARALLEL, b'{"chart": [{"timestamp": 5, "quote": []}]}', "/timestamp at /chart/0 is no list"),
        (PARALLEL, b'{"chart": []}', "holds no lists at /chart/0"),
    ],
)
def test_another_layout_fails_the_file_with_a_sentence_and_no_other(
    tmp_path: Path, made: Recipe, body: bytes, sentence: str
) -> None:
    good = {
        "historical": [{"date": "2024-01-02"}],
        "data": {"date": "2024-01-02"},
        "chart": [{"timestamp": [1], "quote": [{"close": [1]}]}],
    }
    staged = stage_bodies(tmp_path, made, [body_of(good), body, body_of(good)])
    assert sentence in (staged.profiles[1].unreadable or "")
    assert [(p.good, p.unreadable) for p in (staged.profiles[0], staged.profiles[2])] == [(1, None)] * 2


def test_a_place_that_may_be_absent_holds_no_records(tmp_path: Path) -> None:
    made = shaped([DATE, CLOSE], records="/historical/*", may_lack_records=True)
    staged = stage_bodies(tmp_path, made, [b"{}", b'{"historical":null}', b'{"historical":"none"}'])
    assert [p.unreadable is None for p in staged.profiles] == [True, True, False]
    assert [p.rows for p in staged.profiles] == [0, 0, 0]


# --- CSV --------------------------------------------------------------------------------------------------------------------------


def test_tables_with_another_separator_without_header_and_with_blanks(tmp_path: Path) -> None:
    made = csv_recipe(
        answer={"format": "csv", "header": False, "delimiter": ";", "trim": True, "missing": ["N/A"]},
        columns=[
            {**DATE, "from": "0", "format": "epoch_ms"},
            {**CLOSE, "from": "1", "zero_is_missing": True},
            {"name": "note", "type": "text", "from": "2"},
        ],
        max_reject_share=1,
    )
    bodies = [
        b'\xef\xbb\xbf1577836800000; 1.5 ;\t a b\n1577923200000;0.00;N/A \n1578009600000; ; "x; y"\n1578096000000;1\n',
        b"1577836800000;1.5\n",
    ]
    staged = stage_bodies(tmp_path, made, bodies)
    assert [(row["date"].day, row["close"], row["note"]) for row in good_rows(staged)] == [
        (1, 1.5, "a b"),
        (2, None, None),
        (3, None, "x; y"),
    ]
    assert rejects(staged) == [(4, "1578096000000;1", "the line has 2 cells, the first line 3")]
    assert good_rows(staged, 1) == [{"ticker": "T1", "date": date(2020, 1, 1), "close": 1.5, "note": None}]
    narrow = stage_bodies(tmp_path, csv_recipe(answer=made.answer, columns=[{**DATE, "from": "5"}]), [b"1;2\n"])
    assert narrow.profiles[0].unreadable == "the first line has 2 cells, and none at position 5, where date should be"


def test_a_daily_sheet_with_blanks_a_long_date_and_a_trailing_comma(tmp_path: Path) -> None:
    made = recipe(
        per_ticker=False,
        answer={
            "format": "csv",
            "trim": True,
            "missing": ["N/A"],
            "unpivot": {"keep": ["Date"], "name_to": "currency", "value_to": "rate"},
        },
        columns=[
            {**DATE, "from": "Date", "format": "%d %B %Y"},
            {"name": "currency", "type": "text", "required": True},
            {"name": "rate", "type": "double", "required": True},
        ],
        key=["currency", "date"],
    )
    body = b"\xef\xbb\xbfDate, USD, JPY, CZK, \n30 October 2026, 1.1172, N/A, 24.353, \n"
    assert [tuple(row.values()) for row in good_rows(stage_bodies(tmp_path, made, [body]))] == [
        (date(2026, 10, 30), "CZK", 24.353),
        (date(2026, 10, 30), "USD", 1.1172),
    ]


# --- values -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "text", "wanted"),
    [
        ({"type": "date", "format": "epoch_s"}, "-252322200", date(1962, 1, 2)),
        ({"type": "date", "format": "epoch_s"}, "1e30", None),
        ({"type": "date", "format": "epoch_s"}, "soon", None),
        ({"type": "date", "format": "epoch_ms", "zone": "Asia/Tokyo"}, "1704121200000", date(2024, 1, 2)),
        ({"type": "date", "format": "timestamp"}, "2018-01-05T00:00:00.000Z", date(2018, 1, 5)),
        ({"type": "date", "format": "timestamp"}, "2018-01-05T00:00:00+00:00", date(2018, 1, 5)),
        ({"type": "date", "format": "timestamp"}, "2018-01-05 23:30:00", date(2018, 1, 5)),
        ({"type": "date", "format": "timestamp"}, "2018-01-05", date(2018, 1, 5)),
        ({"type": "date", "format": "timestamp", "zone": "America/New_York"}, "2018-01-05T02:00:00Z", date(2018, 1, 4)),
        ({"type": "date", "format": "timestamp", "zone": "America/New_York"}, "2018-01-05 23:30:00", date(2018, 1, 5)),
        ({"type": "date", "format": "timestamp"}, "2018-13-05T00:00:00Z", None),
        ({"type": "date", "format": "%d %B %Y"}, "3 October 2026", date(2026, 10, 3)),
        ({"type": "date", "format": "%d %B %Y"}, "31 February 2026", None),
        ({"type": "date", "format": "%d/%m/%Y"}, "01/02/2026", date(2026, 2, 1)),
        ({"type": "date", "format": "%d/%m/%Y"}, "2026-02-01", None),
        ({"type": "date", "missing": ["9999-12-31"]}, "9999-12-31", None),
        ({"type": "timestamp", "zone": "America/New_York"}, "2024-01-02 15:30:00", datetime(2024, 1, 2, 20, 30, tzinfo=UTC)),
        ({"type": "timestamp", "zone": "America/New_York"}, "2024-07-02 15:30:00", datetime(2024, 7, 2, 19, 30, tzinfo=UTC)),
        ({"type": "timestamp", "zone": "America/New_York"}, "2024-01-02", datetime(2024, 1, 2, 5, tzinfo=UTC)),
        ({"type": "timestamp", "zone": "America/New_York"}, "2024-01-02 15:30:00-01", datetime(2024, 1, 2, 16, 30, tzinfo=UTC)),
        ({"type": "timestamp", "zone": "America/New_York"}, "2024-01-02 noon", None),
        ({"type": "timestamp"}, "2023-11-02 18:08:27", datetime(2023, 11, 2, 18, 8, 27, tzinfo=UTC)),
        ({"type": "timestamp", "format": "epoch_ms"}, "1500", datetime(1970, 1, 1, 0, 0, 1, 500000, tzinfo=UTC)),
        (
            {"type": "timestamp", "format": "%d.%m.%Y %H:%M", "zone": "Europe/Berlin"},
            "02.01.2024 09:30",
            datetime(2024, 1, 2, 8, 30, tzinfo=UTC),
        ),
        ({"type": "double", "zero_is_missing": True}, "0.00", None),
        ({"type": "double", "zero_is_missing": True}, "0.01", 0.01),
        ({"type": "text"}, "0000320193", "0000320193"),
    ],
)
def test_a_text_becomes_what_the_column_says(tmp_path: Path, column: dict[str, Any], text: str, wanted: object) -> None:
    made = shaped([DATE, {"name": "value", **column}], missing=[""])
    body = [{"date": "2020-01-01", "value": text}, {"date": "2020-01-02", "value": ""}, {"date": "2020-01-03"}]
    staged = stage_bodies(tmp_path, made, [body_of(body)])
    rows = good_rows(staged)
    assert [row["value"] for row in rows if row["date"].day > 1] == [None, None]
    absent = text in column.get("missing", []) or (column.get("zero_is_missing") and not float(text))
    if wanted is None and not absent:
        assert [(n, reason) for n, _, reason in rejects(staged)] == [(1, f"value: {text} is not of type {column['type']}")]
    else:
        assert rows[0]["value"] == wanted


@given(
    seconds=st.lists(st.integers(-(2**31), 2**32 - 2**29), min_size=1, max_size=12, unique=True),
    zone=st.sampled_from(["America/New_York", "Asia/Tokyo", "Europe/London", "UTC"]),
)
@settings(max_examples=15)
def test_days_and_moments_are_those_of_the_zone(tmp_path_factory: pytest.TempPathFactory, seconds: list[int], zone: str) -> None:
    made = shaped(
        [
            {"name": "n", "type": "integer", "record_name": True, "required": True},
            {**DATE, "from": "epoch", "format": "epoch_s", "zone": zone},
            {"name": "local", "type": "timestamp", "zone": zone},
            {"name": "utc", "type": "timestamp"},
        ],
        key=["n"],
    )
    exact = [datetime.fromtimestamp(s, UTC) for s in seconds]
    records = [
        {"epoch": int(m.timestamp()), "local": f"{m.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M:%S}", "utc": m.isoformat()}
        for m in exact
    ]
    found = good_rows(stage_bodies(tmp_path_factory.mktemp("bodies"), made, [body_of(records)]))
    assert [(row["date"], row["utc"]) for row in found] == [(m.astimezone(ZoneInfo(zone)).date(), m) for m in exact]
    for row, moment in zip(found, exact, strict=True):
        # An hour that clocks pass twice has two moments; the text does not say which.
        assert row["local"] - moment in {timedelta(0), timedelta(hours=1), timedelta(minutes=20)} or moment.year < 1950


# --- laws -------------------------------------------------------------------------------------------------------------------------

_values = st.one_of(st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.sampled_from(["1.5", "x", "", [1], {"a": 1}]))
_names = st.sampled_from(["end", "val", "label", "a/b", "x~y", "é", "$", "*", ""])
_record = st.one_of(st.dictionaries(_names, _values, max_size=4), st.fixed_dictionaries({"end": st.just("2024-01-01")}), _values)
_units = st.one_of(
    st.dictionaries(_names, st.lists(_record, max_size=4), max_size=3), st.lists(st.lists(_record, max_size=3), max_size=3)
)
_facts = st.dictionaries(_names, st.fixed_dictionaries({"units": _units}, optional={"label": _values}), max_size=4)


def _children(held: Any) -> list[Any]:
    return list(held.values()) if isinstance(held, dict) else list(held)


@given(answers=st.lists(st.fixed_dictionaries({"facts": _facts}), min_size=1, max_size=4))
@settings(max_examples=25)
def test_no_record_of_a_deep_answer_is_lost_or_made_up(
    tmp_path_factory: pytest.TempPathFactory, answers: list[dict[str, Any]]
) -> None:
    staged = stage_bodies(tmp_path_factory.mktemp("bodies"), FACTS, [body_of(answer) for answer in answers])
    unknown = set()
    for number, answer in enumerate(answers):
        records = [r for fact in _children(answer["facts"]) for unit in _children(fact["units"]) for r in _children(unit)]
        profile = staged.profiles[number]
        assert (profile.unreadable, profile.rows) == (None, len(records))
        assert profile.rows == profile.good + profile.failed + profile.superseded
        for position, raw, _ in rejects(staged, number):
            assert json.loads(raw) == records[position - 1]
        unknown |= {name for r in records if isinstance(r, dict) for name in r} - {"end", "val"}
    assert {u.field for u in staged.unknown} == unknown


_SEEDS = [
    (HISTORICAL, b'{"symbol":"A","historical":[{"date":"2020-01-02","close":1},{"date":"2020-01-03"}]}'),
    (PARALLEL, b'{"chart":[{"meta":{},"timestamp":[1,86401],"quote":[{"close":[1,null]}]}]}'),
    (BY_DAY, b'{"Time Series (Daily)":{"2020-01-02":{"4. close":1},"2020-01-03":{}}}'),
    (ARRAYS, b"[[1,2,3,4,5],[86401,2,3,4,5]]"),
]


@given(
    edits=st.lists(
        st.tuples(st.integers(0, 120), st.sampled_from([b"", b"[", b"}", b",", b'"', b"\xff", b"null", b"{}"])), max_size=3
    )
)
@settings(max_examples=40)
def test_damaged_answers_are_refused_or_read_whole(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("bodies")
    for made, seed in _SEEDS:
        body = seed
        for place, piece in edits:
            at = place % (len(body) + 1)
            body = body[:at] + piece + body[at + (not piece) :]
        staged = stage_bodies(folder, made, [seed, body, seed])
        assert [(p.unreadable, p.good) for p in (staged.profiles[0], staged.profiles[2])] == [(None, 2)] * 2
        profile = staged.profiles[1]
        assert profile.rows == profile.good + profile.failed + profile.superseded
        assert len(good_rows(staged, 1)) == profile.good
        assert len(rejects(staged, 1)) == profile.failed


_cells = st.text(st.characters(categories=["L", "N", "P", "S"], max_codepoint=0x2FF), max_size=6)


@given(
    lines=st.lists(st.tuples(st.dates(date(2020, 1, 1), date(2020, 12, 31)), _cells, _cells), min_size=1, max_size=8),
    delimiter=st.sampled_from([";", "|", "\t"]),
    header=st.booleans(),
    padding=st.sampled_from(["", " ", "  "]),
)
@settings(max_examples=15)
def test_every_cell_of_another_table_is_found(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[date, str, str]], delimiter: str, header: bool, padding: str
) -> None:
    names = ["date", "a", "b"] if header else ["0", "1", "2"]
    made = csv_recipe(
        answer={"format": "csv", "delimiter": delimiter, "header": header, "trim": True},
        columns=[
            {**DATE, "from": names[0]},
            *({"name": n, "type": "text", "from": f} for n, f in zip("ab", names[1:], strict=True)),
        ],
    )
    text = StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    if header:
        writer.writerow([padding + name for name in names])
    for day, *cells in lines:
        writer.writerow([day.isoformat(), *(c + padding for c in cells)])
    found = good_rows(stage_bodies(tmp_path_factory.mktemp("bodies"), made, [text.getvalue().encode()]))
    last = {day: (a or None, b or None) for day, a, b in lines}
    assert [(row["date"], (row["a"], row["b"])) for row in found] == sorted(last.items())
