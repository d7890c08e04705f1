"""Part b: many keys in one Dagster run, beside what Dagster and the engine cost apart, and beside one run per partition.

Belongs here: the three measurements in one process and one instance, and the figures. Does not belong here: the runs through the daemon
(`daemon`), the home and the engine's run (`contender`).

Dagster's floor is one run of one op that logs as many materializations as ours, for the same partitions and with nothing in them. The
instance is a real one, on SQLite, made of the project's own dagster.yaml.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import contender
from benchmarks.compare import WARM_UP_TICKERS, say, scratch, table_problem
from benchmarks.figures import Figure, WrongResultError
from benchmarks.vendor import ROOT, Market, serving

if TYPE_CHECKING:
    from dagster import DagsterInstance, JobDefinition

# Each event would also be printed, at the same price on both sides.
QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}


def through_dagster(keys: int, rows: int, repeat: int, sample: int) -> Iterator[Figure]:
    """The figures of part b.

    Args:
        keys: tickers in the one run.
        rows: of each.
        repeat: of each measurement; the figure is the median.
        sample: partitions that get a run each through the daemon; 0 leaves that out.
    """
    # What the user has in data/ is none of the benchmark's business: importing the definitions reads the home's recipes.
    os.environ |= {"OPS_PIPELINE_HOME": str(ROOT / "benchmarks" / "out" / "none"), contender.KEY: "k"}
    say(f"b. {keys:,} keys x {rows:,} rows in one run")
    market = Market(keys, rows)
    folder = scratch()
    with serving(market) as url:
        ours, parts = _in_one_instance(market, url, folder, repeat)
        yield Figure(
            f"b. {keys:,} keys in one run: through Dagster / engine alone + Dagster's floor",
            ours, sum(parts.values()), "s", at_most=1.3, more={f"{name}_s": round(value, 3) for name, value in parts.items()},
        )  # fmt: skip
        if sample > 0:
            from benchmarks.daemon import one_run_each

            say(f"b. {sample} partitions with a run each, through the daemon")
            each = one_run_each(market, url, folder / "daemon", min(sample, keys))
            yield Figure(
                f"b. {keys:,} keys in one run / one run per partition, through the daemon ({sample} partitions)",
                keys / ours, 1 / each, "keys/s", at_least=50, more={"seconds_per_partition": round(each, 3)},
            )  # fmt: skip


def make_instance_folder(folder: Path) -> Path:
    """A DAGSTER_HOME with the project's own dagster.yaml, its storage moved into the folder."""
    folder.mkdir(parents=True)
    text = (ROOT / "dagster.yaml").read_text(encoding="utf-8")
    moved = text.replace("base_dir: data/dagster", f"base_dir: {folder}")
    if moved == text:
        raise RuntimeError("dagster.yaml keeps its storage elsewhere than in data/dagster: the benchmark would write into it")
    (folder / "dagster.yaml").write_text(moved, encoding="utf-8")
    return folder


def _in_one_instance(market: Market, url: str, folder: Path, repeat: int) -> tuple[float, dict[str, float]]:
    from dagster import DagsterInstance

    ours, engine, floor = [], [], []
    with DagsterInstance.from_config(str(make_instance_folder(folder / "instance"))) as instance:
        for turn in range(-1, repeat):
            symbols = market.symbols if turn >= 0 else market.symbols[:WARM_UP_TICKERS]
            homes = [_make_home(folder / f"{name} {turn}", market, url, symbols) for name in ("ours", "engine")]
            whole, events = _through(instance, homes[0], market.days[-1])
            apart = _alone(homes[1], market.days[-1])
            least = _floor(instance, symbols, events)
            for home in homes:
                check(home, market, len(symbols))
            if turn >= 0:
                say(
                    f"  through Dagster {whole:.2f} s, {events} events; engine alone {apart:.2f} s, Dagster's floor {least:.2f} s"
                )
                ours.append(whole)
                engine.append(apart)
                floor.append(least)
    return median(ours), {"engine": median(engine), "floor": median(floor)}


def _make_home(home: Path, market: Market, url: str, symbols: Sequence[str]) -> Path:
    contender.make_home(home, url, market.first, list(symbols))
    return home


def check(home: Path, market: Market, tickers: int) -> None:
    """Compares a home's silver table with the truth.

    Raises:
        WrongResultError: when they differ.
    """
    problem = table_problem(home / contender.DATABASE, contender.TABLE, market.truth(market.days[-1], tickers))
    if problem:
        raise WrongResultError(f"{home.name}: {problem}")


def _through(instance: DagsterInstance, home: Path, to: date) -> tuple[float, int]:
    """Seconds of one run of the job `batch` over a home's universe, as the schedule launches it, and the materializations it logged."""
    from ops_pipeline.clock import utc_now
    from ops_pipeline.definitions import build_defs
    from ops_pipeline.defs.batch import run_config
    from ops_pipeline.engine.context import build_context
    from ops_pipeline.settings import load_settings

    began = time.perf_counter()
    context = build_context(load_settings(home=home, today=to))
    config = run_config(context.settings.runs_path / "keys", list(context.universe()), utc_now())
    job = build_defs(context).resolve_job_def("batch")
    result = job.execute_in_process(instance=instance, run_config=config | QUIET, raise_on_error=False)
    seconds = time.perf_counter() - began
    if not result.success:
        raise WrongResultError(f"the run through Dagster failed: {_why(instance, result.run_id)}")
    return seconds, instance.get_run_stats(result.run_id).materializations


def _why(instance: DagsterInstance, run_id: str) -> str:
    from dagster import DagsterEventType

    failed = instance.all_logs(run_id, of_type=DagsterEventType.STEP_FAILURE)
    return "; ".join(str(entry.dagster_event.step_failure_data.error_display_string) for entry in failed if entry.dagster_event)


def _alone(home: Path, to: date) -> float:
    began = time.perf_counter()
    _, failed = contender.run(home, to)
    seconds = time.perf_counter() - began
    if failed:
        raise WrongResultError(f"the engine alone failed for {len(failed)} tickers, such as {failed[0]}")
    return seconds


def _floor(instance: DagsterInstance, symbols: Sequence[str], events: int) -> float:
    job = _floor_job(symbols, events)
    began = time.perf_counter()
    result = job.execute_in_process(instance=instance, run_config=QUIET)
    seconds = time.perf_counter() - began
    logged = instance.get_run_stats(result.run_id).materializations
    if logged != events:
        raise WrongResultError(f"Dagster's floor logged {logged} events instead of {events}")
    return seconds


def _floor_job(symbols: Sequence[str], events: int) -> JobDefinition:
    from dagster import AssetMaterialization, MultiPartitionKey, OpExecutionContext, in_process_executor, job, op

    layers = ("floor_bronze", "floor_silver", "floor_gold")

    def log(context: OpExecutionContext) -> None:
        for number in range(events):
            key, layer = symbols[number // len(layers) % len(symbols)], layers[number % len(layers)]
            partition = MultiPartitionKey({"ticker": key, "dataset": contender.DATASET})
            context.log_event(AssetMaterialization(layer, partition=partition))

    log.__annotations__["context"] = OpExecutionContext  # Dagster wants the class, not its name
    step = op(name="log_events")(log)

    @job(executor_def=in_process_executor)
    def floor() -> None:
        step()

    return floor
