"""The barest SQL that `ledger` compares with: what one would write by hand for the same answer, and where it differs, for a smaller one.

Belongs here: texts of SQL. Does not belong here: running them. They share nothing with the pipeline's own SQL, so that a mistake of one
is not a mistake of both.
"""

from __future__ import annotations

from datetime import date

FIRST_DATE = date(2000, 1, 1)
OUTCOMES = ("asked", "stored", "unchanged", "empty", "failed", "deferred")
_L = "ops.file_ingestions"

LATEST = f"SELECT source, dataset, ticker, max(bronze_to_date) FROM {_L} WHERE bronze_outcome = 'stored' GROUP BY ALL"

# Good requests, each span's reach so far, and a new island wherever a span begins behind it.
ISLANDS = f"""
WITH healed AS (SELECT origin_run_id AS run_id, file_id FROM {_L} WHERE promotion_kind <> 'first' AND silver_injest_end_time IS NOT NULL
        AND silver_errors IS NULL),
spans AS (
    SELECT source, dataset, ticker, min(requested_from_date) AS a, max(bronze_to_date) AS b, min(bronze_from_date) AS c
    FROM {_L} LEFT JOIN (SELECT *, true AS well FROM healed) USING (run_id, file_id) WHERE promotion_kind = 'first'
    GROUP BY source, dataset, ticker, run_id, request_id
    HAVING bool_and(bronze_outcome IN ('stored', 'empty', 'unchanged') AND request_complete AND (silver_errors IS NULL OR well IS NOT NULL))
        AND b IS NOT NULL
),
reach AS (SELECT *, max(b) OVER (PARTITION BY source, dataset, ticker ORDER BY a ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
    FROM spans),
numbered AS (SELECT *, sum((before IS NULL OR a > before + 1)::INTEGER) OVER (PARTITION BY source, dataset, ticker ORDER BY a
    ROWS UNBOUNDED PRECEDING) AS island FROM reach)
SELECT source, dataset, ticker, min(a) AS a, max(b) AS b, min(c) AS c FROM numbered GROUP BY source, dataset, ticker, island"""
NEXT = f"SELECT source, dataset, ticker, b + 1 FROM ({ISLANDS}) WHERE DATE '{FIRST_DATE}' BETWEEN a AND b"

A_RECENT_RUN = f"""SELECT run_id FROM {_L} WHERE promotion_kind = 'first' GROUP BY run_id
ORDER BY min(bronze_injest_start_time) DESC LIMIT 1 OFFSET 20"""
RECENT = f"SELECT run_id, file_id FROM {_L} ORDER BY bronze_injest_start_time DESC, file_id LIMIT {{}}"

_SILVER = ("created", "updated", "unchanged", "failed", "superseded", "out_of_window", "deleted")
_GOLD = ("created", "updated", "failed")
_AGGREGATES = f"""run, min(started) AS started, max(ended) AS ended, count(DISTINCT coalesce(origin_run_id, run_id) || file_id) AS files,
    count(DISTINCT source || '.' || dataset || '.' || discriminator), count(DISTINCT ticker) FILTER (ticker <> '-'),
    {", ".join(f"count(*) FILTER (s = 1 AND bronze_outcome = '{o}')" for o in OUTCOMES)},
    coalesce(sum(bronze_rows) FILTER (s = 1), 0)::BIGINT, coalesce(sum(bronze_bytes) FILTER (s = 1), 0)::BIGINT,
    count(*) FILTER (s = 2 AND silver_errors IS NULL), count(*) FILTER (s = 2 AND silver_errors IS NOT NULL),
    {", ".join(f"coalesce(sum(silver_rows_{c}) FILTER (s = 2), 0)::BIGINT" for c in _SILVER)},
    count(*) FILTER (s = 3 AND gold_errors IS NULL), count(*) FILTER (s = 3 AND gold_errors IS NOT NULL),
    {", ".join(f"coalesce(sum(gold_rows_{c}) FILTER (s = 3), 0)::BIGINT" for c in _GOLD)}"""
_MOVES = f"""
    SELECT 1 AS s, run_id AS run, bronze_injest_start_time AS started, bronze_injest_end_time AS ended, * FROM {_L}
        WHERE promotion_kind = 'first'
    UNION ALL SELECT 2, silver_run_id, silver_injest_start_time, silver_injest_end_time, * FROM {_L} WHERE silver_run_id IS NOT NULL
    UNION ALL SELECT 3, gold_run_id, gold_injest_start_time, gold_injest_end_time, * FROM {_L} WHERE gold_run_id IS NOT NULL"""
