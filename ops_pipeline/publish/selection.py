"""Which tables are published.

Belongs here: reading the setting. Does not belong here: its default (`settings`), the tables themselves (`database`).
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

NONE = "none"


@dataclass(frozen=True, slots=True)
class Selection:
    """The tables that a text such as `gold, silver.fmp_*, -silver.*_history` names: schemas, tables or patterns; a minus takes away."""

    text: str

    @property
    def nothing(self) -> bool:
        """Whether publishing is turned off."""
        return self.text == NONE

    def __contains__(self, table: object) -> bool:
        """Whether the table, by schema and name, is published."""
        chosen = False
        for item in filter(None, (part.strip() for part in self.text.split(","))):
            pattern = item.removeprefix("-")
            if fnmatchcase(str(table), pattern if "." in pattern else f"{pattern}.*"):
                chosen = not item.startswith("-")
        return chosen
