-- What comparing bronze files, the ledger, silver, gold and migrations found: a neighbour of the ledger.
-- Every statement can be run again on a database that it has been run on.

CREATE TABLE IF NOT EXISTS ops.reconcile_results (
    kind TEXT NOT NULL,
    findings BIGINT NOT NULL,
    fixed BIGINT NOT NULL,
    first_findings TEXT NOT NULL,
    looked_at BIGINT NOT NULL,
    left_out BIGINT NOT NULL,
    checked_at TIMESTAMPTZ NOT NULL
);
COMMENT ON TABLE ops.reconcile_results IS 'What ops-pipeline reconcile found; one row a kind of finding and time. A kind that was not looked at has no row.';
COMMENT ON COLUMN ops.reconcile_results.kind IS 'What does not fit together, such as rows_without_files.';
COMMENT ON COLUMN ops.reconcile_results.findings IS 'How many were found.';
COMMENT ON COLUMN ops.reconcile_results.fixed IS 'How many of them were mended at once, by --fix.';
COMMENT ON COLUMN ops.reconcile_results.first_findings IS 'The first 100, those that are left before those that were mended: a JSON array of objects with where, what, repair and fixed.';
COMMENT ON COLUMN ops.reconcile_results.looked_at IS 'How many files, rows or tables were compared.';
COMMENT ON COLUMN ops.reconcile_results.left_out IS 'How many more there are that were not looked at, such as bodies outside the sample.';
COMMENT ON COLUMN ops.reconcile_results.checked_at IS 'When it was looked at.';

CREATE OR REPLACE VIEW ops.latest_reconcile_results AS
SELECT * FROM ops.reconcile_results QUALIFY row_number() OVER (PARTITION BY kind ORDER BY checked_at DESC) = 1;
COMMENT ON VIEW ops.latest_reconcile_results IS 'The latest result of every kind.';
