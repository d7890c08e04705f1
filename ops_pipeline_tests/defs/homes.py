"""Homes for tests of the Dagster side: a small universe, and a sample source that can be told to misbehave."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import dagster as dg

from ops_pipeline.definitions import build_defs
from ops_pipeline.defs.partitions import partitions_def
from ops_pipeline.engine.context import Context, build_context
from ops_pipeline.recipes.loading import Catalogue, load_catalogue
from ops_pipeline.settings import load_settings
from ops_pipeline.sources import Answer, Request, SourceError
from ops_pipeline.sources.sample import SampleSource
from ops_pipeline_tests.template import place_migrated

EOD, FX = "sample.eod-prices", "sample.fx-rates"
TICKERS = ("AAPL", "IBM", "MSFT")
LAYERS = ("bronze", "silver", "gold")
UNIVERSE = f"datasets:\n  {EOD}: [{', '.join(TICKERS)}]\n"
# Long enough for every figure of gold; thirteen years would show the same and take twice as long.
SINCE, UNTIL, SESSIONS = date(2012, 12, 3), date(2013, 3, 1), 61


@dataclass
class Faulty:
    """The sample source; fails for some tickers, has no quota or answers text that is no JSON for others, and notes every request."""

    failing: set[str] = field(default_factory=set)
    deferring: set[str] = field(default_factory=set)
    unreadable: set[str] = field(default_factory=set)
    asked: list[Request] = field(default_factory=list)

    async def fetch(self, request: Request) -> AsyncIterator[Answer]:
        self.asked.append(request)
        if request.ticker in self.failing:
            raise SourceError(f"the vendor does not answer for {request.ticker}", kind="transient", status_code=503, body=b"busy")
        if request.ticker in self.deferring:
            raise SourceError("the quota of the day is used up; it begins anew at midnight", kind="deferred", status_code=429)
        if request.ticker in self.unreadable:
            yield Answer(b"<html>not what was asked for</html>", status_code=200)
            return
        async for answer in SampleSource().fetch(request):
            yield answer

    async def aclose(self) -> None:
        return None


@functools.cache
def packaged() -> Catalogue:
    """The packaged catalogue, read once; prices begin at SINCE."""
    found = load_catalogue()
    recipe = found.recipe(EOD).model_copy(update={"first_date": SINCE})
    return Catalogue(found.sources, {**found.recipes, EOD: recipe}, found.origins)


def make_home(
    folder: Path, source: Faulty | None = None, universe: str = UNIVERSE, today: date | None = None, publish: str = "none"
) -> Context:
    """A migrated home below a folder, with a universe of its own and a source that can be told to misbehave."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "universe.yaml").write_text(universe, encoding="utf-8")
    context = build_context(load_settings(home=folder, today=today, publish=publish), catalogue=packaged())
    place_migrated(context.settings.database_path)
    if source is not None:
        context = replace(context, open_source=lambda *_: source)
    return context


def two_sources(folder: Path, source: Faulty | None = None) -> Context:
    """A home with the sample source twice, the second time under the name `other`."""
    home = make_home(folder, source)
    sample = home.catalogue
    (folder / "universe.yaml").write_text(f"{UNIVERSE}  other.eod-prices: [{', '.join(TICKERS[:2])}]\n", encoding="utf-8")
    recipe = sample.recipes[EOD].model_copy(update={"source": "other"})
    declaration = sample.sources["sample"].model_copy(update={"name": "other"})
    catalogue = Catalogue({**sample.sources, "other": declaration}, {**sample.recipes, recipe.dataset_key: recipe})
    return replace(home, catalogue=catalogue)


@dataclass
class Lake:
    """A home, its definitions and an ephemeral instance."""

    context: Context
    instance: dg.DagsterInstance

    @property
    def defs(self) -> dg.Definitions:
        return build_defs(self.context)

    def batch(self, **config: object) -> dg.ExecuteInProcessResult:
        """One untagged run over keys in its config."""
        return self.defs.resolve_job_def("batch").execute_in_process(
            instance=self.instance, raise_on_error=False, run_config={"ops": {"lake": {"config": config}}}
        )

    def materialize(self, *cells: str, assets: tuple[str, ...] = LAYERS, **config: object) -> dg.ExecuteInProcessResult:
        """What the UI launches for one cell, or for a range from the first to the last cell."""
        tags = {"dagster/partition": cells[0]} if len(cells) == 1 else {
            "dagster/asset_partition_range_start": cells[0],
            "dagster/asset_partition_range_end": cells[-1],
        }  # fmt: skip
        job = self.defs.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance,
            raise_on_error=False,
            tags=tags,
            asset_selection=[dg.AssetKey(a) for a in assets],
            run_config={"ops": {"lake": {"config": config}}} if config else None,
        )

    def status(self, asset: str) -> dict[str, str | None]:
        """Cell -> MATERIALIZED, FAILED or None, as the grid shows it."""
        definition = partitions_def()
        keys = definition.get_partition_keys(dynamic_partitions_store=self.instance)
        found = self.instance.get_status_by_partition(dg.AssetKey(asset), keys, definition) or {}
        return {k: v.value if v else None for k, v in found.items()}

    def told(self, result: dg.ExecuteInProcessResult) -> list[tuple[str, str]]:
        """(asset, cell) of every materialization of a run, in order."""
        return [(m.asset_key.to_user_string(), str(m.partition)) for m in materializations(self.instance, result.run_id)]

    def outcomes(self, result: dg.ExecuteInProcessResult) -> dict[str, str]:
        """Cell -> the outcome that its bronze event tells."""
        found = materializations(self.instance, result.run_id)
        return {str(m.partition): str(m.metadata["outcome"].value) for m in found if m.asset_key == dg.AssetKey("bronze")}

    def checks(self, result: dg.ExecuteInProcessResult) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
        """(asset, check) -> its evaluation by a run."""
        entries = self.instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        found = [e.get_dagster_event().event_specific_data for e in entries]
        return {(c.asset_key.to_user_string(), c.check_name): c for c in found}

    def tags(self, result: dg.ExecuteInProcessResult) -> dict[str, str]:
        """The project's own tags of a run."""
        run = self.instance.get_run_by_id(result.run_id)
        assert run is not None
        return {k.removeprefix("ops_pipeline/"): v for k, v in run.tags.items() if k.startswith("ops_pipeline/")}

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        with self.context.warehouse.reading() as connection:
            return connection.execute(sql).fetchall()


def materializations(instance: dg.DagsterInstance, run_id: str) -> list[dg.AssetMaterialization]:
    """What the instance holds of a run, which is more than a failed run's result tells."""
    entries = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    return [e.asset_materialization for e in entries if e.asset_materialization]


def failure(result: dg.ExecuteInProcessResult) -> str:
    """The sentence that a failed run ends with."""
    data = next(e for e in result.all_events if e.event_type_value == "STEP_FAILURE").step_failure_data
    assert data.user_failure_data is not None
    told = {k: str(v.value) for k, v in (data.user_failure_data.metadata or {}).items()}
    return f"{data.user_failure_data.description}\n{told}"
