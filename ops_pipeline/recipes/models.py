"""What a recipe is: the declaration of a dataset in one of the catalogue's YAML files.

Belongs here: the models, their own consistency rules, and their hashes. Does not belong here: the vendor (`source`), how an answer is laid
out (`answers`), reading files (`loading`), how an answer is parsed (`silver`), or which dates are asked (`ops.watermark`).
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import date, time, timedelta
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, field_validator, model_validator

from ops_pipeline.recipes.answers import AnswerFormat, Column, ColumnName, ColumnType, known_zone
from ops_pipeline.recipes.checks import Checks
from ops_pipeline.recipes.http import HttpRequest
from ops_pipeline.recipes.keys import NO_DISCRIMINATOR, join_dataset_key
from ops_pipeline.recipes.modes import NEW_FIELDS, Asking, RequestMode
from ops_pipeline.recipes.own import check_template

NO_TICKER = "-"

# Names become table names, folders and partition keys: one alphabet that is safe in all three.
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=60)]
Discriminator = Annotated[str, StringConstraints(pattern=r"^([a-z][a-z0-9]*(-[a-z0-9]+)*|-)$", max_length=60)]

LINEAGE_COLUMNS = ("bronze_file_id", "run_id", "known_at", "ingested_at")
HISTORY_COLUMNS = ("merged_at", "recipe_hash", "operation")
TICKER_COLUMN = "ticker"


def _written_out(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        raise ValueError("write the day as YYYY-MM-DD")
    return value


# pydantic alone reads the text 0 as the first of January 1970: a number of seconds.
Day = Annotated[date, BeforeValidator(_written_out)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class GoldTarget(_Model):
    """The one gold object that a dataset feeds, and which silver columns play which part in it."""

    object: Literal["fact_eod", "fact_fx", "fact_series"]
    columns: dict[str, ColumnName] = {}


class Recipe(Asking):
    """The declaration of a dataset: what to ask, when, and what the answer means."""

    source: Name
    dataset: Name
    discriminator: Discriminator = NO_DISCRIMINATOR
    domain: Name
    description: str = Field(min_length=1)
    url: str = ""
    per_ticker: bool
    first_date: Day | None = None
    last_date: Day | None = None
    lookback_days: int = Field(default=0, ge=0, le=3660)
    cadence: Literal["daily", "weekly", "monthly", "quarterly"] = "daily"
    timezone: str = "UTC"
    settles_at: time = Field(default=time(0, 0), description="local time at which a session's data are final")
    settles_after_days: int = Field(default=0, ge=0, le=400, description="days after the session at which settles_at applies")
    request: HttpRequest | None = Field(default=None, description="how it is asked for, where the source is reached by HTTP")
    files: str | None = Field(default=None, description="where its files are below the source's folder, where the source is one")
    answer: AnswerFormat
    columns: list[Column] = Field(min_length=1)
    key: list[ColumnName] = Field(min_length=1)
    date_column: ColumnName | None = None
    available_at: ColumnName | None = Field(default=None, description="column that says when the vendor made a record public")
    refetch_on_restatement: bool = Field(
        default=False, description="an answer that differs from stored rows waits until the whole history has been asked again"
    )
    adjusted_by: list[str] = Field(
        default=[], description="datasets of splits or dividends, by ticker: a new row of theirs makes the whole history due"
    )
    symbol_column: ColumnName | None = Field(
        default=None, description="column that names the ticker of each row, where one answer holds those of many"
    )
    covered_by: str | None = Field(
        default=None, description="dataset with a symbol_column: a ticker whose days its answers hold is not asked for them"
    )
    action_columns: dict[ColumnName, float] = Field(
        default={}, description="columns that tell of a split or dividend of the row's day, each with the value that means none"
    )
    continues_only: bool = Field(
        default=False, description="rows of a symbol_column's dataset feed gold behind a ticker's own history alone"
    )
    max_reject_share: float = Field(default=0.05, ge=0, le=1)
    gold: GoldTarget | None = None
    checks: Checks | None = Field(default=None, description="what its rows must fulfil, where that does not follow from the rest")

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        return known_zone(value)

    @field_validator("files")
    @classmethod
    def _below_the_folder(cls, value: str | None) -> str | None:
        return None if value is None else check_template(value)

    @field_validator("settles_at")
    @classmethod
    def _local_time(cls, value: time) -> time:
        if value.tzinfo is not None:
            raise ValueError("write a local time as HH:MM; its zone is the field timezone")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [c.name for c in self.columns]
        repeated = sorted({n for n in names if names.count(n) > 1})
        if repeated:
            raise ValueError(f"columns: {', '.join(repeated)} declared twice")
        reserved = {*LINEAGE_COLUMNS, *HISTORY_COLUMNS, TICKER_COLUMN} & set(names)
        if reserved:
            raise ValueError(
                f"columns: {', '.join(sorted(reserved))} are kept for the pipeline's own columns; rename them and use `from`"
            )
        by_name = {c.name: c for c in self.columns}
        for k in self.key:
            if k not in by_name:
                raise ValueError(f"key: {k} is not among the columns")
            if not by_name[k].required:
                raise ValueError(f"key: {k} must be declared `required: true`, a row without its key cannot be stored")
        if len(set(self.key)) != len(self.key):
            raise ValueError("key: a column stands twice")
        if self.mode.has_watermark and (self.date_column is None or self.first_date is None):
            raise ValueError(f"mode {self.mode.value} needs date_column and first_date")
        if self.mode is RequestMode.BY_PERIOD and self.first_date is None:
            raise ValueError("mode by_period needs first_date, with which its periods begin")
        if self.first_date is not None and self.last_date is not None and self.last_date < self.first_date:
            raise ValueError(f"last_date {self.last_date} is before first_date {self.first_date}")
        if self.date_column is not None:
            day = by_name.get(self.date_column)
            if day is None or day.type is not ColumnType.DATE or not day.required:
                raise ValueError(f"date_column: {self.date_column} must be a required column of type date")
        for column in self.columns:
            self.answer.check_column(column)
        if self.refetch_on_restatement and not (
            self.per_ticker and self.mode is RequestMode.WINDOW and self.date_column in self.key
        ):
            raise ValueError("refetch_on_restatement: needs per_ticker: true, mode window and the date_column in the key")
        if self.adjusted_by and not self.refetch_on_restatement:
            raise ValueError("adjusted_by: needs refetch_on_restatement: true")
        self._check_bulk(by_name)
        if self.available_at is not None:
            said = by_name.get(self.available_at)
            if said is None or said.type not in (ColumnType.DATE, ColumnType.TIMESTAMP):
                raise ValueError(f"available_at: {self.available_at} must be a column of type date or timestamp")
        if self.checks:
            self.checks.refuse_unknown(self)
        if self.answer.unpivot:
            fields = {c.source_field for c in self.columns}
            made = {*self.answer.unpivot.keep, self.answer.unpivot.name_to, self.answer.unpivot.value_to}
            if not fields <= made:
                raise ValueError(
                    f"columns: {', '.join(sorted(fields - made))} are not among the fields that unpivot makes ({', '.join(sorted(made))})"
                )
        if self.gold:
            for part, column_name in self.gold.columns.items():
                if column_name not in by_name:
                    raise ValueError(f"gold: {part} names {column_name}, which is not among the columns")
            if self.date_column is None:
                raise ValueError("gold: a dataset that feeds a fact needs a date_column")
        return self

    def _check_bulk(self, by_name: dict[str, Column]) -> None:
        """What one answer for many tickers needs, and a dataset by ticker that such answers continue."""
        if self.symbol_column is not None:
            symbol = by_name.get(self.symbol_column)
            if self.per_ticker or symbol is None or symbol.type is not ColumnType.TEXT or self.symbol_column not in self.key:
                raise ValueError("symbol_column: names a column of type text in the key, of a dataset with per_ticker: false")
        for name in self.action_columns:
            if (
                self.symbol_column is None
                or name not in by_name
                or by_name[name].type not in (ColumnType.DOUBLE, ColumnType.INTEGER)
            ):
                raise ValueError(f"action_columns: {name} must be a column of numbers, of a dataset with a symbol_column")
        if self.continues_only and (self.symbol_column is None or self.gold is None):
            raise ValueError("continues_only: belongs to a dataset with a symbol_column that feeds gold")
        if self.covered_by is None:
            return
        if not (self.per_ticker and self.mode is RequestMode.WINDOW and self.date_column in self.key):
            raise ValueError("covered_by: needs per_ticker: true, mode window and the date_column in the key")

    @property
    def dataset_key(self) -> str:
        """`<source>.<dataset>[.<discriminator>]`: the partition dimension `dataset`."""
        return join_dataset_key(self.source, self.dataset, self.discriminator)

    @property
    def table(self) -> str:
        """The silver table's name without its schema."""
        return re.sub(r"[.-]", "_", self.dataset_key)

    @property
    def silver_table(self) -> str:
        """The silver table, such as silver.sample_eod_prices."""
        return f"silver.{self.table}"

    @property
    def history_table(self) -> str:
        """The silver table's change log."""
        return f"silver.{self.table}_history"

    @property
    def gold_table(self) -> str | None:
        """The gold object that this dataset feeds, or None."""
        return f"gold.{self.gold.object}" if self.gold else None

    @property
    def silver_key(self) -> list[str]:
        """Columns that identify a silver row: the declared key, with the partition's ticker in front where there is one."""
        return [TICKER_COLUMN, *self.key] if self.per_ticker else list(self.key)

    @property
    def silver_columns(self) -> list[tuple[str, str]]:
        """(name, SQL type) of the silver table's own columns, without lineage."""
        own = [(c.name, c.type.sql) for c in self.columns]
        return [(TICKER_COLUMN, "VARCHAR"), *own] if self.per_ticker else own

    @cached_property
    def known_fields(self) -> frozenset[str]:
        """Fields of a record that a column takes or the recipe declares as ignored; any other is schema drift."""
        taken = (c.record_field for c in self.columns)
        return frozenset([*(f for f in taken if f is not None), *self.answer.ignored])

    @cached_property
    def text(self) -> str:
        """The recipe in canonical JSON: what its hash is made of and what `ops.recipes` keeps."""
        # Left out where it is absent: the hashes of recipes without it stay those of the versions that did not know it.
        absent = {name for name in _LEFT_OUT_WHERE_ABSENT if not getattr(self, name)}
        absent |= {name for name in NEW_FIELDS if getattr(self, name) is None}
        return json.dumps(
            self.model_dump(mode="json", by_alias=True, exclude=absent), sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )

    @cached_property
    def recipe_hash(self) -> str:
        """16 hex digits that identify this version of the recipe."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    @cached_property
    def columns_hash(self) -> str:
        """16 hex digits that identify what silver's rows mean: columns, key and the reading of the answer."""
        shape: dict[str, Any] = {
            "columns": [c.model_dump(mode="json", by_alias=True, exclude={"comment"}) for c in self.columns],
            "key": self.silver_key,
            "date_column": self.date_column,
            "answer": self.answer.model_dump(mode="json", exclude={"ignored"}),
        }
        return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()[:16]


ONE_DAY = timedelta(days=1)

# Fields that later versions added.
_LEFT_OUT_WHERE_ABSENT = (
    "files",
    "request",
    "available_at",
    "refetch_on_restatement",
    "adjusted_by",
    "symbol_column",
    "covered_by",
    "action_columns",
    "continues_only",
    "checks",
)
