"""The gate that every call to a vendor passes: whether it may be sent now, later, or not by this run at all.

Belongs here: waiting for the source's limits, and what an answer means for the calls behind it: a pause, a quota that is used up, a key
that is refused. Does not belong here: counting (`limits`), telling errors apart (`http_errors`) and sending (`http`).
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Final

from ops_pipeline.sources.base import SourceError
from ops_pipeline.sources.limits import Permit, Refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ops_pipeline.recipes.http import HttpSource
    from ops_pipeline.sources.limits import SharedLimits

log = logging.getLogger("ops_pipeline.sources")

# So many refusals of the key in a row are no accident; more would make some vendors lock the account.
REFUSED_KEYS: Final = 3
# A vendor's clock may be wrong by years.
LONGEST_PAUSE_SECONDS: Final = 31 * 86_400.0
SPREAD_SECONDS: Final = 0.05


class Gate:
    """One client's way to its vendor."""

    def __init__(
        self, name: str, http: HttpSource, limits: SharedLimits | None, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        """Takes the source's name and declaration, what all processes count together (None: nothing is counted), and how to wait."""
        self._name, self._http, self._limits, self._sleep = name, http, limits, sleep
        self._line = asyncio.Lock()
        self._refused = 0
        self._closed: str | None = None

    async def enter(self, symbol: str | None) -> Permit | None:
        """Waits until a call about this ticker may be sent.

        Raises:
            SourceError: deferred: not by this run.
        """
        if self._closed is not None:
            raise SourceError(self._closed, kind="deferred")
        if self._limits is None:
            return None
        # One of this process waits and the others stand in line behind it: they are let in in order, and not all awake at once.
        async with self._line:
            while True:
                told = self._limits.take(symbol, self._http.timeout_seconds)
                if not isinstance(told, Refusal):
                    return told
                if told.seconds > self._http.longest_pause_seconds:
                    raise SourceError(
                        f"{self._name} is not asked before {told.at:%Y-%m-%d %H:%M} UTC ({told.why}); a later run asks for this.",
                        kind="deferred",
                    )
                await self._sleep(told.seconds + SPREAD_SECONDS * random.random())  # noqa: S311 - it spreads, it guards nothing

    def arrived(self, permit: Permit | None) -> None:
        """The vendor has begun to answer, or never will."""
        if permit is not None and self._limits is not None:
            self._limits.arrived(permit)

    def received(self, permit: Permit | None, size: int) -> None:
        """So many bytes came."""
        if permit is not None and self._limits is not None:
            self._limits.received(size)

    def answered(self) -> None:
        """A good answer came."""
        self._refused = 0

    def refused(self, error: SourceError) -> None:
        """An answer was none: what that means for the calls behind it."""
        if error.kind == "auth":
            self._refused += 1
            if self._refused >= REFUSED_KEYS:
                self._close(
                    f"{self._name} refused the key {REFUSED_KEYS} times in a row and is not asked further by this run: check"
                    f" {self._http.key.env if self._http.key else 'whether it wants a key'}, and run again."
                )
            return
        if error.kind == "deferred":
            seconds = error.retry_after
            if seconds is None and self._limits is not None:
                seconds = self._limits.next_reset()
            if seconds is not None and self._limits is not None:
                self._limits.pause(min(seconds, LONGEST_PAUSE_SECONDS))
            else:
                self._close(
                    f"{self._name} said that its quota is used up and is not asked further by this run; a later one asks again."
                )
        elif error.status_code == 429 and error.retry_after is not None and self._limits is not None:
            # The pause is the whole source's, in every process, and not only that of the call that was told.
            self._limits.pause(min(error.retry_after, self._http.longest_pause_seconds))

    def close(self) -> None:
        """Lets the counts go."""
        if self._limits is not None:
            self._limits.close()

    def _close(self, sentence: str) -> None:
        if self._closed is None:
            self._closed = sentence
            log.warning("%s", sentence)
