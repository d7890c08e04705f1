"""`python -m benchmarks [PART ...]`: measures, prints one table of ratios, and writes it to benchmarks/out/latest.json.

Belongs here: the command line and the order of the parts. Does not belong here: any measurement.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.compare import Contender, against_bare, against_dlt, say
from benchmarks.figures import Figure, WrongResultError, show, with_targets, write

OUT = Path(__file__).resolve().parent / "out" / "latest.json"
ABOUT = "Measures the pipeline beside its alternatives; README.md in this folder tells how."
EPILOG = "Exit status: 0 also when a target is missed, 1 when a result is wrong, 2 when something must be changed first, 130 when stopped."
INTERRUPTED = 130


@dataclass(frozen=True)
class Part:
    """One part: what it compares, and how to measure it."""

    about: str
    measure: Callable[[argparse.Namespace], Iterable[Figure]]


def _a(given: argparse.Namespace) -> Iterable[Figure]:
    sizes = [(500, 245), (100, 5000)]
    if given.tickers or given.rows:
        sizes = [(given.tickers or 500, given.rows or 245)]
    return against_bare(sizes, given.latency, given.repeat, given.contender)


def _b(given: argparse.Namespace) -> Iterable[Figure]:
    from benchmarks.with_dagster import through_dagster

    return through_dagster(given.dagster_keys, given.rows or 245, given.repeat, given.daemon_keys)


def _c(given: argparse.Namespace) -> Iterable[Figure]:
    return against_dlt(given.tickers or 500, given.rows or 245, given.repeat)


def _d(given: argparse.Namespace) -> Iterable[Figure]:
    from benchmarks.ledger import measure

    for rows in given.ledger_rows:
        say(f"d. a ledger of {rows:,} rows")
        partitions = min(100_000, max(1, rows // 200) * 20)
        try:
            yield from with_targets("d", measure(rows, partitions, repeats=max(5, given.repeat)))
        except AssertionError as error:
            raise WrongResultError(str(error)) from error


def _e(given: argparse.Namespace) -> Iterable[Figure]:
    from benchmarks.door import measure

    say("e. processes at the door")
    figures = with_targets("e", measure(seconds=given.door_seconds, repeat=given.repeat, ledger_rows=given.ledger_rows[0]))
    yield from figures
    for figure in figures:
        if "rows lost" in figure.name and figure.ours:
            raise WrongResultError(f"{figure.name}: {figure.ours:g}")


def _f(given: argparse.Namespace) -> Iterable[Figure]:
    from benchmarks.growth import growth

    return growth(given.keys, given.rows or 245, given.repeat)


def _p(given: argparse.Namespace) -> Iterable[Figure]:
    from benchmarks.publishing import measure

    return measure(given.tickers or 1_000, given.rows or 2_500, given.repeat)


PARTS = {
    "a": Part("the batch engine beside a bare script", _a),
    "b": Part("one run through Dagster beside Dagster's floor, and beside one run per partition", _b),
    "c": Part("the batch engine beside dlt", _c),
    "d": Part("a large ledger's questions beside the barest SQL", _d),
    "e": Part("many processes at the database's door", _e),
    "f": Part("growth of time and memory with the number of keys", _f),
    "p": Part("publishing silver and gold, beside what changed", _p),
}
QUICK = {"tickers": 40, "rows": 40, "repeat": 1, "dagster_keys": 20, "daemon_keys": 4, "ledger_rows": [50_000], "door_seconds": 1.0,
         "keys": [20, 100, 200]}  # fmt: skip


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    about = "\n".join(f"  {name}  {part.about}" for name, part in PARTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=f"{ABOUT}\n\n{about}", epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("parts", nargs="*", metavar="PART", help="of " + " ".join(PARTS) + "; default: all")
    parser.add_argument("--quick", action="store_true", help="small sizes, one repeat: to see that it works, not to measure")
    parser.add_argument("--tickers", type=_positive, help="a, c, p: tickers (default: 500; a also 100 with 5,000 rows; p 1,000)")
    parser.add_argument("--rows", type=_positive, help="a, b, c, f, p: trading days a ticker (default: 245; p 2,500)")
    parser.add_argument(
        "--latency", type=float, action="append", metavar="MS", help="a: of the vendor; repeatable (default: 0 and 50)"
    )
    parser.add_argument("--repeat", type=_positive, help="runs of each side; the figure is their median (default: 3)")
    parser.add_argument("--contender", type=Contender.of_text, action="append", default=[], metavar="NAME=COMMAND",
                        help="a: set the engine beside this too; repeatable")  # fmt: skip
    parser.add_argument("--dagster-keys", type=_positive, help="b: keys of the one run (default: 500)")
    parser.add_argument("--daemon-keys", type=int, help="b: partitions with a run each (default: 12; 0 leaves it out)")
    parser.add_argument("--ledger-rows", type=_positive, action="append", help="d: repeatable (default: 1,000,000)")
    parser.add_argument("--door-seconds", type=float, help="e: how long the processes of one load work (default: 6)")
    parser.add_argument("--keys", type=_positive, action="append", help="f: repeatable (default: 100, 1,000 and 10,000)")
    parser.add_argument("--out", type=Path, default=OUT, help="the file of figures (default: benchmarks/out/latest.json)")
    given = parser.parse_args(arguments)
    defaults = {"repeat": 3, "dagster_keys": 500, "daemon_keys": 12, "ledger_rows": [1_000_000], "door_seconds": 6.0,
                "keys": [100, 1_000, 10_000], "latency": [0.0, 50.0]} | (QUICK if given.quick else {})  # fmt: skip
    for name, value in defaults.items():
        if getattr(given, name) is None:
            setattr(given, name, value)
    given.parts = given.parts or list(PARTS)
    unknown = [p for p in given.parts if p not in PARTS]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}; choose from {' '.join(PARTS)}")
    if any(not c.command for c in given.contender):
        parser.error("give --contender as NAME=COMMAND")
    if "c" in given.parts and importlib.util.find_spec("dlt") is None:
        parser.error("part c needs dlt: run it by `make bench`, which installs it, or choose other parts")
    return given


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    given = parse(arguments)
    # A benchmark that is ended from outside ends its vendor, daemon and contenders on the way out. A background process of a shell
    # without job control ignores SIGINT, and Dagster would then ignore SIGTERM too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Settings of the user's own pipeline would be measured otherwise.
    for name in [n for n in os.environ if n.startswith(("OPS_PIPELINE_", "DAGSTER_"))]:
        del os.environ[name]
    figures: list[Figure] = []
    problems: list[str] = []
    busy, cores = os.getloadavg()[0], os.cpu_count() or 1
    if busy > cores / 2:
        say(
            f"The machine is busy (load {busy:.1f} on {cores} cores): the figures will be worse than the pipeline, and waits much worse."
        )
    interrupted = False
    try:
        for name in dict.fromkeys(given.parts):
            try:
                for figure in PARTS[name].measure(given):
                    figures.append(figure)
                    write(figures, given.out)  # what is measured is kept, whatever becomes of the next one
            except WrongResultError as error:
                problems.append(f"part {name} is wrong and not measured to its end: {error}")
                say(problems[-1])
                write(figures, given.out)
    except KeyboardInterrupt:
        interrupted = True
    show(figures)
    missed = [f for f in figures if f.reached is False]
    print(f"{len(figures)} figures in {given.out}; {len(missed)} targets missed.")
    for problem in problems:
        print(problem)
    if interrupted:
        return INTERRUPTED
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
