"""Which checks a dataset's rows must pass: the recipe's optional block `checks`, and what follows from the recipe without it.

Belongs here: the kinds of checks, their severity, and the columns that they look at. Does not belong here: their SQL (`silver.checks`,
`gold.checks`), when they are made (`engine.checks`), and their results (`ops.check_results`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from ops_pipeline.recipes.answers import ColumnName, ColumnType
from ops_pipeline.recipes.sparse import SparseModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops_pipeline.recipes.models import Recipe

Severity = Literal["error", "warn"]


class Kind(StrEnum):
    """The checks, named by what is true where they pass."""

    KEYS = "keys_are_unique"
    REQUIRED = "required_values_are_there"
    RECORDS = "every_record_is_accounted_for"
    BARS = "low_and_high_enclose_open_and_close"
    PRICES = "prices_are_positive"
    JUMPS = "prices_do_not_jump"
    VOLUMES = "volumes_are_not_negative"
    TRADED = "sessions_have_volume"
    FRESH = "newest_rows_are_fresh"
    GOLD = "gold_is_what_silver_gives"

    @property
    def layer(self) -> Literal["silver", "gold"]:
        """The layer whose rows it looks at."""
        return "gold" if self is Kind.GOLD else "silver"

    @property
    def severity(self) -> Severity:
        """What it is where the recipe does not say: wrong data are errors, what a market may well do is a warning."""
        return "warn" if self in (Kind.JUMPS, Kind.TRADED, Kind.FRESH) else "error"

    @property
    def about(self) -> str:
        """What it looks at, in a sentence."""
        return _ABOUT[self]


_ABOUT = {
    Kind.KEYS: "No two silver rows have the same key.",
    Kind.REQUIRED: "No silver row lacks a value that its recipe requires.",
    Kind.RECORDS: "For every promoted file: records read = created + updated + unchanged + refused + superseded + out of window.",
    Kind.BARS: "low <= open, close, high and high >= open, close, but for one millionth of rounding.",
    Kind.PRICES: "Every price is above zero.",
    Kind.JUMPS: "No price is more than jump_factor times the one before it, or less than that part of it, without a corporate action.",
    Kind.VOLUMES: "No volume is below zero.",
    Kind.TRADED: "Every session has a volume above zero.",
    Kind.FRESH: "The newest row of a wanted ticker, or where sessions need no rows the newest answer, is not older than stale_after_days.",
    Kind.GOLD: "The gold rows of a few series, others each time, are what silver's rows give when they are computed anew.",
}

# Days without anything new that are no reproach: a long weekend, and a few days more than a period.
_GRACE_DAYS = {"daily": 5, "weekly": 11, "monthly": 40, "quarterly": 130}
# Columns of fact_eod, from the most adjusted to the least: corporate actions show in the first ones least.
_ADJUSTED_FIRST = ("adjusted_close", "split_adjusted_close", "close")


class Bar(BaseModel):
    """The columns of one basis of prices of a session."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    low: ColumnName
    high: ColumnName
    open: ColumnName | None = None
    close: ColumnName | None = None

    @property
    def columns(self) -> list[str]:
        """Those that it has."""
        return [c for c in (self.open, self.high, self.low, self.close) if c]


class Checks(SparseModel):
    """What a recipe says of the checks of its rows; whatever it leaves out follows from the recipe.

    Attributes:
        severity: check -> error, warn, or skip: it is not made.
        bars: columns of low and high, and of open and close where there are such.
        prices: columns that must be above zero.
        volumes: columns that must not be below zero.
        jump_column: the price whose jumps are told.
        jump_factor: from which factor on a change from one row to the next is a jump.
        actions: datasets of splits or dividends, by ticker: on their days a price may jump.
        stale_after_days: how many calendar days may pass without anything new.
        sample: how many series of gold are computed anew, each time others.
    """

    _later: ClassVar[frozenset[str]] = frozenset(
        {"severity", "bars", "prices", "volumes", "jump_column", "jump_factor", "actions", "stale_after_days", "sample"}
    )

    severity: dict[Kind, Literal["error", "warn", "skip"]] = Field(default={})
    bars: list[Bar] | None = None
    prices: list[ColumnName] | None = None
    volumes: list[ColumnName] | None = None
    jump_column: ColumnName | None = None
    jump_factor: float = Field(default=3.0, gt=1)
    actions: list[str] | None = None
    stale_after_days: int | None = Field(default=None, ge=1, le=3660)
    sample: int = Field(default=5, ge=1, le=1000)

    def refuse_unknown(self, recipe: Recipe) -> None:
        """Refuses columns that are none or no numbers, and jumps of a dataset without days.

        Raises:
            ValueError: naming the field and the column.
        """
        types = {c.name: c.type for c in recipe.columns}
        named = {
            "bars": [c for bar in self.bars or () for c in bar.columns],
            "prices": self.prices or [],
            "volumes": self.volumes or [],
            "jump_column": [self.jump_column] if self.jump_column else [],
        }
        for field, columns in named.items():
            for column in columns:
                if types.get(column) not in _NUMBERS:
                    raise ValueError(f"checks: {field}: {column} must be a column of type double or integer")
        if self.jump_column and recipe.date_column is None:
            raise ValueError("checks: jump_column: needs a date_column")


