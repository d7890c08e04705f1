"""Silver and gold as Parquet files that anyone may read while the pipeline writes.

Belongs here: what is published, in which files, as which version, and how long a version stays. Does not belong here: reading what is
published (`ops_pipeline.read`), and when a run publishes (`engine.published`).

Below the data folder:

    published/current                    link to the newest version
    published/lake.duckdb                link to its views, for SQL and BI tools
    published/versions/<version>/        one consistent state of all tables, never changed once `current` names it
        manifest.json                    tables, columns, files
        lake.duckdb                      a view a table
        lease                            locked by those who read the version
        gold/fact_eod/2024-05-<hash>.parquet

A file is named by what it holds, and a version that shares it with the one before holds a hard link to it.
"""
