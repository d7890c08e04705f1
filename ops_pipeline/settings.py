"""Settings: the `OPS_PIPELINE_*` environment variables, typed.

Belongs here: every knob that a user may set, its default and its meaning. Does not belong here: anything read from a recipe or a universe
file, and secrets of vendors (a source names its own variable).
"""

from __future__ import annotations

import difflib
import os
import re
from datetime import date
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from ops_pipeline.errors import SettingsError

PREFIX = "OPS_PIPELINE_"

_PUBLISHED = re.compile(r"-?(silver|gold)(\.[a-z0-9_*?]+)?")


class Settings(BaseModel):
    """The effective configuration of one process."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    home: Path = Field(default=Path("data"), description="the data folder: database, bronze files, universe, a user's recipes")
    database: Path | None = Field(default=None, description="the DuckDB file; default: ops.duckdb in the data folder")
    bronze_root: Path | None = Field(default=None, description="folder of the raw files; default: bronze in the data folder")
    universe_file: Path | None = Field(
        default=None,
        description="which tickers and datasets are wanted; default: universe.yaml in the data folder, else the built-in one",
    )
    today: date | None = Field(
        default=None, description="pretend that it is the end of this day (YYYY-MM-DD); default: the clock"
    )
    concurrency: int = Field(
        default=16, ge=1, le=256, description="requests under way at once, over all sources; a source's own limit still holds"
    )
    batch_files: int = Field(
        default=500,
        ge=1,
        le=5000,
        description="files that are committed at once, where their rows fit into a commit of under a second",
    )
    database_wait_seconds: float = Field(
        default=300, ge=0, le=86_400, description="how long a database held by a foreign process is waited for"
    )
    auto_migrate: bool = Field(
        default=True, description="apply pending migrations by itself; otherwise stop and name the command"
    )
    schedule_hour: int = Field(default=22, ge=0, le=23, description="hour of the daily run")
    schedule_timezone: str = Field(default="America/New_York", description="time zone of the daily run's hour")
    sensor_minutes: int = Field(
        default=15, ge=1, le=1440, description="how often the sensor `intraday`, once switched on, looks for what has become due"
    )
    retry_minutes: int = Field(
        default=60, ge=0, le=10_080, description="how long the sensor `intraday` leaves a key alone that has just failed"
    )
    keep_runs_days: int | None = Field(
        default=None,
        ge=1,
        le=36_500,
        description="days after which Dagster forgets runs that no partition's state rests on; default: never",
    )
    publish: str = Field(
        default="silver, gold",
        description="tables that are published as Parquet after each run: schemas, tables or patterns such as silver.fmp_*, a minus takes"
        " away, as in silver, gold, -silver.*_history; none turns it off",
    )
    publish_keep_minutes: int = Field(
        default=60,
        ge=0,
        le=525_600,
        description="how long a replaced version of the published tables stays even if nobody reads it",
    )
    dagster_url: str = Field(
        default="http://127.0.0.1:3000", description="where the Dagster UI is opened, for links of the dashboard to it"
    )
    dashboard_url: str = Field(
        default="http://127.0.0.1:8501", description="where the dashboard is opened, for links of Dagster to it"
    )
    alert_urls: SecretStr | None = Field(
        default=None,
        description="where alerts of failed runs, stale data and findings go: apprise addresses, separated by blanks; default: nowhere",
    )
    heartbeat_url: SecretStr | None = Field(
        default=None,
        description="address of a watchdog such as healthchecks.io, which is asked after each scheduled run, with /fail after a failed one",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="WARNING", description="level of the command line's log on standard error"
    )

    @field_validator("today", mode="before")
    @classmethod
    def _written_out(cls, value: object) -> object:
        # pydantic alone reads the text 0 as the first of January 1970: a number of seconds.
        if isinstance(value, str) and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
            raise ValueError("write the day as YYYY-MM-DD")
        return value

    @field_validator("dagster_url", "dashboard_url")
    @classmethod
    def _an_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("write an address such as http://127.0.0.1:8501")
        return value.rstrip("/")

    @field_validator("schedule_timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as e:
            raise ValueError(f"{value!r} is not an IANA time zone such as Europe/London") from e
        return value

    @field_validator("heartbeat_url")
    @classmethod
    def _over_http(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("https://", "http://")):
            raise ValueError("write an address that begins with https:// or http://")
        return value

    @field_validator("publish")
    @classmethod
    def _known_schemas(cls, value: str) -> str:
        items = [part.strip() for part in value.split(",")]
        wrong = next((item for item in items if not _PUBLISHED.fullmatch(item)), None)
        if wrong is not None and value.strip() != "none":
            raise ValueError(
                f"{wrong!r} names no table of silver or gold; write names such as gold, silver.sample_* or -silver.*_history"
            )
        return value.strip()

    @property
    def database_path(self) -> Path:
        """The DuckDB file, absolute."""
        return (self.database or self.home / "ops.duckdb").absolute()

    @property
    def bronze_path(self) -> Path:
        """The root of the bronze store, absolute."""
        return (self.bronze_root or self.home / "bronze").absolute()

    @property
    def universe_path(self) -> Path:
        """The universe file, absolute; it need not exist."""
        return (self.universe_file or self.home / "universe.yaml").absolute()

    @property
    def recipes_path(self) -> Path:
        """The folder of a user's own recipe files; it need not exist."""
        return (self.home / "recipes").absolute()

    @property
    def published_path(self) -> Path:
        """The folder of the published versions of silver and gold."""
        return (self.home / "published").absolute()

    @property
    def limits_path(self) -> Path:
        """The folder in which processes count together what was asked of sources that have limits."""
        return (self.home / "limits").absolute()

    @property
    def runs_path(self) -> Path:
        """The folder of run leases and long key lists."""
        return (self.home / "runs").absolute()


