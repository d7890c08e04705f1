"""Tests of the door to DuckDB, with real files and real processes."""
