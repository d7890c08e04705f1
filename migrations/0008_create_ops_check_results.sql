-- Results of the checks of the data: a neighbour of the ledger.
-- Every statement can be run again on a database that it has been run on.

CREATE TABLE IF NOT EXISTS ops.check_results (
    dataset_key TEXT NOT NULL,
    check_name TEXT NOT NULL,
    layer TEXT NOT NULL,
    severity TEXT NOT NULL,
    passed BOOLEAN NOT NULL,
    findings BIGINT NOT NULL,
    first_findings TEXT NOT NULL,
    partitions BIGINT,
    recipe_hash TEXT NOT NULL,
    checked_at TIMESTAMPTZ NOT NULL,
    run_id TEXT
);
COMMENT ON TABLE ops.check_results IS 'Results of the checks that recipes declare or imply; one row a dataset, check and time.';
COMMENT ON COLUMN ops.check_results.dataset_key IS 'The dataset, such as sample.eod-prices.';
COMMENT ON COLUMN ops.check_results.check_name IS 'What is true where it passed, such as prices_are_positive.';
COMMENT ON COLUMN ops.check_results.layer IS 'silver or gold: whose rows it looks at.';
COMMENT ON COLUMN ops.check_results.severity IS 'error: the data are wrong; warn: somebody should look.';
COMMENT ON COLUMN ops.check_results.passed IS 'Whether nothing was found.';
COMMENT ON COLUMN ops.check_results.findings IS 'How many rows, files or partitions do not pass.';
COMMENT ON COLUMN ops.check_results.first_findings IS 'The first 20 of them: a JSON array of objects with where and what.';
COMMENT ON COLUMN ops.check_results.partitions IS 'How many partitions were looked at, those that the run touched: all others had passed before. NULL: all of them.';
COMMENT ON COLUMN ops.check_results.recipe_hash IS 'Recipe that says what is checked: ops.recipes.';
COMMENT ON COLUMN ops.check_results.checked_at IS 'When it was looked at.';
COMMENT ON COLUMN ops.check_results.run_id IS 'Run that made it at its end; NULL: made by hand.';

CREATE OR REPLACE VIEW ops.latest_check_results AS
SELECT * FROM ops.check_results QUALIFY row_number() OVER (PARTITION BY dataset_key, check_name ORDER BY checked_at DESC) = 1;
COMMENT ON VIEW ops.latest_check_results IS 'The latest result of every dataset and check.';
