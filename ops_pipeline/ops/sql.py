"""The ledger's SQL expressions, each written once.

Belongs here: texts of queries on `ops.file_ingestions` that several methods share. Does not belong here: running them (`repo`, `queries`).
Every identifier in them is a literal of this file or a field of `DatasetInjestion`; values are always parameters.
"""

from __future__ import annotations

LEDGER = "ops.file_ingestions"

DATASET_KEY_SQL = "source || '.' || dataset || CASE WHEN discriminator = '-' THEN '' ELSE '.' || discriminator END"

# The same rule as `DatasetInjestion.fully_promoted`.
FULLY_PROMOTED_SQL = """(bronze_outcome = 'unchanged' OR (bronze_outcome = 'stored' AND silver_injest_end_time IS NOT NULL
    AND silver_errors IS NULL AND NOT bronze_can_promote AND NOT silver_can_promote AND gold_errors IS NULL))"""

# The same rule as `DatasetInjestion.status`.
STATUS_SQL = f"""CASE
    WHEN bronze_outcome IN ('asked', 'deferred', 'empty', 'unchanged') THEN bronze_outcome
    WHEN bronze_outcome = 'failed' OR silver_errors IS NOT NULL OR gold_errors IS NOT NULL THEN 'failed'
    WHEN {FULLY_PROMOTED_SQL} THEN 'promoted'
    ELSE 'pending' END"""

# One row a request of a wanted partition that counts for its watermark (the same rule as `watermark.good_spans`).
# `wanted` is a registered table of partitions.
SPANS_SQL = f"""
WITH healed AS (
    SELECT DISTINCT origin_run_id, file_id FROM {LEDGER}
    WHERE promotion_kind <> 'first' AND silver_errors IS NULL AND silver_injest_end_time IS NOT NULL
)
SELECT f.source, f.dataset, f.discriminator, f.ticker,
    any_value(f.requested_from_date) AS from_date,
    max(f.bronze_to_date) FILTER (f.bronze_outcome = 'stored') AS to_date,
    min(f.bronze_from_date) FILTER (f.bronze_outcome = 'stored') AS data_from
FROM {LEDGER} f
SEMI JOIN wanted w ON f.ticker = w.ticker AND f.dataset = w.dataset AND f.source = w.source AND f.discriminator = w.discriminator
LEFT JOIN healed h ON f.silver_errors IS NOT NULL AND h.origin_run_id = f.run_id AND h.file_id = f.file_id
WHERE f.promotion_kind = 'first'
GROUP BY f.source, f.dataset, f.discriminator, f.ticker, f.run_id, f.request_id
HAVING bool_and(f.bronze_outcome IN ('stored', 'unchanged', 'empty') AND f.bronze_error IS NULL AND f.request_complete
        AND (f.silver_errors IS NULL OR h.file_id IS NOT NULL))
    AND any_value(f.requested_from_date) IS NOT NULL
    AND max(f.bronze_to_date) FILTER (f.bronze_outcome = 'stored') IS NOT NULL
    AND min(f.bronze_from_date) FILTER (f.bronze_outcome = 'stored') IS NOT NULL
"""

# The spans joined where they overlap or touch (the same rule as `watermark.islands`): few rows a partition, however long its history.
ISLANDS_SQL = f"""
WITH spans AS ({SPANS_SQL}),
reach AS (
    SELECT *, max(to_date) OVER before_it AS reached FROM spans
    WINDOW before_it AS (PARTITION BY source, dataset, discriminator, ticker ORDER BY from_date, to_date
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
),
numbered AS (
    SELECT *, count(*) FILTER (reached IS NULL OR from_date > reached + 1) OVER (PARTITION BY source, dataset, discriminator, ticker
        ORDER BY from_date, to_date ROWS UNBOUNDED PRECEDING) AS island
    FROM reach
)
SELECT source, dataset, discriminator, ticker, min(from_date) AS from_date, max(to_date) AS to_date, min(data_from) AS data_from
FROM numbered GROUP BY source, dataset, discriminator, ticker, island
"""
