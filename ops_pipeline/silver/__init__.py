"""Silver: vendor answers typed, checked and merged into one table a dataset.

Belongs here: reading stored answers as a recipe says (`staging`), the tables (`tables`), and the one transaction that merges (`commit`).
Does not belong here: fetching, the order of a run, gold.
"""
