"""The ledger's SQL expressions, each written once.

Belongs here: texts of queries on `ops.file_ingestions` that several methods share. Does not belong here: running them (`repo`, `queries`).
Every identifier in them is a literal of this file or a field of `DatasetInjestion`; values are always parameters.
"""

from __future__ import annotations

from ops_pipeline.sources.base import PLAN_KINDS

LEDGER = "ops.file_ingestions"

DATASET_KEY_SQL = "source || '.' || dataset || CASE WHEN discriminator = '-' THEN '' ELSE '.' || discriminator END"

# The same rule as `DatasetInjestion.fully_promoted`.
FULLY_PROMOTED_SQL = """(bronze_outcome = 'unchanged' OR (bronze_outcome = 'stored' AND silver_injest_end_time IS NOT NULL
    AND silver_errors IS NULL AND NOT bronze_can_promote AND NOT silver_can_promote AND gold_errors IS NULL))"""

PLAN_KINDS_SQL = ", ".join(f"'{kind}'" for kind in sorted(PLAN_KINDS))

# The same rule as `DatasetInjestion.not_in_plan`.
NOT_IN_PLAN_SQL = f"(bronze_outcome = 'failed' AND coalesce(bronze_error_kind, '') IN ({PLAN_KINDS_SQL}))"

# The same rule as `DatasetInjestion.status`.
STATUS_SQL = f"""CASE
    WHEN {NOT_IN_PLAN_SQL} THEN 'not_in_plan'
    WHEN bronze_outcome IN ('asked', 'deferred', 'empty', 'unchanged') THEN bronze_outcome
    WHEN bronze_outcome = 'failed' OR silver_errors IS NOT NULL OR gold_errors IS NOT NULL THEN 'failed'
    WHEN {FULLY_PROMOTED_SQL} THEN 'promoted'
    ELSE 'pending' END"""

# Files (run that ingested them, file) whose later promotion merged them, whatever their first row says; the same rule as
# `watermark.good_spans`.
HEALED_SQL = f"""SELECT DISTINCT coalesce(origin_run_id, run_id) AS origin_run_id, file_id FROM {LEDGER}
    WHERE promotion_kind <> 'first' AND silver_errors IS NULL AND silver_injest_end_time IS NOT NULL"""

# The name that a file had before it was packed into a container of its dataset; of one that was not, its name (`bronze.packs`).
UNPACKED_NAME = "regexp_replace(bronze_filename, '/_packs/[^/#]*#', '/')"

# `wanted` is a registered table of partitions.
SAME_PARTITION = "f.ticker = w.ticker AND f.dataset = w.dataset AND f.source = w.source AND f.discriminator = w.discriminator"

# Promotions (run, file) that no table rests on any more: their file's body is gone, and a later promotion has built the partition since.
REBUILT_WITHOUT_SQL = f"""SELECT g.run_id, g.file_id FROM {LEDGER} g JOIN {LEDGER} r ON r.silver_tablename = g.silver_tablename
    AND r.ticker = g.ticker AND r.silver_injest_end_time > g.silver_injest_end_time AND r.silver_run_id <> g.silver_run_id
    WHERE g.bronze_purged_at IS NOT NULL AND g.silver_injest_end_time IS NOT NULL AND r.promotion_kind IN ('replay', 'retry')
        AND r.silver_errors IS NULL"""
