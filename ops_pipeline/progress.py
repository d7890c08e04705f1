"""How long work says how far it is.

Belongs here: what such work calls. Does not belong here: showing it (`cli.bar`), and a run's own figures (`engine.progress`).
"""

from __future__ import annotations

from typing import Protocol


class Tell(Protocol):
    """Takes how far a piece of work is; it must cost next to nothing, and never raise."""

    def __call__(self, what: str, done: int = 0, total: int | None = None) -> None:
        """Takes what goes on, how much of it is done, and how much there is; None: nobody knows."""


def silent(what: str, done: int = 0, total: int | None = None) -> None:
    """Nobody looks."""
