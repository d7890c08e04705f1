"""The figures of a benchmark, their targets, and how they are shown and kept.

Belongs here: one figure, the targets of those that other modules measure, the table and the file. Does not belong here: measuring.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

WIDTH = 130
"""Of the table where standard output is a file."""

KEPT = {"name", "ours", "other", "ratio", "unit"}


class WrongResultError(Exception):
    """Something measured is worth nothing, because what it made is wrong; the message says what."""


@dataclass
class Figure:
    """One comparison.

    Attributes:
        name: the part's letter, a full stop, and what is compared.
        ours: the pipeline's figure.
        other: what it is compared with.
        unit: of both.
        ratio: ours divided by other; None where other is 0.
        at_most: the target of the ratio, if it has one.
        at_least: the same, where more is better.
        more: whatever else is worth keeping.
    """

    name: str
    ours: float
    other: float
    unit: str
    ratio: float | None = None
    at_most: float | None = None
    at_least: float | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.ratio is None and self.other:
            self.ratio = self.ours / self.other

    @property
    def target(self) -> str:
        """The target in words."""
        if self.at_most is not None:
            return f"at most {self.at_most:g}"
        return f"at least {self.at_least:g}" if self.at_least is not None else ""

    @property
    def reached(self) -> bool | None:
        """Whether the target was reached; None where there is none."""
        if self.at_most is not None:
            # 0 of 0: nothing went wrong on either side.
            return self.ratio <= self.at_most if self.ratio is not None else self.ours <= 0
        if self.at_least is not None:
            return self.ratio is not None and self.ratio >= self.at_least
        return None

    def row(self) -> dict[str, Any]:
        """As it is written to the file."""
        found = asdict(self)
        more = found.pop("more")
        ratio = None if self.ratio is None else round(self.ratio, 4)
        return {
            **found,
            "ours": round(self.ours, 4),
            "other": round(self.other, 4),
            "ratio": ratio,
            "reached": self.reached,
            **more,
        }


# The figures of `ledger` and `door` come without targets. First match counts: (part of the name, at most, at least).
_TARGETS: list[tuple[str, float | None, float | None]] = [
    # These ask for less than the same rows: for orientation.
    (r"^d\. .*(, which |without holes)", None, None),
    (r"^d\. .*dashboard", 2.0, None),
    (r"^d\. ", 1.5, None),
    (r"^e\. .*rows lost or doubled", 0, None),
    (r"^e\. .*longest wait / mean wait", 3, None),
    (r"^e\. 8 writers, .*throughput / that of one writer", None, 0.8),
    (r"^e\. .*failures", 0, None),
]


def with_targets(part: str, rows: Iterable[dict[str, Any]]) -> list[Figure]:
    """Rows that another module measured, as figures with their targets; a target that a row brings along counts."""
    found = []
    for row in rows:
        name = str(row["name"])
        if not name.startswith(f"{part}. "):
            name = f"{part}. {name}"
        at_most, at_least = row.get("at_most"), row.get("at_least")
        if at_most is None and at_least is None:
            at_most, at_least = next(((m, n) for pattern, m, n in _TARGETS if re.search(pattern, name)), (None, None))
        more = {k: v for k, v in row.items() if k not in KEPT | {"at_most", "at_least", "reached"}}
        found.append(Figure(name, row["ours"], row["other"], str(row["unit"]), row["ratio"], at_most, at_least, more))
    return found


def write(figures: Sequence[Figure], path: Path) -> None:
    """Writes the figures as one JSON list."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([f.row() for f in figures], indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def show(figures: Sequence[Figure]) -> None:
    """Prints the figures as one table on standard output."""
    table = Table(title="Measured side by side; the ratio is ours / other")
    table.add_column("what / beside what", overflow="fold")
    for name in ("ours", "other"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("unit")
    table.add_column("ratio", justify="right", no_wrap=True)
    table.add_column("target", no_wrap=True)
    table.add_column("reached", no_wrap=True)
    for figure in figures:
        reached = {True: "[green]yes[/]", False: "[red]no[/]", None: ""}[figure.reached]
        sides = number(figure.ours), number(figure.other), escape(figure.unit), number(figure.ratio)
        table.add_row(escape(figure.name), *sides, figure.target, reached)
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    console.print(table)


def number(value: float | None) -> str:
    """A figure with three digits that count."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
