"""The code location that the benchmark's daemon loads: the project's own assets, and a job without tags over them.

Belongs here: that job; the project's own is limited to one run at a time. Does not belong here: schedules and sensors, which would launch
runs of their own while others are timed.
"""

from dagster import AssetSelection, Definitions, define_asset_job

from ops_pipeline import definitions
from ops_pipeline.engine.outcome import LAYERS

JOB = "one_partition"

# `definitions.defs` does not get a name here: Dagster refuses a module with two Definitions.
defs = Definitions(
    assets=definitions.defs.assets,
    resources=definitions.defs.resources,
    executor=definitions.defs.executor,
    jobs=[define_asset_job(JOB, selection=AssetSelection.assets(*LAYERS).without_checks())],
)
