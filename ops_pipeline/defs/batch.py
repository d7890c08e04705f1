"""The configuration of a batch: which keys, which layers, which day.

Belongs here: the op's config, and key lists too long for it. Does not belong here: choosing the keys (`engine.plan`).
"""

from __future__ import annotations

import hashlib
import json
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from dagster import Config
from pydantic import Field

from ops_pipeline.defs.events import STEP
from ops_pipeline.defs.partitions import from_dagster, to_dagster
from ops_pipeline.engine.outcome import LAYERS
from ops_pipeline.engine.plan import RunOptions
from ops_pipeline.errors import UserError
from ops_pipeline.files import write_atomically
from ops_pipeline.recipes.universe import PartitionKey

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Run config is stored with every run and shown in the UI: a few keys are readable there, thousands are not.
INLINE_KEYS = 50


class BatchConfig(Config):
    """What a run does; in a run that Dagster gave partitions to, `partitions` and `partitions_file` stay empty."""

    # Not `keys`: Dagster calls dict() on a config, which takes an attribute of that name for a mapping's.
    partitions: list[str] = Field(
        default=[],
        description="Partitions as `dataset|ticker`, such as `sample.eod-prices|AAPL` or `sample.fx-rates|-`;"
        " empty: every partition of the universe that is due.",
    )
    partitions_file: str = Field(
        default="",
        description="A key list below the data folder's runs/keys, named by its content; used for long lists.",
    )
    layers: list[str] = Field(
        default=list(LAYERS),
        description="Of bronze, silver and gold, those that this run moves.",
    )
    as_of: str = Field(
        default="",
        description="Decide what is settled as at this time (ISO 8601 with zone); empty: when the run starts. A re-execution keeps it.",
    )
    from_date: str = Field(
        default="",
        description="Ask from this day (YYYY-MM-DD) instead of the day after the watermark.",
    )
    to_date: str = Field(default="", description="Ask up to this day (YYYY-MM-DD).")
    full: bool = Field(default=False, description="Ask the whole history again.")

    def options(self, layers: Sequence[str], today: date | None, after_runs: frozenset[str]) -> RunOptions:
        """The engine's options.

        Raises:
            UserError: for a layer, day or time that cannot be read.
        """
        unknown = sorted(set(self.layers) - set(LAYERS))
        if unknown:
            raise UserError(f"config layers: {unknown[0]!r} is none of {', '.join(LAYERS)}.")
        return RunOptions(
            layers=frozenset(layers) & frozenset(self.layers),
            from_date=_day("from_date", self.from_date),
            to_date=_day("to_date", self.to_date),
            full=self.full,
            today=today,
            now=_time(self.as_of),
            after_runs=after_runs,
        )


def _day(name: str, text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as e:
        raise UserError(f"config {name}: {text!r} is not a day; write YYYY-MM-DD.") from e


def _time(text: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as e:
        raise UserError(f"config as_of: {text!r} is not a time; write it like 2026-01-31T22:00:00+00:00.") from e
    if moment.tzinfo is None:
        raise UserError(f"config as_of: {text!r} has no time zone; write it like 2026-01-31T22:00:00+00:00.")
    return moment


def run_config(folder: Path, keys: Sequence[PartitionKey], as_of: datetime) -> dict[str, Any]:
    """The run config of a batch over these keys; a long list goes to an immutable file that its content names."""
    listed = [str(to_dagster(k)) for k in keys]
    config: dict[str, Any] = {"as_of": as_of.isoformat()}
    if len(listed) <= INLINE_KEYS:
        config["partitions"] = listed
    else:
        body = json.dumps(listed, ensure_ascii=False, indent=0).encode()
        name = f"{hashlib.sha256(body).hexdigest()}.json"
        if not (folder / name).exists():
            write_atomically(folder / name, body)
        config["partitions_file"] = name
    return {"ops": {STEP: {"config": config}}}


def read_keys(folder: Path, config: BatchConfig) -> list[PartitionKey]:
    """The keys of a batch's config, inline or from their file.

    Raises:
        UserError: for a key that is none, or a key list that is gone or does not hold what its name says.
    """
    listed = list(config.partitions)
    if config.partitions_file:
        path = folder / config.partitions_file
        try:
            body = path.read_bytes()
        except OSError as e:
            raise UserError(f"{path}: the run's key list cannot be read ({e.strerror}); launch the schedule again.") from e
        if path.parent != folder or hashlib.sha256(body).hexdigest() != path.stem:
            raise UserError(f"{path}: the key list does not hold what its name says; launch the schedule again.")
        listed += json.loads(body)
    wrong = next((k for k in listed if "|" not in k), None)
    if wrong is not None:
        raise UserError(f"config partitions: {wrong!r} is not a partition; write dataset|ticker, such as sample.eod-prices|AAPL.")
    return [from_dagster(k) for k in listed]