SUMMARY = f"SELECT {_AGGREGATES} FROM ({_MOVES}) WHERE run = ? GROUP BY run"
FAILED = """count(*) FILTER ((s = 1 AND bronze_outcome = 'failed') OR (s = 2 AND silver_errors IS NOT NULL)
    OR (s = 3 AND gold_errors IS NOT NULL)) > 0"""


def runs(where: str = "true", having: str = "true") -> str:
    """A page of 20 runs with their figures; the last parameter is the offset."""
    return f"""SELECT {_AGGREGATES} FROM ({_MOVES}) WHERE {where} GROUP BY run HAVING {having}
    ORDER BY started DESC NULLS LAST, run LIMIT 20 OFFSET ?"""


_BRONZE = """run_id, min(bronze_injest_start_time) AS started, max(bronze_injest_end_time), count(DISTINCT file_id),
    count(DISTINCT ticker), sum(silver_rows_created), sum(gold_rows_created), sum(bronze_rows)::BIGINT, sum(bronze_bytes)::BIGINT"""
BRONZE_SUMMARY = f"SELECT {_BRONZE} FROM {_L} WHERE run_id = ? GROUP BY run_id"
BRONZE_RUNS = f"SELECT {_BRONZE} FROM {_L} GROUP BY run_id ORDER BY started DESC LIMIT 20"
RUN_FILES = f"""SELECT * FROM {_L} WHERE run_id = ? OR silver_run_id = ? OR gold_run_id = ?
ORDER BY source, dataset, discriminator, ticker, bronze_injest_start_time, request_part, run_id, file_id LIMIT 100"""
COVERAGE = f"""SELECT source, dataset, discriminator, ticker, count(*), min(bronze_from_date), max(bronze_to_date),
    max(bronze_injest_end_time), count(*) FILTER (bronze_outcome = 'failed' OR silver_errors IS NOT NULL OR gold_errors IS NOT NULL),
    count(*) FILTER (bronze_can_promote OR silver_can_promote)
FROM {_L} WHERE promotion_kind = 'first' GROUP BY ALL ORDER BY source, dataset, discriminator, ticker LIMIT 1000"""
UNACCOUNTED = f"""SELECT run_id, file_id FROM {_L} WHERE silver_injest_end_time IS NOT NULL AND silver_errors IS NULL AND bronze_rows <>
    silver_rows_created + silver_rows_updated + silver_rows_unchanged + silver_rows_failed + silver_rows_superseded
    + silver_rows_out_of_window LIMIT 100"""

BATCH_ROWS = f"SELECT * FROM {_L} SEMI JOIN batch_files USING (run_id, file_id)"
BATCH_LATEST = f"""SELECT * FROM {_L} SEMI JOIN batch USING (source, dataset, ticker) WHERE promotion_kind = 'first'
    AND bronze_outcome IN ('stored', 'unchanged', 'empty')
QUALIFY row_number() OVER (PARTITION BY source, dataset, ticker ORDER BY bronze_injest_end_time DESC, run_id DESC, file_id DESC) = 1"""
BATCH_WAITING = f"""SELECT * FROM {_L} SEMI JOIN batch USING (source, dataset, ticker) WHERE bronze_can_promote
    AND (silver_errors IS NULL OR silver_recipe_hash <> md5(source || dataset) || md5(dataset))
ORDER BY bronze_injest_end_time, run_id, file_id"""
BATCH_PROMOTED = f"""SELECT bronze_injest_end_time, run_id, file_id FROM {_L} SEMI JOIN batch USING (source, dataset, ticker)
WHERE promotion_kind = 'first' AND silver_errors IS NULL
    AND (bronze_outcome = 'unchanged' OR (bronze_outcome = 'stored' AND NOT bronze_can_promote))
QUALIFY row_number() OVER (PARTITION BY source, dataset, ticker ORDER BY bronze_injest_end_time DESC, run_id DESC, file_id DESC) = 1"""
ASKED = f"SELECT * FROM {_L} WHERE bronze_outcome = 'asked' ORDER BY run_id, file_id"

_SET = [
    "bronze_can_promote", "silver_from_date", "silver_to_date", "silver_tablename", "silver_errors", "silver_rows_created",
    "silver_rows_updated", "silver_rows_failed", "silver_injest_start_time", "silver_injest_end_time", "silver_can_promote",
    "silver_rows_unchanged", "silver_rows_superseded", "silver_rows_out_of_window", "silver_rows_deleted", "silver_run_id",
    "silver_recipe_hash",
]  # fmt: skip
MERGE = f"""MERGE INTO {_L} t USING ready s ON t.run_id = s.run_id AND t.file_id = s.file_id
WHEN MATCHED THEN UPDATE SET {", ".join(f"{c} = s.{c}" for c in _SET)} WHEN NOT MATCHED THEN INSERT BY NAME"""
