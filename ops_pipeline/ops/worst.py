"""The worst that became of many files: the one rule by which runs and days are named and coloured.

Belongs here: the order of gravity. Does not belong here: counting (`browse`, `queries`), colours (`cli.output`, `dashboard.theme`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

GRAVITY: Final = ("failed", "unfinished", "deferred", "not_in_plan", "ok", "empty", "unchanged")
"""Gravest first. `unfinished`: an answer or a promotion is owed. `deferred`: for want of quota. `not_in_plan`: the vendor's plan does not
hold it. `ok`: something came. `empty`, `unchanged`: all went well, and nothing new came."""


def worst(counts: Mapping[str, int]) -> str:
    """The gravest word with a count; `unchanged` where there is none."""
    return next((word for word in GRAVITY if counts.get(word)), GRAVITY[-1])
