-- What kind of error a request ended with, under which plan it was asked, and what asks for an answer only if it changed.
-- Every statement can be run again on a database that it has been run on.

ALTER TABLE ops.file_ingestions ADD COLUMN IF NOT EXISTS bronze_error_kind TEXT;
ALTER TABLE ops.file_ingestions ADD COLUMN IF NOT EXISTS source_plan TEXT;
ALTER TABLE ops.file_ingestions ADD COLUMN IF NOT EXISTS bronze_validators TEXT;
COMMENT ON COLUMN ops.file_ingestions.bronze_error_kind IS 'permanent, transient, deferred, auth, plan (the plan does not hold this ticker) or plan_dataset (nor any other of the dataset); NULL: no error, or one of an older version.';
COMMENT ON COLUMN ops.file_ingestions.source_plan IS 'The plan of the source that was in force; NULL where it has none.';
COMMENT ON COLUMN ops.file_ingestions.bronze_validators IS 'ETag and Last-Modified of the answer, and a digest of its address without the key, as JSON: with these the same request asks only whether it changed.';