_NUMBERS = (ColumnType.DOUBLE, ColumnType.INTEGER)


class Declared:
    """The checks of one recipe, with what follows from it where the block is silent."""

    def __init__(self, recipe: Recipe) -> None:
        """Looks at the recipe only."""
        self.recipe = recipe
        self.block = recipe.checks or Checks()
        self._numbers = [c.name for c in recipe.columns if c.type in _NUMBERS]

    @property
    def bars(self) -> list[Bar]:
        """As declared; else one for every `low` and `high` with the same prefix, such as adj_low and adj_high."""
        return list(self._bars_by_name()) if self.block.bars is None else self.block.bars

    def _bars_by_name(self) -> Iterator[Bar]:
        for high in (n for n in self._numbers if n == "high" or n.endswith("_high")):
            prefix = high.removesuffix("high")
            low, first, last = (prefix + part if prefix + part in self._numbers else None for part in ("low", "open", "close"))
            # A high and a low without a price of the session may be those of a year.
            if low and (first or last):
                yield Bar(low=low, high=high, open=first, close=last)

    @property
    def prices(self) -> list[str]:
        """As declared; else the columns of the bars and those that gold takes as prices or rates."""
        if self.block.prices is not None:
            return self.block.prices
        return list(dict.fromkeys([*(c for bar in self.bars for c in bar.columns), *self._gold_prices]))

    @property
    def _gold_prices(self) -> list[str]:
        gold = self.recipe.gold
        if gold is None:
            return []
        parts = {"fact_eod": _ADJUSTED_FIRST, "fact_fx": ("rate",)}.get(gold.object, ())
        return [gold.columns[part] for part in parts if gold.columns.get(part) in self._numbers]

    @property
    def volumes(self) -> list[str]:
        """As declared; else the column that gold takes, and one called volume of a dataset of bars."""
        if self.block.volumes is not None:
            return self.block.volumes
        taken = self.recipe.gold.columns.get("volume") if self.recipe.gold and self.recipe.gold.object == "fact_eod" else None
        found = [taken, "volume" if self.bars else None]
        return list(dict.fromkeys(c for c in found if c in self._numbers))

    @property
    def jump_column(self) -> str | None:
        """As declared; else the most adjusted price, or the rate, that gold takes."""
        return self.block.jump_column or next(iter(self._gold_prices), None)

    @property
    def actions(self) -> list[str]:
        """As declared; else the datasets that adjust this one."""
        return self.recipe.adjusted_by if self.block.actions is None else self.block.actions

    @property
    def stale_after_days(self) -> int:
        """As declared; else by cadence."""
        return self.block.stale_after_days or _GRACE_DAYS[self.recipe.cadence]

    @property
    def rows_every_session(self) -> bool:
        """Whether a session without rows is unusual; of dividends or filings only the answers tell that they are watched."""
        return self.recipe.date_column is not None and bool(self.bars or self._gold_prices)

    def severity(self, kind: Kind) -> Severity | None:
        """How grave its failing is; None where it is not made."""
        said = self.block.severity.get(kind, kind.severity)
        return None if said == "skip" else said

    def kinds(self) -> list[Kind]:
        """The checks that are made of this dataset."""
        without = {
            Kind.BARS: not self.bars,
            Kind.PRICES: not self.prices,
            Kind.JUMPS: not self.jump_column,
            Kind.VOLUMES: not self.volumes,
            Kind.TRADED: not self.volumes,
            Kind.GOLD: self.recipe.gold is None,
        }
        return [kind for kind in Kind if self.severity(kind) and not without.get(kind, False)]
