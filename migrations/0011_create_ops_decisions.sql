-- Rows that somebody decided to hide, or to bring back: a neighbour of the ledger, whose rows of the kind `decision` say when each counts.
-- Every statement can be run again on a database that it has been run on.

CREATE TABLE IF NOT EXISTS ops.decisions (
    run_id TEXT NOT NULL,
    file_id TEXT NOT NULL,
    dataset_key TEXT NOT NULL,
    ticker TEXT NOT NULL,
    row_key TEXT NOT NULL,
    day DATE NOT NULL,
    decision TEXT NOT NULL,
    reason TEXT,
    decided_by TEXT,
    decided_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (run_id, file_id, row_key)
);
COMMENT ON TABLE ops.decisions IS 'Rows of silver that somebody decided to hide because the vendor dropped them, or to bring back; a row for each.';
COMMENT ON COLUMN ops.decisions.run_id IS 'The command that decided; with file_id the row of ops.file_ingestions that repeats the decision in a replay.';
COMMENT ON COLUMN ops.decisions.file_id IS 'The decision about one partition.';
COMMENT ON COLUMN ops.decisions.dataset_key IS 'The dataset of the row.';
COMMENT ON COLUMN ops.decisions.ticker IS 'The ticker of its partition, - where the dataset has none.';
COMMENT ON COLUMN ops.decisions.row_key IS 'The other columns of its key, as JSON.';
COMMENT ON COLUMN ops.decisions.day IS 'Its date.';
COMMENT ON COLUMN ops.decisions.decision IS 'hide or restore.';
COMMENT ON COLUMN ops.decisions.reason IS 'Why, in the words of whoever decided.';
COMMENT ON COLUMN ops.decisions.decided_by IS 'The account that gave the command.';
COMMENT ON COLUMN ops.decisions.decided_at IS 'When: from then on the row is hidden, or there again.';
