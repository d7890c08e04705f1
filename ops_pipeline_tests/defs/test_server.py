"""A real `dagster dev`: what the UI does, over GraphQL, with the project's own dagster.yaml and without DAGSTER_HOME."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from ops_pipeline_tests.dashboard.browser import chromium, served, window
from ops_pipeline_tests.defs import targets, ui
from ops_pipeline_tests.defs.homes import EOD, FX, LAYERS, UNIVERSE, make_home

ROOT = Path(__file__).parents[2]
WORKSPACE = """load_from:
  - python_module: {module_name: ops_pipeline_tests.defs.server_definitions, location_name: lake, working_directory: .}
"""
PATIENCE = 300.0
CELLS = [f"{EOD}|{t}" for t in ("AAPL", "IBM", "MSFT")]

LAUNCH = """mutation($p: ExecutionParams!) { launchRun(executionParams: $p) { __typename
  ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } ... on RunConfigValidationInvalid { errors { message } } } }"""
STATUS = "query($r: ID!) { runOrError(runId: $r) { ... on Run { status } } }"
RUNS = "{ runsOrError(limit: 50) { ... on Runs { results { runId status } } } }"
TERMINATE = """mutation($r: String!) { terminateRun(runId: $r, terminatePolicy: SAFE_TERMINATE) { __typename
  ... on TerminateRunFailure { message } ... on PythonError { message } } }"""
BACKFILL = """mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) { __typename
  ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
BACKFILL_STATUS = "query($b: String!) { partitionBackfillOrError(backfillId: $b) { ... on PartitionBackfill { status } } }"


def wait_for(what: str, probe: Callable[[], Any]) -> Any:
    """The probe's first true answer; the patience only bounds a hang."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        answer = probe()
        if answer:
            return answer
        time.sleep(0.3)
    raise AssertionError(f"waited {PATIENCE:.0f} s for {what}")


@dataclass
class Server:
    """A running `dagster dev`."""

    port: int

    def ask(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:  # noqa: S310 - loopback
            told = json.load(answer)
        assert "errors" not in told, told
        return next(iter(told["data"].values()))

    def launch(self, job: str, config: dict[str, Any] | None = None, tags: dict[str, str] | None = None) -> str:
        selector: dict[str, Any] = {"repositoryLocationName": "lake", "repositoryName": "__repository__", "pipelineName": job}
        if job == "__ASSET_JOB":
            selector |= {"assetSelection": [{"path": [a]} for a in LAYERS], "assetCheckSelection": []}
        parameters = {
            "selector": selector,
            "mode": "default",
            "runConfigData": {"ops": {"lake": {"config": config}}} if config else {},
            "executionMetadata": {"tags": [{"key": k, "value": v} for k, v in (tags or {}).items()]},
        }
        told = self.ask(LAUNCH, p=parameters)
        assert told["__typename"] == "LaunchRunSuccess", told
        return str(told["run"]["runId"])

    def status(self, run_id: str) -> str:
        return str(self.ask(STATUS, r=run_id)["status"])

    def end_of(self, run_id: str) -> str:
        return str(
            wait_for(
                f"the end of run {run_id}",
                lambda: s if (s := self.status(run_id)) in ("SUCCESS", "FAILURE", "CANCELED") else None,
            )
        )

    def backfill(self, cells: list[str]) -> str:
        told = self.ask(
            BACKFILL, p={"assetSelection": [{"path": [a]} for a in LAYERS], "partitionNames": cells, "fromFailure": False}
        )
        assert told["__typename"] == "LaunchBackfillSuccess", told
        done = ("COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED")
        return str(
            wait_for(
                "the end of the backfill",
                lambda: s if (s := self.ask(BACKFILL_STATUS, b=told["backfillId"])["status"]) in done else None,
            )
        )


@contextmanager
def dagster_dev(folder: Path, home: Path) -> Iterator[Server]:
    """Plain `dagster dev` in a folder that holds the project's dagster.yaml."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {k: v for k, v in os.environ.items() if k != "DAGSTER_HOME"}
    environment |= {targets.HOME: str(home), "PYTHONPATH": str(ROOT), "HOME": str(folder)}
    log = (folder / "dev.log").open("ab")
    process = subprocess.Popen(
        [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)],
        cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        # A background process of a shell without job control ignores SIGINT, and Dagster would then ignore SIGTERM too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    server = Server(port)
    try:

        def up() -> bool:
            try:
                return bool(server.ask("{ version }"))
            except (urllib.error.URLError, ConnectionError):
                assert process.poll() is None, (folder / "dev.log").read_text()
                return False

        wait_for("dagster dev", up)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "project folder"
    folder.mkdir()
    shutil.copy(ROOT / "dagster.yaml", folder)
    (folder / "workspace.yaml").write_text(WORKSPACE)
    return folder


def materialized_in_the_ui(browser: Browser, server: Server, home: Path) -> str:
    """Materializes one partition by the UI's button and sees it appear in the dashboard; gives the run's id."""

    def runs() -> set[str]:
        return {r["runId"] for r in server.ask(RUNS)["results"]}

    with served(home, OPS_PIPELINE_DAGSTER_URL=f"http://127.0.0.1:{server.port}") as base, window(browser, base) as view:
        view.page.set_default_timeout(PATIENCE * 1000)
        address = f"partition?dataset={EOD}&ticker={CELLS[0].partition('|')[2]}"
        view.open(address)
        assert "promoted" not in view.text
        before = runs()
        tab = view.page.context.new_page()
        tab.set_default_timeout(PATIENCE * 1000)
        ui.materialize(tab, f"http://127.0.0.1:{server.port}", dataset=EOD, ticker=CELLS[0].partition("|")[2])
        (run_id,) = wait_for("the run that the UI launched", lambda: runs() - before)
        assert server.end_of(run_id) == "SUCCESS"
        tab.close()

        def promoted() -> bool:  # what was read is kept for three seconds
            view.open(address)
            return "promoted" in view.text

        wait_for("the dashboard to show what was promoted", promoted)
        view.page.get_by_role("link", name=run_id[:8]).first.click()
        view.says(f"Run {run_id[:8]}")
        link = view.page.get_by_role("link", name="open in Dagster").get_attribute("href")
        assert link == f"http://127.0.0.1:{server.port}/runs/{run_id}"
        view.check()
    return str(run_id)


def asked_rows(home: Path) -> list[tuple[str, str]]:
    with make_home(home, universe=(home / "universe.yaml").read_text()).warehouse.reading() as connection:
        return connection.execute("SELECT ticker, bronze_outcome FROM ops.file_ingestions ORDER BY ticker").fetchall()


def test_what_a_user_does_in_the_ui(folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "universe.yaml").write_text(UNIVERSE)
    with dagster_dev(folder, home) as server:
        wait_for("the tickers", lambda: "AAPL" in partition_keys(server))
        assert "fmp." not in partition_keys(server), "a newcomer's grid holds what the universe asks for"

        with chromium() as browser:
            single = materialized_in_the_ui(browser, server, home)

        (home / targets.SLOW).write_text("IBM")
        slow = server.launch("batch", {"partitions": CELLS})
        wait_for(
            "the slow request", lambda: "IBM" in ((home / targets.ASKED).read_text() if (home / targets.ASKED).exists() else "")
        )
        assert server.status(slow) == "STARTED"
        assert server.ask(TERMINATE, r=slow)["__typename"] == "TerminateRunSuccess"
        assert server.end_of(slow) == "CANCELED"
        outcomes = dict(asked_rows(home))  # reading proves that no lock is left
        assert "asked" not in outcomes.values()
        assert outcomes["IBM"] == "failed"
        assert list((home / "runs").glob("*.lease")) == []

        (home / targets.SLOW).write_text("")

        (home / targets.FAILING).write_text("IBM")
        assert server.backfill(CELLS) == "COMPLETED_FAILED"
        (home / targets.FAILING).write_text("")
        assert server.backfill([*CELLS, f"{FX}|AAPL"]) == "COMPLETED_SUCCESS", "cells that are done or do not apply succeed"
        runs = {r["runId"] for r in server.ask(RUNS)["results"]}
    assert {slow, single} <= runs
    with dagster_dev(folder, home) as server:
        assert {r["runId"] for r in server.ask(RUNS)["results"]} == runs, (
            "plain dagster dev keeps its storage in the project's folder"
        )
    assert (folder / "data" / "dagster").is_dir()


def partition_keys(server: Server) -> str:
    query = """{ assetNodes { assetKey { path } partitionKeysByDimension { name partitionKeys } } }"""
    return json.dumps(server.ask(query))
