"""JSON answers: verdicts, positions, raw text, and bodies that are no array of records."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from ops_pipeline_tests.lake import body_of, good_rows, recipe, rejects, stage_bodies

DAY = {"date": "2020-01-02", "close": 1.5}


def test_each_record_gets_its_verdict(tmp_path: Path) -> None:
    body = body_of(
        [
            {"date": "2020-01-02", "close": 1.5},
            {"date": "2019-12-31", "close": 1},
            {"date": "2020-02-01", "close": "not even a number"},
            {"date": "2020-01-03", "close": "abc"},
            {"date": "2020-01-02", "close": 2.5, "volume": 7, "adjClose": "2.25"},
            {"close": 4},
            {"date": "2020-01-31", "close": 3, "volume": 1.5},
        ]
    )
    staged = stage_bodies(tmp_path, recipe(max_reject_share=1), [body], from_date=date(2020, 1, 1), to_date=date(2020, 1, 31))
    profile = staged.profiles[0]
    assert (profile.rows, profile.good, profile.failed, profile.out_of_window, profile.superseded) == (7, 1, 3, 2, 1)
    assert (profile.from_date, profile.to_date, profile.unreadable) == (date(2020, 1, 2), date(2020, 1, 2), None)
    assert profile.first_reason == "close: abc is not of type double"
    assert good_rows(staged) == [{"ticker": "T0", "date": date(2020, 1, 2), "close": 2.5, "volume": 7, "adj_close": 2.25}]
    assert rejects(staged) == [
        (4, '{"date": "2020-01-03", "close": "abc"}', "close: abc is not of type double"),
        (6, '{"close": 4}', "date is missing"),
        (7, '{"date": "2020-01-31", "close": 3, "volume": 1.5}', "volume: 1.5 is not of type integer"),
    ]


def test_a_reject_keeps_the_text_that_the_vendor_sent(tmp_path: Path) -> None:
    texts = [
        '{ "date" : "2020-01-02",\n  "close": 1.50e0x }',
        '{"close":1.10,  "date":null,"note":"\\u00e9"}',
        "null",
        "[1, 2]",
        "7",
    ]
    body = "[" + " ,\n\t".join(texts[1:]) + "]"
    staged = stage_bodies(tmp_path, recipe(max_reject_share=1), [body.encode()])
    assert [(position, raw) for position, raw, _ in rejects(staged)] == list(enumerate(texts[1:], start=1))
    assert {reason for _, _, reason in rejects(staged)} == {"date is missing"}
    assert stage_bodies(tmp_path, recipe(), [f"[{texts[0]}]".encode()]).profiles[0].unreadable


def test_the_last_of_equal_keys_wins_also_in_a_long_file(tmp_path: Path) -> None:
    days = [date.fromordinal(date(1990, 1, 1).toordinal() + n % 9000) for n in range(20_000)]
    body = body_of([{"date": str(day), "close": n} for n, day in enumerate(days)])
    staged = stage_bodies(tmp_path, recipe(), [body])
    profile = staged.profiles[0]
    assert (profile.rows, profile.good, profile.superseded) == (20_000, 9000, 11_000)
    last = {day: float(n) for n, day in enumerate(days)}
    assert {row["date"]: row["close"] for row in good_rows(staged)} == last


def test_positions_count_through_a_long_file(tmp_path: Path) -> None:
    count = 60_000
    bad = {1, 2, 2048, 2049, 30_000, count}
    records = [{"date": "2020-01-02", "close": None if n in bad else n, "n": n} for n in range(1, count + 1)]
    staged = stage_bodies(tmp_path, recipe(max_reject_share=1), [body_of(records)])
    assert [(position, json.loads(raw)["n"]) for position, raw, _ in rejects(staged)] == [(n, n) for n in sorted(bad)]


def test_a_good_record_of_a_repeated_key_survives_a_refused_one_behind_it(tmp_path: Path) -> None:
    body = body_of([DAY, {"date": "2020-01-02", "close": "abc"}])
    staged = stage_bodies(tmp_path, recipe(max_reject_share=1), [body])
    assert [row["close"] for row in good_rows(staged)] == [1.5]
    assert (staged.profiles[0].superseded, staged.profiles[0].failed) == (0, 1)


def test_a_record_outside_the_window_is_no_reject_and_supersedes_nothing(tmp_path: Path) -> None:
    body = body_of([DAY, {"date": "2021-01-01", "close": 2}, {"date": "2021-01-01", "close": 3}])
    staged = stage_bodies(tmp_path, recipe(), [body], to_date=date(2020, 12, 31))
    profile = staged.profiles[0]
    assert (profile.rows, profile.good, profile.out_of_window, profile.superseded) == (3, 1, 2, 0)


def test_fields_that_no_column_names_are_ignored_and_absent_ones_are_null(tmp_path: Path) -> None:
    staged = stage_bodies(tmp_path, recipe(), [body_of([{**DAY, "Close": 9, "x": {"close": 8}, "volume": None}])])
    assert good_rows(staged) == [{"ticker": "T0", "date": date(2020, 1, 2), "close": 1.5, "volume": None, "adj_close": None}]


def test_an_empty_array_holds_no_records_and_is_no_error(tmp_path: Path) -> None:
    staged = stage_bodies(tmp_path, recipe(), [b"[]", b" [ \n ] \n" + b" " * 100, b"\xef\xbb\xbf[]"])
    assert [(p.rows, p.unreadable) for p in staged.profiles] == [(0, None)] * 3
    assert (staged.good.num_rows, staged.rejects.num_rows) == (0, 0)


def test_a_byte_order_mark_is_no_part_of_the_answer(tmp_path: Path) -> None:
    staged = stage_bodies(tmp_path, recipe(), [b"\xef\xbb\xbf" + body_of([DAY])])
    assert staged.profiles[0].good == 1


@pytest.mark.parametrize("blanks", [0, 1, 63, 64, 65, 100_000])
def test_blanks_are_not_an_empty_array(tmp_path: Path, blanks: int) -> None:
    # DuckDB reads them as one, and a vendor's failure would pass as "no data".
    staged = stage_bodies(tmp_path, recipe(), [b"\n" * blanks])
    assert staged.profiles[0].unreadable == f"the answer is empty ({blanks} bytes of nothing but blanks)"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b'{"Error Message": "Limit Reach"}', 'not a JSON array; it begins with \'{"Error Message": "Limit Reach"}\''),
        (b"null", "not a JSON array"),
        (b'"text"', "not a JSON array"),
        (b"<html>\nslow down</html>", "it begins with '<html>'"),
        (b'{"date":"2020-01-02","close":1}\n{"date":"2020-01-03","close":1}\n', "not a JSON array"),
        ('[{"date":"2020-01-02","close":1}]'.encode("utf-16"), "not valid UTF-8 at byte 0"),
        (b"\x00", "not a JSON array"),
        (b"[", "does not end where the answer ends"),
        (b'[{"date":"2020-01-02","close":1}', "does not end where the answer ends"),
        (b'[{"date":"2020-01-02","close":1},', "does not end where the answer ends"),
        (b'[{"date":"2020-01-02","close":1},\r\n\t ', "does not end where the answer ends"),
        (b'[{"date":"2020-01-02","clo', "does not end where the answer ends"),
        (b'[{"date":"2020-01-02","close":1}]<!-- 200 ms -->', "does not end where the answer ends"),
        (b'[{"date":"2020-01-02","close":1}][{"date":"2020-01-03","close":1}]', "cannot be read: Invalid Input Error: Malformed"),
        (b'[{"date":"2020-01-02","close":1}]\n[]', "cannot be read: Invalid Input Error: Malformed"),
        (b'[{"date":"2020-01-02" "close":1}]', "cannot be read: Invalid Input Error: Malformed"),
        (b"[][]", "cannot be read: Invalid Input Error"),
        (b'[{"date":"2020-01-02","close":"\xff\xfe"}]', "UTF-8"),
        (b'[{"date":"\xff\xff\xff" x}]', "not valid UTF-8 at byte 10"),
    ],
)
def test_what_is_no_array_is_unreadable_as_a_whole(tmp_path: Path, body: bytes, sentence: str) -> None:
    staged = stage_bodies(tmp_path, recipe(), [body])
    profile = staged.profiles[0]
    assert profile.unreadable is not None
    assert sentence in profile.unreadable
    assert str(tmp_path) not in profile.unreadable
    assert (profile.rows, profile.good, staged.good.num_rows, staged.rejects.num_rows) == (0, 0, 0, 0)


def test_an_array_cut_anywhere_never_passes_for_a_shorter_one(tmp_path: Path) -> None:
    body = body_of([{"date": f"2020-01-0{n}", "close": n, "note": "[1],"} for n in (1, 2, 3)])
    staged = stage_bodies(tmp_path, recipe(), [body[:end] for end in range(len(body))])
    assert [p.rows for p in staged.profiles if not p.unreadable] == []
    assert staged.good.num_rows == 0


@pytest.mark.parametrize(
    "field",
    ["a.b", 'a"b', "a\\b", "a/b", "a~b", "~1", "$", "*", "$.date", "[0]", "a b", "a'b", "a\nb", "é\u2028", '"', "\\", "'"],
)
def test_a_field_may_have_any_name(tmp_path: Path, field: str) -> None:
    named = recipe(
        columns=[{"name": "date", "type": "date", "required": True}, {"name": "value", "type": "double", "from": field}]
    )
    staged = stage_bodies(tmp_path, named, [body_of([{"date": "2020-01-02", "value": 8, field: 1.5, f"{field}x": 9}])])
    assert [row["value"] for row in good_rows(staged)] == [1.5]


HOSTILE_COLUMNS = (
    "verdict reason raw_text row_position line_error file_no requested_from_date act series number json v r0 c0 s t f g"
    " select order cell pair position"
)


@pytest.mark.parametrize("column", HOSTILE_COLUMNS.split())
def test_a_column_may_have_any_name_that_a_recipe_can_give_it(tmp_path: Path, column: str) -> None:
    named = recipe(
        max_reject_share=1,
        columns=[{"name": "date", "type": "date", "required": True}, {"name": column, "type": "integer"}],
    )
    records = [{"date": "2020-01-02", column: 1}, {"date": "2020-01-02", column: 2}, {"date": "2020-01-03", column: "x"}]
    staged = stage_bodies(tmp_path, named, [body_of(records)])
    assert good_rows(staged) == [{"ticker": "T0", "date": date(2020, 1, 2), column: 2}]
    assert [reason for _, _, reason in rejects(staged)] == [f"{column}: x is not of type integer"]
