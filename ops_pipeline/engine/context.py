"""What a run needs, put together once.

Belongs here: building the parts from settings, and nothing else. Does not belong here: any decision.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

from ops_pipeline.bronze.store import TEMPORARY, BronzeStore
from ops_pipeline.engine.calendars import Calendars
from ops_pipeline.errors import UniverseError
from ops_pipeline.ops import migrations
from ops_pipeline.ops.leases import Leases
from ops_pipeline.ops.service import OpsService
from ops_pipeline.recipes.loading import Catalogue, load_catalogue
from ops_pipeline.recipes.universe import Universe, load_universe
from ops_pipeline.settings import source_variables
from ops_pipeline.sources import open_source
from ops_pipeline.warehouse import Warehouse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ops_pipeline.recipes.models import Recipe
    from ops_pipeline.recipes.source import SourceDeclaration
    from ops_pipeline.settings import Settings
    from ops_pipeline.sources import Source

# One record a step boundary, at DEBUG: what a trace of a run shows, and where the crash tests kill it.
steps = logging.getLogger("ops_pipeline.steps")


@dataclass(frozen=True)
class Context:
    """The parts of one home.

    Attributes:
        settings: effective settings.
        catalogue: every known source and recipe.
        service: the ledger.
        store: the bronze files.
        leases: which runs are alive.
        open_source: makes the client of a source's declaration, given the catalogue's recipes.
    """

    settings: Settings
    catalogue: Catalogue
    service: OpsService
    store: BronzeStore
    leases: Leases
    open_source: Callable[[SourceDeclaration, Mapping[str, Recipe]], Source] = open_source

    @property
    def warehouse(self) -> Warehouse:
        """The door to the database."""
        return self.service.warehouse

    @cached_property
    def calendars(self) -> Calendars:
        """The sessions of every recipe's calendar, looked up where they are first wanted."""
        return Calendars((self.settings.home / "calendars").absolute(), self.catalogue.recipes.values())

    def universe(self) -> Universe:
        """The wanted partitions, read afresh: the file may change while a process lives.

        Raises:
            UniverseError: when the file is wrong, or a setting names one that does not exist.
        """
        path = self.settings.universe_path
        if self.settings.universe_file is not None and not path.exists():
            raise UniverseError(f"{path}: OPS_PIPELINE_UNIVERSE_FILE names this file, which does not exist; make it or unset it.")
        return load_universe(path, self.catalogue, self.settings.today)

    def migrate(self, notify: Callable[[str], None]) -> None:
        """Applies pending migrations, or stops where a setting forbids it."""
        migrations.ensure_current(self.warehouse, auto=self.settings.auto_migrate, notify=notify)


def catalogue_of(settings: Settings) -> Catalogue:
    """What the home's recipe files declare now.

    Raises:
        RecipeError: when one of them is wrong.
        SettingsError: when a variable is about a source that there is not, or gives an address to one that has none.
    """
    return load_catalogue(settings.recipes_path, variables=source_variables(), lazily=True)


def build_context(
    settings: Settings, *, catalogue: Catalogue | None = None, notify: Callable[[str], None] | None = None
) -> Context:
    """The parts of the home that the settings name; nothing is opened or written.

    Args:
        settings: effective settings.
        catalogue: where the caller has read it already; None: it is read here.
        notify: gets the notices of a long wait.

    Raises:
        RecipeError: when a recipe file is wrong.
        SettingsError: when a variable gives an address to a source that has none.
        MigrationError: when the migrations on disk are.
    """
    warehouse = Warehouse(
        settings.database_path,
        schema_version=migrations.latest_version(),
        wait_seconds=settings.database_wait_seconds,
        notify=notify,
    )
    return Context(
        settings=settings,
        catalogue=catalogue or catalogue_of(settings),
        service=OpsService(warehouse),
        store=BronzeStore(settings.bronze_path),
        leases=Leases(settings.runs_path),
        open_source=partial(open_source, counts=settings.limits_path, folder=settings.bronze_path / TEMPORARY),
    )
