"""Measurements of the pipeline beside its alternatives; see README.md in this folder."""
