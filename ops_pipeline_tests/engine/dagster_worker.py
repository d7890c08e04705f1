"""A Dagster run over a home of these tests, in the process that calls it.

Belongs here: the batch job with a vendor of ours. Does not belong here: forking and killing (`nursery`), what is expected (`test_matrix`).
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg

from ops_pipeline.definitions import build_defs
from ops_pipeline.defs.partitions import to_dagster
from ops_pipeline_tests.engine.worker import follow_steps, home_of


@cache
def load() -> None:
    """Makes an instance and a home's definitions and forgets them: what that imports, who is forked afterwards has."""
    with tempfile.TemporaryDirectory() as folder, instance_of(Path(folder)):
        build_defs(home_of(Path(folder), {}))


def instance_of(home: Path) -> dg.DagsterInstance:
    """The home's own instance, with its storage in files."""
    folder = home / "dagster"
    folder.mkdir(exist_ok=True)
    return dg.DagsterInstance.local_temp(str(folder))


def dagster_run(home: Path, given: dict[str, Any]) -> None:
    """One batch over the whole universe, until `kill_at`."""
    context = home_of(home, given)
    follow_steps(given)
    keys = [str(to_dagster(key)) for key in context.universe()]
    with instance_of(home) as instance:
        build_defs(context).resolve_job_def("batch").execute_in_process(
            instance=instance, raise_on_error=False, run_config={"ops": {"lake": {"config": {"partitions": keys}}}}
        )
