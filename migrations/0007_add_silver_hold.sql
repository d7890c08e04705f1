-- What a file means for the adjustment basis of its partition, where the recipe declares refetch_on_restatement.
-- Every statement can be run again on a database that it has been run on.

ALTER TABLE ops.file_ingestions ADD COLUMN IF NOT EXISTS silver_hold TEXT;
COMMENT ON COLUMN ops.file_ingestions.silver_hold IS 'held: it differs from what is stored and waits for the whole history; released: that has come; whole: it is the whole history, and replaced the partition.';
