"""A realistic ledger of any size, made by SQL through the real migrations.

Belongs here: the rows that `ledger` measures on. Does not belong here: what is measured.

Every partition is asked week by week. Three answers in a hundred are failures, three unchanged, three empty; the next request of the
partition asks the missing week again, but for one in ten, which leaves a hole. Two of the twenty datasets are paged: their requests have
two parts. One promotion in a hundred was refused, half of these were healed by a retry in a later run. The newest rows still wait for
silver, for gold, or for an answer.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ops_pipeline.ops.columns import COLUMNS
from ops_pipeline.ops.migrations import migrate
from ops_pipeline.recipes.universe import PartitionKey
from ops_pipeline.warehouse import Warehouse

if TYPE_CHECKING:
    from pathlib import Path

DATASETS = 20
FILES_A_RUN = 750
CHUNK = 1_000_000
FIRST_SENT = "TIMESTAMPTZ '2020-01-01 00:00:00+00'"

_RUN = "regexp_replace(md5('run' || ({}) // {}), '(.{{8}})(.{{4}})(.{{4}})(.{{4}})', '\\1-\\2-\\3-\\4-')"

# bad(j): whether request j moved no watermark. Known for any j, so that the partition's next request can ask the same week again.
_MACROS = """
CREATE OR REPLACE TEMP MACRO fate(j) AS (hash(j) % 1000)::INTEGER;
CREATE OR REPLACE TEMP MACRO left_open(j, p) AS j - p >= 0 AND fate(j - p) < 90 AND hash(j, 7) % 10 <> 0;
"""


def recipe_hash(dataset_key: str) -> str:
    """The hash of the recipe by which the dataset's files were promoted or refused, as the rows have it."""
    source, dataset = dataset_key.split(".")
    return "".join(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() for text in (source + dataset, dataset))


def _run(row: str) -> str:
    return _RUN.format(row, FILES_A_RUN)


def _rows(first: int, last: int, partitions: int, total: int) -> str:
    """The rows first..last-1 in the order in which the runs wrote them; row n is asked n / 20 seconds after the first."""
    tickers = partitions // DATASETS
    silver, gold = (
        "outcome = 'stored' AND n < waits_for_silver",
        "promoted AND NOT refused AND dataset_number < 12 AND n < waits_for_gold",
    )
    return f"""
    WITH numbered AS (
        SELECT range AS n, n % 22 AS place, place IN (19, 21) AS second_part, place >= 18 AS two_parts,
            n // 22 * 20 + CASE WHEN place < 18 THEN place ELSE 18 + (place - 18) // 2 END AS j, 1 + second_part::INTEGER AS part,
            j % {partitions} AS p, j // {partitions} AS week, fate(j) AS fate,
            {total} - 3000 AS waits_for_gold, {total} - 2000 AS waits_for_silver, {total} - 500 AS unanswered
        FROM range({first}, {last})
    ),
    asked AS (
        SELECT *, p // {DATASETS} AS ticker_number, p % {DATASETS} AS dataset_number,
            DATE '2000-01-01' + (7 * (week - left_open(j, {partitions})::INTEGER))::INTEGER AS from_date,
            DATE '2000-01-07' + (7 * week)::INTEGER AS to_date,
            {FIRST_SENT} + to_milliseconds(50 * n) AS sent,
            CASE WHEN n >= unanswered THEN 'asked' WHEN part = 1 AND two_parts AND fate < 90 THEN 'stored'
                WHEN fate < 28 THEN 'failed' WHEN fate < 30 THEN 'deferred' WHEN fate < 60 THEN 'unchanged' WHEN fate < 90 THEN 'empty'
                ELSE 'stored' END AS outcome,
            outcome = 'stored' AND fate BETWEEN 90 AND 99 AS refused
        FROM numbered
    ),
    done AS (
        SELECT *, {silver} AS promoted, {gold} AS built, outcome IN ('stored', 'unchanged', 'empty') AS answered,
            md5('request' || j) AS request, md5('file' || j || '-' || part) AS file, 's' || dataset_number % 4 AS source_name,
            'dataset-' || dataset_number AS dataset_name, 'T' || lpad(ticker_number::VARCHAR, {len(str(tickers))}, '0') AS ticker_name,
            from_date + (3 * (part - 1)) AS data_from, CASE WHEN two_parts AND part = 1 THEN from_date + 2 ELSE to_date END AS data_to,
            (data_to - data_from + 1)::BIGINT AS records, {_run("n")} AS run,
            CASE WHEN n % 50 = 0 THEN {_run(f"n + {FILES_A_RUN}")} ELSE {_run("n")} END AS later_run
        FROM asked
    )
    SELECT run AS run_id, file AS file_id, 'equities' AS domain, source_name AS source, dataset_name AS dataset, '-' AS discriminator,
        ticker_name AS ticker,
        CASE WHEN outcome = 'stored' THEN data_from END AS bronze_from_date,
        CASE WHEN outcome = 'stored' THEN data_to END AS bronze_to_date,
        CASE WHEN answered THEN source_name || '/' || dataset_name || '/' || ticker_name || '/' || run || '/' || file || '.json.gz' END
            AS bronze_filename,
        CASE outcome WHEN 'failed' THEN 'the source answered 500 three times' WHEN 'deferred' THEN 'the quota of the day is used up' END
            AS bronze_error,
        CASE WHEN outcome IN ('stored', 'unchanged') THEN records ELSE 0 END AS bronze_rows,
        sent AS bronze_injest_start_time,
        CASE WHEN outcome <> 'asked' THEN sent + to_milliseconds(200 + fate) END AS bronze_injest_end_time,
        outcome = 'stored' AND NOT promoted OR refused AS bronze_can_promote,
        CASE WHEN answered THEN md5('a' || n) || md5('b' || n) END AS bronze_payload_hash,
        CASE WHEN promoted AND NOT refused THEN data_from END AS silver_from_date,
        CASE WHEN promoted AND NOT refused THEN data_to END AS silver_to_date,
        CASE WHEN promoted THEN 'silver.' || source_name || '_' || replace(dataset_name, '-', '_') END AS silver_tablename,
        CASE WHEN refused THEN 'no record of the file has a date' END AS silver_errors,
        CASE WHEN promoted AND NOT refused THEN records - 1 ELSE 0 END AS silver_rows_created, 0 AS silver_rows_updated,
        0 AS silver_rows_failed,
        CASE WHEN promoted OR refused THEN sent + INTERVAL 20 SECONDS END AS silver_injest_start_time,
        CASE WHEN promoted OR refused THEN sent + INTERVAL 21 SECONDS END AS silver_injest_end_time,
        promoted AND NOT refused AND dataset_number < 12 AND NOT built AS silver_can_promote,
        CASE WHEN built THEN 'fact' END AS gold_object_type, CASE WHEN built THEN 'gold.fact_eod' END AS gold_tablename,
        NULL AS gold_errors, CASE WHEN built THEN data_from END AS gold_from_date, CASE WHEN built THEN data_to END AS gold_to_date,
        CASE WHEN built THEN records - 1 ELSE 0 END AS gold_rows_created, CASE WHEN built THEN 1 ELSE 0 END AS gold_rows_updated,
        0 AS gold_rows_failed, CASE WHEN built THEN sent + INTERVAL 22 SECONDS END AS gold_injest_start_time,
        CASE WHEN built THEN sent + INTERVAL 23 SECONDS END AS gold_injest_end_time, false AS gold_can_promote,
        request AS request_id, part AS request_part, answered AS request_complete, from_date AS requested_from_date,
        to_date AS requested_to_date, outcome AS bronze_outcome,
        CASE outcome WHEN 'failed' THEN 500 WHEN 'deferred' THEN 429 WHEN 'asked' THEN NULL ELSE 200 END AS bronze_status_code,
        CASE WHEN answered THEN 100 + 90 * records END AS bronze_bytes, false AS bronze_redacted, NULL AS bronze_purged_at,
        CASE WHEN promoted AND NOT refused THEN 1 ELSE 0 END AS silver_rows_unchanged, 0 AS silver_rows_superseded,
        0 AS silver_rows_out_of_window, 0 AS silver_rows_deleted, CASE WHEN promoted OR refused THEN later_run END AS silver_run_id,
        CASE WHEN built THEN later_run END AS gold_run_id,
        CASE WHEN promoted OR refused THEN md5(source_name || dataset_name) || md5(dataset_name) END AS silver_recipe_hash,
        CASE WHEN built THEN md5(source_name || dataset_name) || md5(dataset_name) END AS gold_recipe_hash,
        '0.1.0' AS code_version, 'first' AS promotion_kind, NULL AS origin_run_id
    FROM done"""