# A source's address in place of the one in its recipe file: for a proxy of the vendor's interface, a mirror, a test.
# And the plan that its user has bought, in place of the one that stands there.
_OF_A_SOURCE = re.compile(rf"{PREFIX}SOURCE_[A-Z0-9_]+_(BASE_URL|PLAN)", re.ASCII)


def base_url_variable(source: str) -> str:
    """The environment variable that gives a source another address, such as OPS_PIPELINE_SOURCE_MY_VENDOR_BASE_URL for my-vendor."""
    return f"{PREFIX}SOURCE_{source.upper().replace('-', '_')}_BASE_URL"


def plan_variable(source: str) -> str:
    """The environment variable that names the plan of a source, such as OPS_PIPELINE_SOURCE_MY_VENDOR_PLAN for my-vendor."""
    return f"{PREFIX}SOURCE_{source.upper().replace('-', '_')}_PLAN"


def source_variables() -> dict[str, str]:
    """The variables about single sources that are set, with their values; whether their sources exist is not known here."""
    return {name: value for name, value in os.environ.items() if value and _OF_A_SOURCE.fullmatch(name.upper())}


def _variables() -> dict[str, str]:
    """Variables with our prefix by what follows it, in small letters, however each is written."""
    return {v.upper().removeprefix(PREFIX).lower(): v for v in os.environ if v.upper().startswith(PREFIX)}


def _refuse_unknown_variables() -> None:
    """A misspelt variable would be ignored in silence, and the run would write where nobody looks."""
    known = [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]
    for variable in _variables().values():
        if variable.upper() not in known and not _OF_A_SOURCE.fullmatch(variable.upper()):
            close = difflib.get_close_matches(variable.upper(), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known variables: {', '.join(known)}."
            raise SettingsError(f"{variable} is no setting of ops_pipeline; {hint} Rename or unset it.")


def _from_environment() -> dict[str, str]:
    """Setting -> its variable's value, where that is set to something."""
    return {name: os.environ[v] for name, v in _variables().items() if name in Settings.model_fields and os.environ[v]}


_SECRETS = frozenset(name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation))


def load_settings(**overrides: Any) -> Settings:
    """The settings from the environment, with overrides (command-line options) on top; an override of None is left out.

    Raises:
        SettingsError: naming the variable, what was given, and what is expected.
    """
    given = {k: v for k, v in overrides.items() if v is not None}
    _refuse_unknown_variables()
    try:
        return Settings.model_validate({**_from_environment(), **given})
    except ValidationError as e:
        problem = e.errors(include_url=False)[0]
        name = str(problem["loc"][0]) if problem["loc"] else "?"
        origin = f"the option for {name}" if name in given else f"{PREFIX}{name.upper()}"
        message = problem["msg"].removeprefix("Value error, ")
        if name in _SECRETS:
            raise SettingsError(f"{origin} has a value that cannot be used: {message}. Change or unset it.") from None
        raise SettingsError(f"{origin} has the value {problem.get('input')!r}: {message}. Change or unset it.") from e
