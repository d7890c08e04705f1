"""`sql`: the values of every type, and limits that are told."""

from __future__ import annotations

from pathlib import Path

from ops_pipeline_tests.cli.command import ok


def test_the_ledger_is_had_by_its_plain_name(whole_home: Path) -> None:
    answer = ok("sql", "SELECT ticker, bronze_outcome FROM ops.file_ingestions ORDER BY ticker", "--home", whole_home)
    lines = [line.split() for line in answer.out.splitlines() if line.strip()]
    assert lines[0] == ["ticker", "bronze_outcome"]
    assert ["AAPL", "stored"] in lines


def test_what_reads_is_allowed(whole_home: Path) -> None:
    for query in (
        "FROM gold.dim_instrument",
        "DESCRIBE gold.fact_eod",
        "SHOW ALL TABLES",
        "SUMMARIZE gold.dim_date",
        "EXPLAIN SELECT 1",
        "WITH a AS (SELECT 1 AS b) SELECT * FROM a; ",
        "VALUES (1), (2)",
        "SELECT 1 WHERE false",
    ):
        ok("sql", query, "--home", whole_home)


def test_json_of_every_type(whole_home: Path) -> None:
    query = """
        SELECT 1 AS a, 2 AS a, 1.50::DECIMAL(9, 2) AS money, 123456789012345678901234567890::HUGEINT AS huge,
            12345678901234567.123456789::DECIMAL(38, 9) AS exact, 'nan'::DOUBLE AS nan, NULL AS nothing, true AS yes, 0.1::DOUBLE AS tenth,
            DATE '2013-03-01' AS day, TIMESTAMPTZ '2013-03-01 12:00:00+00' AS moment, TIME '12:30' AS hour,
            INTERVAL '1 day 2.5 seconds' AS gap,
            {'x': [1, NULL], 'y': 'é'} AS tree, 'x'::BLOB AS bytes, 'A'::ENUM ('A', 'B') AS letter
    """
    document = ok("sql", query, "--home", whole_home, "--json").document
    assert document["rows"] == [
        {
            "a": 1,
            "a_2": 2,
            "money": 1.5,
            "huge": 123456789012345678901234567890,
            "exact": "12345678901234567.123456789",
            "nan": None,
            "nothing": None,
            "yes": True,
            "tenth": 0.1,
            "day": "2013-03-01",
            "moment": "2013-03-01T12:00:00+00:00",
            "hour": "12:30:00",
            "gap": "P0M1DT2.5S",
            "tree": {"x": [1, None], "y": "é"},
            "bytes": "78",
            "letter": "A",
        }
    ]
    assert document["columns"][2] == {"name": "money", "type": "DECIMAL(9,2)"}
    assert document["truncated"] is False


def test_a_cut_answer_says_so(whole_home: Path) -> None:
    query = "SELECT range AS n FROM range(100000000)"
    document = ok("sql", query, "--home", whole_home, "--limit", "3", "--json").document
    assert (document["rows"], document["truncated"]) == ([{"n": 0}, {"n": 1}, {"n": 2}], True)
    answer = ok("sql", query, "--home", whole_home)
    assert "only the first 100 rows" in answer.err
    assert ok("sql", "SELECT range AS n FROM range(100)", "--home", whole_home).err == ""


def test_a_row_in_a_pipe_is_one_whole_line(whole_home: Path) -> None:
    answer = ok("sql", "SELECT repeat('word ', 200) || 'end' AS a, * FROM ops.file_ingestions LIMIT 1", "--home", whole_home)
    assert len([line for line in answer.out.splitlines() if "word" in line and "end" in line]) == 1
