"""Part f: how time and memory grow with the number of keys.

Belongs here: the engine's whole process over more and more tickers of one market. Does not belong here: other contenders.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median

from benchmarks.compare import FIRST, INCREMENTAL, OURS, Run, both_phases, say, scratch
from benchmarks.figures import Figure
from benchmarks.vendor import Market, serving

MEMORY_LIMIT_MB = 1500


def growth(keys: Sequence[int], rows: int, repeat: int) -> Iterator[Figure]:
    """Time per key and peak memory of each number of keys beside the next smaller one.

    Args:
        keys: numbers of tickers.
        rows: of each ticker.
        repeat: runs of each; the figure is the median of their time and the highest of their memory.
    """
    sizes = sorted(set(keys))
    market = Market(sizes[-1], rows)
    runs: dict[tuple[int, str], list[Run]] = {(size, phase): [] for size in sizes for phase in (FIRST, INCREMENTAL)}
    say(f"f. {', '.join(f'{size:,}' for size in sizes)} keys x {rows:,} rows")
    folder = scratch()
    with serving(market) as url:
        for _ in range(repeat):
            for size in sizes:
                for phase, run in both_phases(OURS, market, market.symbols[:size], url, folder).items():
                    runs[size, phase].append(run)
                    say(f"  {size:,} keys, {phase}: {run.ended.seconds:.2f} s, {run.ended.peak_mb:.0f} MB")
    for phase in (FIRST, INCREMENTAL):
        per_key = {size: 1000 * median(r.ended.seconds for r in runs[size, phase]) / size for size in sizes}
        peak = {size: max(r.ended.peak_mb for r in runs[size, phase]) for size in sizes}
        # The whole process includes its start, which weighs more on few keys: the slopes leave it out.
        slopes = [(f"{a:,} to {b:,}", (b * per_key[b] - a * per_key[a]) / (b - a)) for a, b in pairwise(sizes)]
        for (before, slope_before), (after, slope) in pairwise(slopes):
            yield Figure(f"f. {phase}, time per further key: {after} keys / {before} keys", slope, slope_before, "ms")
        for smaller, larger in pairwise(sizes):
            pair = f"{larger:,} keys / {smaller:,} keys"
            target = 1.25 if larger == sizes[-1] else None
            yield Figure(f"f. {phase}, time per key: {pair}", per_key[larger], per_key[smaller], "ms", at_most=target)
            yield Figure(f"f. {phase}, peak memory: {pair}", peak[larger], peak[smaller], "MB")
        yield Figure(
            f"f. {phase}, peak memory: {sizes[-1]:,} keys / the limit", peak[sizes[-1]], MEMORY_LIMIT_MB, "MB", at_most=1.0
        )  # fmt: skip