# A later promotion of every second refused file, some ten runs later: a row of its own with the bronze columns copied.
_RETRIES = f"""
SELECT * REPLACE (
    md5('retry' || epoch_ms(bronze_injest_start_time) // 400000) AS run_id, false AS bronze_can_promote, NULL AS silver_errors,
    bronze_from_date AS silver_from_date, bronze_to_date AS silver_to_date, bronze_rows AS silver_rows_created,
    silver_injest_start_time + INTERVAL 400 SECONDS AS silver_injest_start_time,
    silver_injest_end_time + INTERVAL 400 SECONDS AS silver_injest_end_time,
    md5('retry' || epoch_ms(bronze_injest_start_time) // 400000) AS silver_run_id, 'retry' AS promotion_kind, run_id AS origin_run_id
) FROM ops.file_ingestions WHERE silver_errors IS NOT NULL AND promotion_kind = 'first' AND hash(file_id) % 2 = 0
    AND bronze_injest_start_time >= {FIRST_SENT} + to_milliseconds(50 * $1)
    AND bronze_injest_start_time < {FIRST_SENT} + to_milliseconds(50 * $2)
"""


def build(home: Path, rows: int, partitions: int) -> tuple[Warehouse, list[PartitionKey]]:
    """Makes a database with about so many ledger rows below `home` (half a percent more: the retries).

    Returns:
        its warehouse, and every partition.
    """
    warehouse = Warehouse(home / "ops.duckdb")
    migrate(warehouse, notify=lambda _: None)
    for first in range(0, rows, CHUNK):
        last = min(first + CHUNK, rows)
        with warehouse.transaction() as connection:
            connection.execute(_MACROS)
            connection.execute(f"INSERT INTO ops.file_ingestions BY NAME {_rows(first, last, partitions, rows)}")
        with warehouse.transaction() as connection:
            columns = ", ".join(COLUMNS)
            connection.execute(f"INSERT INTO ops.file_ingestions ({columns}) SELECT {columns} FROM ({_RETRIES})", [first, last])
        warehouse.checkpoint()
    with warehouse.reading() as connection:
        found = connection.execute(
            "SELECT DISTINCT ticker, source || '.' || dataset FROM ops.file_ingestions ORDER BY ALL"
        ).fetchall()
    return warehouse, [PartitionKey(*row) for row in found]
