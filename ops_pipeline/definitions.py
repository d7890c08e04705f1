"""The Dagster code location: the only place where things are put together.

Belongs here: `build_defs`. Does not belong here: any of the things.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from dagster import BetaWarning, Definitions, in_process_executor, with_source_code_references

from ops_pipeline.defs.alerts import build_alerts
from ops_pipeline.defs.assets import build_assets
from ops_pipeline.defs.automation import (
    build_intraday,
    build_job,
    build_retention,
    build_schedule,
    build_sensor,
    build_sweep,
    build_weekly,
)
from ops_pipeline.defs.checks import build_checks
from ops_pipeline.defs.resources import OpsDuckDBResource
from ops_pipeline.engine.context import Context, build_context
from ops_pipeline.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dagster import AssetsDefinition


def build_defs(context: Context | None = None, resources: Mapping[str, Any] | None = None) -> Definitions:
    """Everything that Dagster loads.

    Args:
        context: the home; default: the one that the settings name. A test gives its own.
        resources: resources that replace the default ones, by name.

    Raises:
        UserError: when settings, recipes or migrations are wrong; Dagster shows the sentence as the code location's load error.
    """
    home = context or build_context(load_settings())
    ops = OpsDuckDBResource(
        database=str(home.settings.database_path),
        wait_seconds=home.settings.database_wait_seconds,
    )
    job = build_job()
    return Definitions(
        assets=_with_code_references(build_assets(home)),
        asset_checks=build_checks(home),
        jobs=[job],
        schedules=[build_schedule(home, job), build_weekly(home)],
        sensors=[build_sensor(home), build_intraday(home, job), build_sweep(home), build_retention(home), *build_alerts(home)],
        resources={"ops": ops, **(resources or {})},
        executor=in_process_executor,
    )


def _with_code_references(assets: AssetsDefinition) -> list[Any]:
    """The assets with the place of their code; Dagster warns at every start that its function for this is young, which helps no user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BetaWarning)
        return list(with_source_code_references([assets]))


defs = build_defs()
