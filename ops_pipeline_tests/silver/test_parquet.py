"""Parquet answers: every row is typed or refused by the rules of the other formats, and a damaged file is set aside.

Belongs here: reading Parquet by staging. Does not belong here: how files get there (`sources.test_files`).
"""

from __future__ import annotations

import random
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_pipeline_tests.lake import good_rows, recipe, rejects, stage_bodies

PARQUET = {"format": "parquet"}


def body(tmp_path: Path, query: str) -> bytes:
    """A Parquet file of a query's rows."""
    path = tmp_path / "body.parquet"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
    return path.read_bytes()


def typed(tmp_path: Path, kind: str, value: str) -> Any:
    """What a recipe's column of a type makes of a SQL value; the reason where the row is refused."""
    columns = [{"name": "date", "type": "date", "required": True}, {"name": "v", "type": kind}]
    made = recipe(answer=PARQUET, columns=columns, max_reject_share=1)
    staged = stage_bodies(tmp_path, made, [body(tmp_path, f"SELECT DATE '2024-01-02' AS date, {value} AS v")])
    return good_rows(staged)[0]["v"] if good_rows(staged) else rejects(staged)[0][2]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("double", "1.1::DOUBLE", 1.1),
        ("double", "1e300", 1e300),
        ("double", "0.1::FLOAT", 0.1),
        ("double", "1.50::DECIMAL(9, 2)", 1.5),
        ("double", "NULL::DOUBLE", None),
        ("double", "'nan'::DOUBLE", "v: nan is not of type double"),
        ("integer", "5.0::DOUBLE", 5),
        ("integer", "5.5::DOUBLE", "v: 5.5 is not of type integer"),
        ("integer", "9007199254740993::BIGINT", 9007199254740993),
        ("date", "DATE '2024-05-06'", date(2024, 5, 6)),
        ("date", "TIMESTAMP '2024-05-06 00:00:00'", date(2024, 5, 6)),
        ("date", "TIMESTAMP_NS '2024-05-06 00:00:00'", date(2024, 5, 6)),
        ("date", "TIMESTAMPTZ '2024-05-06 00:00:00+00'", date(2024, 5, 6)),
        ("date", "TIMESTAMP '2024-05-06 15:30:00'", "v: 2024-05-06 15:30:00 is not of type date"),
        ("timestamp", "TIMESTAMP '2024-05-06 15:30:00'", datetime(2024, 5, 6, 15, 30, tzinfo=UTC)),
        ("timestamp", "TIMESTAMP '2024-05-06 00:00:00'", datetime(2024, 5, 6, tzinfo=UTC)),
        ("boolean", "true", True),
        ("text", "'0000320193'", "0000320193"),
        ("text", "[1, 2]", "[1, 2]"),
    ],
)
def test_values_of_any_type_become_the_recipes(tmp_path: Path, kind: str, value: str, expected: Any) -> None:
    assert typed(tmp_path, kind, value) == expected


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=200))
@settings(max_examples=5)
def test_a_number_keeps_every_bit(tmp_path_factory: pytest.TempPathFactory, numbers: list[float]) -> None:
    folder = tmp_path_factory.mktemp("bits")
    listed = ", ".join(f"'{number!r}'::DOUBLE" for number in numbers)
    query = f"SELECT DATE '2000-01-01' + i::INTEGER AS date, [{listed}][i + 1] AS close FROM range({len(numbers)}) t(i)"
    staged = stage_bodies(folder, recipe(answer=PARQUET), [body(folder, query)])
    assert [row["close"] for row in good_rows(staged)] == numbers


def test_many_files_with_different_columns_are_one_batch_and_refused_rows_are_told(tmp_path: Path) -> None:
    bodies = [
        body(tmp_path, "SELECT DATE '2024-01-02' AS date, 1.0 AS close"),
        body(tmp_path, "SELECT 7 AS volume, 2.0 AS close, '2024-01-03' AS date, 'x' AS unknown"),
        body(tmp_path, "SELECT DATE '2024-01-02' + i::INTEGER AS date, CASE WHEN i <> 1 THEN i END AS close FROM range(3) t(i)"),
        body(tmp_path, "SELECT DATE '2024-01-02' AS date, 1.0 AS close WHERE false"),
        body(tmp_path, "SELECT DATE '2024-01-02' AS date, i AS close FROM range(2) t(i)"),
        body(tmp_path, "SELECT 1 AS close, 2 AS day"),
    ]
    made = recipe(answer=PARQUET, max_reject_share=1)
    staged = stage_bodies(tmp_path, made, bodies, from_date=date(2024, 1, 2), to_date=date(2024, 1, 3))
    assert [p.rows for p in staged.profiles] == [1, 1, 3, 0, 2, 0]
    assert good_rows(staged, 1)[0]["volume"] == 7
    assert rejects(staged, 2) == [(2, '{"date":"2024-01-03","close":null}', "close is missing")]
    assert staged.profiles[2].out_of_window == 1
    assert [row["close"] for row in good_rows(staged, 4)] == [1.0]
    assert staged.profiles[4].superseded == 1
    assert staged.profiles[5].unreadable == "the file lacks the required column 'date'; it holds close, day"


def test_a_damaged_file_is_set_aside_and_the_others_are_read(tmp_path: Path) -> None:
    whole = body(tmp_path, "SELECT DATE '2024-01-02' + i::INTEGER AS date, i AS close, 'text ' || i AS note FROM range(50) t(i)")
    chance = random.Random(7)
    bodies = [whole, b"", b"PAR1PAR1", b"[]", whole[: len(whole) // 2]]
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(chance.choice((1, 4, 30))):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        bodies.append(bytes(damaged))
    staged = stage_bodies(tmp_path, recipe(answer=PARQUET, max_reject_share=1), [*bodies, whole])
    assert staged.profiles[0].good == staged.profiles[-1].good == 50
    assert all(p.unreadable for p in staged.profiles[1:5])
    for profile in staged.profiles:
        assert profile.unreadable or profile.rows == profile.good + profile.failed + profile.superseded + profile.out_of_window
    assert not any(".parquet" in (p.unreadable or "") for p in staged.profiles)
