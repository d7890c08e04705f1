"""How a dataset is asked for: the request modes, their own fields, and which fields go together.

Belongs here: the part of a recipe that says which requests there are. Does not belong here: which of them are due (`ops.watermark`,
`ops.periods`), and how one is written for a vendor (`http`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

PeriodKind = Literal["year", "quarter", "month", "session"]

# `daily` and `weekdays` are rules of this project, anything else is a calendar of exchange_calendars, such as XNYS or 24/7.
Calendar = Annotated[str, StringConstraints(pattern=r"^(daily|weekdays|[A-Z0-9]{2,12}(/[0-9])?)$")]
OWN_CALENDARS = ("daily", "weekdays")


class RequestMode(StrEnum):
    """How a dataset is asked for. Only `window` and `by_vintage` have watermarks; the others are due by cadence."""

    WINDOW = "window"
    ROLLING = "rolling"
    LAST_N = "last_n"
    BY_PERIOD = "by_period"
    BY_VINTAGE = "by_vintage"
    SNAPSHOT = "snapshot"

    @property
    def has_watermark(self) -> bool:
        """Whether the next from-date derives from what is stored."""
        return self in (RequestMode.WINDOW, RequestMode.BY_VINTAGE)


_FIELDS_OF = {
    RequestMode.ROLLING: ("past_days", "future_days"),
    RequestMode.LAST_N: ("last_n",),
    RequestMode.BY_PERIOD: ("period", "recent_periods"),
}
_NEEDED = {RequestMode.ROLLING: ("past_days", "future_days"), RequestMode.LAST_N: ("last_n",), RequestMode.BY_PERIOD: ("period",)}

PLACEHOLDERS_OF = {
    RequestMode.WINDOW: frozenset({"from_date", "to_date"}),
    RequestMode.BY_VINTAGE: frozenset({"from_date", "to_date"}),
    RequestMode.ROLLING: frozenset({"from_date", "to_date"}),
    RequestMode.LAST_N: frozenset({"n"}),
    RequestMode.BY_PERIOD: frozenset({"from_date", "to_date", "year", "quarter", "month"}),
    RequestMode.SNAPSHOT: frozenset[str](),
}
"""What a request of each mode can fill into its templates, besides the ticker."""


class Asking(BaseModel):
    """The mode and its fields; what a mode does not use is left out.

    Attributes:
        mode: which requests there are.
        past_days: of a rolling window, days before today.
        future_days: of a rolling window, days after today.
        last_n: how many records are asked for in the mode last_n.
        period: what one request of the mode by_period is about.
        recent_periods: so many of the newest periods are asked again by cadence; default 1, and 0 for sessions, whose data are final.
        calendar: which days are sessions: `daily`, `weekdays`, or an exchange calendar's code.
        every_session: each session must have rows, so that an empty answer is suspect and a missing session a gap; default: yes with an
            exchange calendar, no with `daily` and `weekdays`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    mode: RequestMode
    past_days: int | None = Field(default=None, ge=0, le=3660)
    future_days: int | None = Field(default=None, ge=0, le=3660)
    last_n: int | None = Field(default=None, ge=1, le=1_000_000)
    period: PeriodKind | None = None
    recent_periods: int | None = Field(default=None, ge=0, le=1000)
    calendar: Calendar = "daily"
    every_session: bool | None = None

    @model_validator(mode="after")
    def _fields_of_the_mode(self) -> Self:
        for mode, names in _FIELDS_OF.items():
            for name in names:
                given = getattr(self, name) is not None
                if given and mode is not self.mode:
                    raise ValueError(f"{name} belongs to the mode {mode.value}; leave it out of the mode {self.mode.value}")
                if not given and mode is self.mode and name in _NEEDED[mode]:
                    raise ValueError(f"mode {mode.value} needs {name}")
        if self.every_session and self.mode in (RequestMode.ROLLING, RequestMode.LAST_N, RequestMode.SNAPSHOT):
            raise ValueError(f"every_session has no meaning in the mode {self.mode.value}, which has no history to complete")
        return self

    @property
    def expects_every_session(self) -> bool:
        """Whether a session without rows is a gap."""
        if self.every_session is not None:
            return self.every_session
        by_session = self.mode is RequestMode.WINDOW or (self.mode is RequestMode.BY_PERIOD and self.period == "session")
        return by_session and self.calendar not in OWN_CALENDARS

    @property
    def periods_asked_again(self) -> int:
        """How many of the newest periods are asked again by cadence."""
        if self.recent_periods is not None:
            return self.recent_periods
        return 0 if self.period == "session" else 1


NEW_FIELDS = ("past_days", "future_days", "last_n", "period", "recent_periods", "every_session")
"""Left out of a recipe's text where absent: recipes without them keep the hashes of versions that did not know them."""
