"""Every column type's edges, in JSON and in CSV: a value is held exactly as sent, or its record is refused."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from ops_pipeline.recipes.models import Recipe
from ops_pipeline_tests.lake import good_rows, recipe, rejects, stage_bodies

REFUSED = object()

DOUBLES = [
    ("1.5", 1.5),
    (" 1.5 ", 1.5),
    ("-0", 0.0),
    (".5", 0.5),
    ("5.", 5.0),
    ("+1e3", 1000.0),
    ("0.1", 0.1),
    ("1.7976931348623157e308", 1.7976931348623157e308),
    ("5e-324", 5e-324),
    ("9007199254740993", 9007199254740992.0),
    *((text, REFUSED) for text in ["NaN", "nan", "-nan", "Infinity", "-Infinity", "inf", "1e400", "-1e400"]),
    *((text, REFUSED) for text in ["abc", "1,5", "1_000", "0x10", "1e", "1 2", "true", "1.5USD", "\uff11"]),
]
INTEGERS = [
    ("0", 0),
    ("-5", -5),
    ("+5", 5),
    ("00012", 12),
    (" 12 ", 12),
    ("12.0", 12),
    ("1e3", 1000),
    ("1.2E7", 12_000_000),
    ("9007199254740991", 2**53 - 1),
    ("9007199254740992", 2**53),
    ("9007199254740993", 2**53 + 1),
    ("9223372036854775807", 2**63 - 1),
    ("-9223372036854775808", -(2**63)),
    ("9007199254740991.0", 2**53 - 1),
    *(
        (text, REFUSED)
        for text in ["1.5", "0.5", "-1.5", "1e-1", "9007199254740992.5", "9007199254740993.5", "9007199254740993.0"]
    ),
    *((text, REFUSED) for text in ["9223372036854775808", "-9223372036854775809", "1e400", "NaN", "Infinity", "1_000", "0x10"]),
    *((text, REFUSED) for text in ["1,000", "abc", "true", "٣", "1e30"]),
]
DATES = [
    ("2020-01-02", date(2020, 1, 2)),
    ("2020-02-29", date(2020, 2, 29)),
    ("2000-02-29", date(2000, 2, 29)),
    ("0001-01-01", date(1, 1, 1)),
    ("9999-12-31", date(9999, 12, 31)),
    *((text, REFUSED) for text in ["2021-02-29", "1900-02-29", "2020-13-01", "2020-00-10", "2020-01-32"]),
    *(
        (text, REFUSED)
        for text in ["2020-01-02 00:00:00", "2020-01-02T00:00:00Z", "2020-01-02 ", " 2020-01-02", "2020-1-2", "20200102"]
    ),
    *((text, REFUSED) for text in ["infinity", "-infinity", "  infinity", "     epoch", "epoch", "today", "now", "0000-01-01"]),
    *(
        (text, REFUSED)
        for text in ["1-1-1 (BC)", "-020-01-02", "99999-1-01", "2020-1-02 ", "2020/01/02", "01/02/2020", "2020 01 02"]
    ),
    *((text, REFUSED) for text in ["abc", "2020", "1577923200", "\uff12020-01-02"]),
]
TIMESTAMPS = [
    ("2020-01-02", datetime(2020, 1, 2, tzinfo=UTC)),
    ("2020-01-02 10:20:30", datetime(2020, 1, 2, 10, 20, 30, tzinfo=UTC)),
    ("2020-01-02T10:20:30Z", datetime(2020, 1, 2, 10, 20, 30, tzinfo=UTC)),
    ("2020-01-02T10:20:30.123456+05:30", datetime(2020, 1, 2, 4, 50, 30, 123456, tzinfo=UTC)),
    ("2020-02-29T23:59:59Z", datetime(2020, 2, 29, 23, 59, 59, tzinfo=UTC)),
    *((text, REFUSED) for text in ["infinity", "-infinity", "epoch", "now", "today", "1577923200", "2021-02-29 10:00:00"]),
    *((text, REFUSED) for text in ["0001-01-01 (BC)", "290000-01-01", "10000-01-01", "abc", "10:20:30", "2020-01-02T25:00:00Z"]),
]
BOOLEANS = [
    ("true", True),
    ("false", False),
    ("TRUE", True),
    ("1", True),
    ("0", False),
    ("yes", True),
    ("n", False),
    *((text, REFUSED) for text in ["2", "on", "maybe", "1.0", "nil"]),
]
TEXTS = [
    (text, text) for text in ["abc", " abc ", "NaN", "null", "NULL", "1.50", "0x1", "é\u2028", "a'b", '{"x": 1}', "\\N", "\t"]
]
CASES = [
    (kind, text, value)
    for kind, cases in [
        ("double", DOUBLES),
        ("integer", INTEGERS),
        ("date", DATES),
        ("timestamp", TIMESTAMPS),
        ("boolean", BOOLEANS),
        ("text", TEXTS),
    ]
    for text, value in cases
]


def _columns(kind: str) -> list[dict[str, Any]]:
    return [{"name": "id", "type": "text", "required": True}, {"name": "value", "type": kind}]


def _json_recipe(kind: str, **changes: Any) -> Recipe:
    fields: dict[str, Any] = {
        "mode": "snapshot",
        "date_column": None,
        "key": ["id"],
        "max_reject_share": 1,
        "columns": _columns(kind),
    }
    return recipe(**fields | changes)


def _csv_recipe(kind: str, **changes: Any) -> Recipe:
    return _json_recipe(kind, **{"answer": {"format": "csv"}} | changes)


def _outcome(value: object, kind: str, text: str) -> tuple[list[object], list[str]]:
    return ([], [f"value: {text} is not of type {kind}"]) if value is REFUSED else ([value], [])


@pytest.mark.parametrize("kind", ["double", "integer", "date", "timestamp", "boolean", "text"])
def test_texts_in_json_and_csv(tmp_path: Path, kind: str) -> None:
    cases = [(text, value) for k, text, value in CASES if k == kind]
    json_bodies = [json.dumps([{"id": "x", "value": text}], ensure_ascii=False).encode() for text, _ in cases]
    quoted = [text.replace('"', '""') for text, _ in cases]
    csv_bodies = [f'id,value\nx,"{text}"\n'.encode() for text in quoted]
    for made, bodies in ((_json_recipe(kind), json_bodies), (_csv_recipe(kind), csv_bodies)):
        staged = stage_bodies(tmp_path, made, bodies)
        for number, (text, value) in enumerate(cases):
            found = [row["value"] for row in good_rows(staged, number)], [reason for _, _, reason in rejects(staged, number)]
            assert found == _outcome(value, kind, text), (made.answer.format, text)


@pytest.mark.parametrize(
    ("kind", "number", "value"),
    [
        ("double", "1.10", 1.1),
        ("double", "9007199254740993", 9007199254740992.0),
        ("double", "1e400", REFUSED),
        ("double", "NaN", REFUSED),
        ("double", "-Infinity", REFUSED),
        ("double", "true", REFUSED),
        ("double", "[1.5]", REFUSED),
        ("integer", "9007199254740993", 2**53 + 1),
        ("integer", "9007199254740993.0", REFUSED),  # a JSON reader has rounded it before anyone can see it
        ("integer", "12.0", 12),
        ("integer", "1.5", REFUSED),
        ("integer", "18446744073709551616", REFUSED),
        ("integer", "123456789012345678901234567890", REFUSED),
        ("boolean", "true", True),
        ("boolean", "false", False),
        ("boolean", "1", True),
        ("text", "12", "12"),
        ("text", "true", "true"),
        ("text", '{"a": [1, {"b": null}], "c": "\\u00e9"}', '{"a":[1,{"b":null}],"c":"é"}'),
        ("text", "[]", "[]"),
        ("text", '"a\\nb\\u0000c"', "a\nb\0c"),
        ("date", "20200102", REFUSED),
        ("timestamp", "1577923200", REFUSED),
    ],
)
def test_values_of_json_that_are_no_text(tmp_path: Path, kind: str, number: str, value: object) -> None:
    staged = stage_bodies(tmp_path, _json_recipe(kind), [f'[{{"id":"x","value":{number}}}]'.encode()])
    assert [row["value"] for row in good_rows(staged)] == ([] if value is REFUSED else [value])
    assert staged.profiles[0].failed == (1 if value is REFUSED else 0)


@pytest.mark.parametrize("kind", ["double", "integer", "date", "timestamp", "boolean", "text"])
def test_no_value(tmp_path: Path, kind: str) -> None:
    bodies = [b'[{"id":"x"}]', b'[{"id":"x","value":null}]', b'[{"id":"x","value":"-"}]', b'[{"id":"x","value":""}]']
    marked = {"format": "json", "missing": ["-", ""]}
    staged = stage_bodies(tmp_path, _json_recipe(kind, answer=marked), bodies)
    assert [[row["value"] for row in good_rows(staged, n)] for n in range(4)] == [[None]] * 4
    needed = [{"name": "id", "type": "text", "required": True}, {"name": "value", "type": kind, "required": True}]
    staged = stage_bodies(tmp_path, _json_recipe(kind, answer=marked, columns=needed), bodies)
    assert [reason for n in range(4) for _, _, reason in rejects(staged, n)] == ["value is missing"] * 4


def test_an_empty_text_is_a_value_of_json_and_no_value_of_csv(tmp_path: Path) -> None:
    body = b'[{"id":"x","value":""}]'
    assert good_rows(stage_bodies(tmp_path, _json_recipe("text"), [body])) == [{"ticker": "T0", "id": "x", "value": ""}]
    assert rejects(stage_bodies(tmp_path, _json_recipe("double"), [body])) == [
        (1, '{"id":"x","value":""}', "value:  is not of type double")
    ]
    for kind in ("text", "double"):
        staged = stage_bodies(tmp_path, _csv_recipe(kind), [b"id,value\nx,\n", b'id,value\nx,""\n'])
        assert [good_rows(staged, n)[0]["value"] for n in (0, 1)] == [None, None]


def test_a_missing_marker_is_a_whole_text_and_of_the_recipe(tmp_path: Path) -> None:
    marked = _json_recipe("double", answer={"format": "json", "missing": ["N/A", "-999", 'it\'s "none"']})
    values = ['"N/A"', "-999", '"it\'s \\"none\\""', '"N/A "', '"n/a"', "-999.5", '"-"']
    staged = stage_bodies(tmp_path, marked, [f'[{{"id":"x","value":{value}}}]'.encode() for value in values])
    assert [[row["value"] for row in good_rows(staged, n)] for n in range(7)] == [[None], [None], [None], [], [], [-999.5], []]


def test_a_long_text_is_shortened_in_the_reason_and_whole_in_the_raw_text(tmp_path: Path) -> None:
    text = "é" * 5000
    ((_, raw, reason),) = rejects(stage_bodies(tmp_path, _json_recipe("double"), [f'[{{"id":"x","value":"{text}"}}]'.encode()]))
    assert raw == f'{{"id":"x","value":"{text}"}}'
    assert reason == f"value: {'é' * 80} is not of type double"


def test_the_machine_s_time_zone_means_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    body = b'[{"id":"x","value":"2020-01-02 10:00:00"}]'
    assert good_rows(stage_bodies(tmp_path, _json_recipe("timestamp"), [body]))[0]["value"] == datetime(
        2020, 1, 2, 10, tzinfo=UTC
    )
