"""The calendars of a home: an exchange's sessions, computed once and read as plain dates afterwards.

Belongs here: asking the helper process, and the files below `calendars` in the data folder that keep what it says. Does not belong here:
what a calendar means (`ops.sessions`) and the library (`recipes.exchange`).

Importing exchange_calendars and pandas takes two to three seconds; reading twenty years of sessions from a file takes two milliseconds. A
file is named by calendar, years and the library's version: an upgrade, a recipe with an earlier first date, and a new year each compute it
anew, and nothing that is computed is ever wrong later.
"""

from __future__ import annotations

import difflib
import json
import logging
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from ops_pipeline.clock import utc_now
from ops_pipeline.errors import RecipeError
from ops_pipeline.files import write_atomically
from ops_pipeline.ops.sessions import ExchangeSessions, RuleSessions, Sessions
from ops_pipeline.recipes.exchange import UNKNOWN_CALENDAR
from ops_pipeline.recipes.modes import OWN_CALENDARS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ops_pipeline.recipes.models import Recipe

log = logging.getLogger("ops_pipeline.engine")

_OWN = {name: RuleSessions(name) for name in OWN_CALENDARS}
_HELPER = "ops_pipeline.recipes.exchange"
_HELPER_SECONDS = 120
# A library knows the holidays that were announced: some of next year's, few of those behind.
_YEARS_AHEAD = 1


@dataclass
class Calendars:
    """The calendars that a catalogue's recipes name.

    Attributes:
        folder: where computed sessions are kept; nothing is kept while the folder above it does not exist.
        recipes: decide how far back each calendar is computed.
    """

    folder: Path
    recipes: Iterable[Recipe]
    _known: dict[str, Sessions] = field(default_factory=dict)

    def of(self, recipe: Recipe) -> Sessions:
        """The sessions of a recipe.

        Raises:
            RecipeError: its calendar is none, or cannot be computed.
        """
        own = _OWN.get(recipe.calendar)
        if own is not None:
            return own
        found = self._known.get(recipe.calendar)
        if found is None:
            found = self._known[recipe.calendar] = self._exchange(recipe)
        return found

    def _exchange(self, recipe: Recipe) -> ExchangeSessions:
        name = recipe.calendar
        this_year = utc_now().year
        years = [r.first_date.year for r in self.recipes if r.calendar == name and r.first_date is not None]
        # Whole decades, so that another recipe seldom asks for a computation of its own.
        first, last = date(min(years, default=this_year) // 10 * 10, 1, 1), date(this_year + _YEARS_AHEAD, 12, 31)
        file = f"{name.replace('/', '-')}-{first.year}-{last.year}-{version('exchange_calendars')}.json"
        path = self.folder / file
        kept = _read(path, name)
        if kept is not None:
            return kept
        document = _compute(recipe, first, last)
        if self.folder.parent.is_dir():
            try:
                write_atomically(path, json.dumps(document).encode())
            except OSError as e:
                log.warning("the sessions of %s were not kept (%s); the next run computes them again", name, e.strerror)
        return _sessions(name, document)


def _read(path: Path, name: str) -> ExchangeSessions | None:
    """What a file keeps; None where there is none, or where somebody damaged it."""
    try:
        return _sessions(name, json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _sessions(name: str, document: dict[str, Any]) -> ExchangeSessions:
    days = tuple(map(date.fromisoformat, document["days"]))
    return ExchangeSessions(name, days, date.fromisoformat(document["first"]), date.fromisoformat(document["last"]))


def _compute(recipe: Recipe, first: date, last: date) -> dict[str, Any]:
    where = f"dataset {recipe.dataset_key}, field calendar:"
    command = [sys.executable, "-m", _HELPER, recipe.calendar, first.isoformat(), last.isoformat()]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_HELPER_SECONDS, check=False)  # noqa: S603 - our own program
        if done.returncode == UNKNOWN_CALENDAR:
            near = ", ".join(difflib.get_close_matches(recipe.calendar, json.loads(done.stdout), n=3))
            raise RecipeError(
                f"{where} {recipe.calendar} is no calendar of exchange_calendars{f' (near: {near})' if near else ''};"
                " write daily, weekdays, or an exchange's code such as XNYS."
            )
        if done.returncode == 0:
            document: dict[str, Any] = json.loads(done.stdout)
            return document
        reason = (done.stderr.decode(errors="replace").strip().splitlines() or ["it ended without a word"])[-1]
    except (OSError, subprocess.SubprocessError, ValueError) as e:
        reason = str(e)
    raise RecipeError(
        f"{where} the sessions of {recipe.calendar} could not be computed: {reason}. Try `{sys.executable} -m {_HELPER} {recipe.calendar}"
        f" {first} {last}`, or write `calendar: weekdays`."
    )
