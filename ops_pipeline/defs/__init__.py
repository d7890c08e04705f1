"""All that imports dagster.

Belongs here: partitions, the assets and their one step, resources, jobs, schedules, sensors and checks, each a thin wrapper around the
Dagster-free engine. Does not belong here: anything that could run without Dagster.
"""
