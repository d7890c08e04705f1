"""How much of a vendor a plan allows: calls, unique symbols and bytes, and how far back.

Belongs here: the models of a source's blocks `limits` and `plans`. Does not belong here: keeping to them (`sources.limits`).
"""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ops_pipeline.recipes.answers import known_zone
from ops_pipeline.recipes.models import Day


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Limits(_Model):
    """What may be asked of a source, by all processes of a home together. None: no limit.

    Attributes:
        per_second: calls in any second; likewise per_minute and per_hour.
        per_day: calls in a calendar day of the reset zone; likewise per_month.
        symbols_per_day: different tickers asked about in a day; likewise symbols_per_month.
        bytes_per_day: received, as sent over the wire, in a day; likewise bytes_per_month.
        reset_zone: the time zone in which the vendor's days and months begin.
    """

    per_second: int | None = Field(default=None, ge=1)
    per_minute: int | None = Field(default=None, ge=1)
    per_hour: int | None = Field(default=None, ge=1)
    per_day: int | None = Field(default=None, ge=1)
    per_month: int | None = Field(default=None, ge=1)
    symbols_per_day: int | None = Field(default=None, ge=1)
    symbols_per_month: int | None = Field(default=None, ge=1)
    bytes_per_day: int | None = Field(default=None, ge=1)
    bytes_per_month: int | None = Field(default=None, ge=1)
    reset_zone: str = "UTC"

    @field_validator("reset_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        return known_zone(value)

    @property
    def rolling(self) -> list[tuple[int, int]]:
        """(seconds, calls) of the limits that hold in every such time."""
        windows = ((1, self.per_second), (60, self.per_minute), (3600, self.per_hour))
        return [(seconds, calls) for seconds, calls in windows if calls is not None]

    @property
    def quotas(self) -> list[tuple[str, str, int]]:
        """(period, what, amount) of the limits that begin anew with a day or a month; what: calls, symbols or bytes."""
        amounts = (
            ("day", "calls", self.per_day), ("month", "calls", self.per_month), ("day", "symbols", self.symbols_per_day),
            ("month", "symbols", self.symbols_per_month), ("day", "bytes", self.bytes_per_day), ("month", "bytes", self.bytes_per_month),
        )  # fmt: skip
        return [(period, what, amount) for period, what, amount in amounts if amount is not None]

    @property
    def scarce(self) -> bool:
        """Whether a run can use them up, so that it matters what is asked first."""
        return bool(self.quotas) or self.per_hour is not None


class Plan(_Model):
    """A tier that the vendor sells.

    Attributes:
        limits: in place of the source's.
        floor: the earliest date that it answers for, in place of the source's.
    """

    limits: Limits | None = None
    floor: Day | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.limits is None and self.floor is None:
            raise ValueError("a plan has `limits`, a `floor` or both")
        return self
