"""A run worker for tests that kill it: `python -m ops_pipeline_tests.defs.run_and_wait INSTANCE_FOLDER`, its home in the environment.

Belongs here: one batch over three keys, one of which never gets its answer. Does not belong here: expectations.
"""

from __future__ import annotations

import sys

import dagster as dg

from ops_pipeline_tests.defs import targets
from ops_pipeline_tests.defs.homes import EOD, TICKERS


def main() -> None:
    config = {"ops": {"lake": {"config": {"partitions": [f"{EOD}|{t}" for t in TICKERS]}}}}
    with dg.DagsterInstance.local_temp(sys.argv[1]) as instance:
        dg.execute_job(dg.reconstructable(targets.batch_job), instance=instance, run_config=config, raise_on_error=False)


if __name__ == "__main__":
    main()
