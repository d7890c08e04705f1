"""Returns and volatility by Python's own arithmetic.

Belongs here: the reference that gold is compared with. Does not belong here: expectations.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figures:
    """What gold must say of one day."""

    simple_return: float | None
    log_return: float | None
    volatility_20d: float | None

    def close_to(self, other: Figures) -> bool:
        """Equal but for the last digits that a logarithm and a sum of squares may differ in."""
        return (
            self.simple_return == other.simple_return
            and _close(self.log_return, other.log_return, 1e-15)
            and _close(self.volatility_20d, other.volatility_20d, 1e-9)
        )


def _close(one: float | None, other: float | None, relative: float) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=relative, abs_tol=1e-15)


def figures(prices: Sequence[float | None]) -> list[Figures]:
    """Of a series in the order of its days."""
    result: list[Figures] = []
    logs: list[float | None] = []
    for number, price in enumerate(prices):
        before = prices[number - 1] if number else None
        ratio = price / before if price and before and price > 0 and before > 0 else None
        usable = ratio is not None and 0 < ratio < math.inf
        logs.append(math.log(ratio) if usable and ratio is not None else None)
        last = [value for value in logs[-20:] if value is not None]
        volatility = statistics.stdev(last) if len(last) == 20 else None
        result.append(Figures(ratio - 1 if usable and ratio is not None else None, logs[-1], volatility))
    return result
