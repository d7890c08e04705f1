"""What the other processes of these tests do: `python -m ops_pipeline_tests.engine.worker COMMAND HOME JSON`.

Belongs here: runs in a process of their own, readers, foreign programs. Each says a line when it has got somewhere and, where a test has to
do something first, goes on when it is sent a line. Does not belong here: starting them (`processes`).
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from ops_pipeline.engine import pipeline, promote
from ops_pipeline.engine.context import Context, steps
from ops_pipeline.engine.decisions import hide
from ops_pipeline.engine.dropped import find_dropped
from ops_pipeline.engine.replay import replay
from ops_pipeline.engine.run import new_run_id
from ops_pipeline.errors import UserError
from ops_pipeline.recipes.universe import PartitionKey
from ops_pipeline_tests.engine.home import MARKET, make_home, prices_recipe, run
from ops_pipeline_tests.engine.vendor import Fetch, Vendor, big, market, restating

VENDORS: dict[str, Callable[[int], Fetch]] = {"market": lambda _: market, "restating": restating, "big": lambda _: big}


def say(text: object) -> None:
    # In one piece: steps are said by several threads.
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Steps(logging.Handler):
    """Says every step boundary, or ends the process at one of them as the machine's owner would: at once."""

    def __init__(self, kill_at: tuple[str, int] | None) -> None:
        super().__init__(logging.DEBUG)
        self.kill_at, self.seen = kill_at, 0

    def emit(self, record: logging.LogRecord) -> None:
        if self.kill_at is None:
            say(f"step {record.msg}")
        elif record.msg == self.kill_at[0]:
            self.seen += 1
            if self.seen == self.kill_at[1]:
                os.kill(os.getpid(), signal.SIGKILL)


def home_of(folder: Path, given: dict[str, Any]) -> Context:
    vendor = Vendor(VENDORS[given.get("vendor", "market")](given.get("number", 0)))
    recipes = [prices_recipe(**given["recipe"])] if "recipe" in given else None
    return make_home(folder, vendor, recipes=recipes, tickers=given.get("tickers", MARKET), **given.get("settings", {}))


def follow_steps(given: dict[str, Any]) -> None:
    """Takes the process to `kill_at` and no further, or has it say its steps, where that is wanted."""
    if "kill_at" in given or given.get("steps"):
        steps.setLevel(logging.DEBUG)
        steps.addHandler(Steps(given.get("kill_at")))


def engine(folder: Path, given: dict[str, Any]) -> None:
    """Runs, as often as `times` says; with `kill_at` until there, with `steps` saying each of them.

    With `fold_always` whatever the log holds after a batch is folded in an opening of its own, as otherwise in large runs alone.
    """
    if given.get("fold_always"):
        pipeline.LOG_BYTES, promote.LOG_BYTES_TOGETHER = 0, -1
    context = home_of(folder, given)
    follow_steps(given)
    if given.get("wait"):
        say("ready")
        sys.stdin.readline()
    if "file_size" in given:
        resource.setrlimit(resource.RLIMIT_FSIZE, (given["file_size"], given["file_size"]))
    keys = [PartitionKey(ticker, dataset) for ticker, dataset in given.get("keys", [])]
    days = {n: date.fromisoformat(v) for n, v in given.get("days", {}).items()}
    try:
        for _ in range(given.get("times", 1)):
            for outcome in run(context, *keys, run_id=given.get("run_id"), **days, **given.get("options", {})).values():
                say(f"{outcome.kind.value} {outcome.key.dataset} {outcome.key.ticker}")
    except UserError as e:
        say(f"UserError {e}")
        sys.exit(2)


def replaying(folder: Path, given: dict[str, Any]) -> None:
    """Replays a dataset, until `kill_at`."""
    context = home_of(folder, given)
    steps.setLevel(logging.DEBUG)
    steps.addHandler(Steps(given["kill_at"]))
    replay(context, context.catalogue.recipe(given["dataset"]), new_run_id())


def hiding(folder: Path, given: dict[str, Any]) -> None:
    """Hides every row that the vendor dropped, until `kill_at`."""
    context = home_of(folder, given)
    found = find_dropped(context)
    follow_steps(given)
    hide(context, found, run_id=new_run_id())


def reader(folder: Path, given: dict[str, Any]) -> None:
    """Reads until the file `stop` appears: rows never go away, and every gold row has its silver row."""
    context = home_of(folder, given)
    seen = reads = 0
    say("ready")
    sys.stdin.readline()
    while not (folder / "stop").exists():
        with context.warehouse.reading() as connection:
            (rows,) = connection.execute("SELECT count(*) FROM ops.file_ingestions").fetchall()[0]
            (orphans,) = connection.execute(
                """SELECT count(*) FROM gold.fact_eod g LEFT JOIN gold.dim_instrument i USING (instrument_id) WHERE i.symbol IS NULL"""
            ).fetchall()[0]
        assert rows >= seen, "ledger rows went away"
        assert orphans == 0
        seen, reads = rows, reads + 1
        time.sleep(0.1)  # readers without pause would test the machine, not the queue
    say(f"reads {reads}")


def foreign(folder: Path, given: dict[str, Any]) -> None:
    """A program that knows nothing of our lock: opens the database as soon as it can, and keeps it until it is sent a line."""
    while True:
        try:
            connection = duckdb.connect(str(folder / "ops.duckdb"), read_only=given.get("read_only", False))
        except duckdb.IOException:
            continue
        break
    say("open")
    sys.stdin.readline()
    connection.close()
    say("closed")


COMMANDS: dict[str, Callable[[Path, dict[str, Any]], None]] = {
    c.__name__: c for c in (engine, replaying, hiding, reader, foreign)
}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](Path(sys.argv[2]), json.loads(sys.argv[3]))
