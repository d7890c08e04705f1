"""The dashboard as people use it: its real server, a real Chromium, a home that real runs made."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser

from ops_pipeline.ops.queries import RunFilter
from ops_pipeline.ops.service import OpsService
from ops_pipeline.warehouse import Warehouse
from ops_pipeline_tests.cli.command import PROJECT, environment, ok
from ops_pipeline_tests.dashboard.browser import chromium, served, window

EOD = "sample.eod-prices"


@dataclass(frozen=True)
class Home:
    """A home of two runs: the second failed for IBM. AAPL's newest file is cut short, MSFT's holds no JSON."""

    path: Path
    good: str
    failed: str
    cut: str
    not_json: str
    whole: str

    def file(self, file_id: str) -> str:
        run = self.good if file_id == self.whole else self.failed
        return f"file?{urlencode({'run_id': run, 'file_id': file_id})}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    path = tmp_path_factory.mktemp("dashboard") / "home"
    good = ok("run", "--home", path, "--today", "2010-06-30", "--json").document["run_id"]
    subprocess.run(
        [sys.executable, "-m", "ops_pipeline_tests.cli.failing_source", "IBM", "run", "--home", path, "--today", "2010-12-31"],
        cwd=PROJECT, env=environment(), check=False, capture_output=True,
    )  # fmt: skip
    service = OpsService(Warehouse(path / "ops.duckdb"))
    newest = service.list_runs(limit=1)[0].run_id
    assert newest != good
    files: dict[str, Any] = {f.ticker: f for f in service.run_files(newest, RunFilter(dataset=EOD))}
    cut = path / "bronze" / files["AAPL"].bronze_filename
    cut.write_bytes(cut.read_bytes()[:-40])
    (path / "bronze" / files["MSFT"].bronze_filename).write_bytes(gzip.compress(b"<script>alert(1)</script> 502 Bad Gateway"))
    whole = next(f for f in service.run_files(good, RunFilter(dataset=EOD, ticker="AAPL")))
    return Home(path, good, newest, files["AAPL"].file_id, files["MSFT"].file_id, whole.file_id)


@pytest.fixture(scope="module")
def base(home: Home) -> Iterator[str]:
    with served(home.path) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as it:
        yield it


def _addresses(home: Home) -> dict[str, str]:
    return {
        "": "Overview",
        "runs": "Runs",
        f"run?run_id={home.failed}": f"Run {home.failed[:8]}",
        f"run?run_id={home.failed}&tab=Timeline": f"Run {home.failed[:8]}",
        "coverage": "Coverage",
        f"partition?dataset={EOD}&ticker=AAPL": f"AAPL · {EOD}",
        "data": "Data",
        "quality": "Quality",
        "settings": "Settings",
        home.file(home.whole): f"File {home.whole[:8]}",
    }


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (375, "dark")])
def test_every_page_opens_at_every_width_and_can_be_read_by_everybody(
    browser: Browser, base: str, home: Home, width: int, scheme: Literal["light", "dark"]
) -> None:
    with window(browser, base, width, scheme) as view:
        for address, title in _addresses(home).items():
            view.open(address)
            assert view.page.locator("h1").first.inner_text() == title
            view.check()
            view.check_accessible()


def test_from_the_overview_to_the_file_that_failed_and_back_by_address(browser: Browser, base: str, home: Home) -> None:
    with window(browser, base) as view:
        view.open("")
        assert "the vendor does not answer for IBM" in view.text
        assert f"ops-pipeline retry {home.failed[:8]}" in view.text
        view.page.get_by_role("link", name=home.failed[:8]).first.click()
        view.says(f"Run {home.failed[:8]}")
        assert f"run_id={home.failed}" in view.page.url
        view.page.get_by_text("Errors", exact=True).click()
        view.says("What is left of this run is repaired by")
        assert "tab=Errors" in view.page.url
        view.page.get_by_role("link", name="open", exact=True).click()
        view.says("No answer is stored.")
        view.check()


def test_runs_are_filtered_and_the_address_remembers(browser: Browser, base: str, home: Home) -> None:
    with window(browser, base) as view:
        view.open("runs")
        assert home.good[:8] in view.text
        view.page.get_by_text("Only failures").click()
        view.page.get_by_role("link", name=home.good[:8]).wait_for(state="detached")
        view.drawn()
        assert "failed=true" in view.page.url
        shared = view.page.url
        view.page.goto(shared)
        view.drawn()
        assert home.failed[:8] in view.text
        assert home.good[:8] not in view.text
        view.page.get_by_label("Ticker").fill("NOBODY")
        view.page.get_by_label("Ticker").press("Enter")
        view.says("No run matches.")
        view.open("runs")
        day = view.page.locator(".op-year a").first
        assert re.search(r": 1 failed, .*; \d+ files in 2 runs", day.get_attribute("title") or "")
        day.click()
        view.page.wait_for_url("**dates=**")
        view.drawn()
        assert home.failed[:8] in view.text
        view.check()


def test_files_of_a_run_are_filtered_by_status(browser: Browser, base: str, home: Home) -> None:
    with window(browser, base) as view:
        view.open(f"run?run_id={home.failed}&status=failed")
        rows = view.page.locator(".op-table tbody tr")
        assert rows.count() == 1
        assert "IBM" in rows.first.inner_text()
        view.open(f"run?run_id={home.good[:6]}&ticker=AAPL&stage=silver")  # the beginning of an id will do
        assert view.page.locator(".op-table tbody tr").count() == 1
        view.open("run?run_id=nobody")
        assert "No run begins with nobody." in view.text
        view.check()


def test_a_raw_file_is_opened_and_paged(browser: Browser, base: str, home: Home) -> None:
    with window(browser, base) as view:
        view.open(home.file(home.whole))
        assert view.page.locator(".op-tree details").count() == 50
        view.page.locator(".op-tree summary").first.click()
        assert "symbol" in view.page.locator(".op-tree details[open]").first.inner_text()
        view.page.get_by_role("button", name="next →").click()
        view.says("records 51 to 100")
        assert "page=2" in view.page.url
        view.page.get_by_text("Ledger row", exact=True).click()
        view.says("bronze_payload_hash")
        view.check()


def test_a_broken_file_is_shown_as_far_as_it_goes(browser: Browser, base: str, home: Home) -> None:
    with window(browser, base) as view:
        view.open(home.file(home.cut))
        assert "damaged" in view.text
        assert '"symbol"' in view.page.locator("pre.op-text").inner_text()
        view.open(home.file(home.not_json))
        assert view.page.locator("pre.op-text").inner_text() == "<script>alert(1)</script> 502 Bad Gateway"
        view.check()


def test_a_point_tells_where_it_comes_from(browser: Browser, base: str, home: Home) -> None:
    with window(browser, base) as view:
        view.open(f"data?dataset={EOD}&series=AAPL&point=2010-06-14")
        view.says("Where 2010-06-14 comes from")
        assert home.good[:8] in view.text
        view.page.get_by_role("link", name=home.whole[:8]).first.click()
        view.says(f"File {home.whole[:8]}")
        view.open(f"data?dataset={EOD}&series=AAPL&point=2010-06-14")
        assert "2000-03-01 to 2010-06-30" in view.text  # what it was asked for, as `ops-pipeline explain` tells
        assert "close 254.28" in view.page.get_by_label("Values of the chosen point").inner_text()
        assert "2010-12-31" in view.page.locator(".op-note").first.inner_text()
        slider = view.page.get_by_role("slider")
        slider.focus()
        slider.press("Home")
        view.says("what was stored by then, and nothing that came later")
        assert "as_of=" in view.page.url
        view.page.goto(view.page.url)
        view.drawn()
        view.says("points, 2009-06-30 to 2010-06-30")
        view.check()
        view.check_accessible()
        view.open("data?dataset=sample.fx-rates&series=USD")
        view.says("Where 2010-12-31 comes from")
        view.check()


def test_coverage_leads_to_a_partition_and_its_watermark(browser: Browser, base: str, home: Home) -> None:
    with window(browser, base) as view:
        view.open("coverage?ticker=AAPL")
        view.page.locator(".op-heat a").first.click()
        view.says("The last day of the contiguous cover")
        assert view.page.locator(".op-table tbody tr").count() == 2
        view.open("partition?dataset=nonsense&ticker=%27%3B--")
        assert "The ledger knows no such partition." in view.text
        view.check()


def test_pages_are_read_while_a_run_writes_and_neither_stops_the_other(browser: Browser, base: str, home: Home) -> None:
    program = [sys.executable, "-m", "ops_pipeline", "run", "--home", str(home.path), "--today", "2013-03-01"]
    with window(browser, base) as view:
        run = subprocess.Popen(program, cwd=PROJECT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        seen = 0
        while seen < 2 or (run.poll() is None and seen < 6):
            view.open(("", "runs", "coverage", "data")[seen % 4])
            view.check()
            assert "held by" not in view.text
            seen += 1
        told, _ = run.communicate(timeout=300)
        assert run.returncode == 0, told.decode()
        view.open("coverage")
        while "2013-03-01" not in view.text:  # what was read is kept for three seconds
            view.page.wait_for_timeout(500)
            view.open("coverage")


def test_with_nothing_stored_every_page_says_what_to_run(browser: Browser, tmp_path: Path) -> None:
    with served(tmp_path / "nothing") as base, window(browser, base, 375) as view:
        for address in ("", "runs", "coverage", "data", "quality"):
            view.open(address)
            assert "ops-pipeline run" in view.text, address
            view.check()
        ok("migrate", "--apply", "--home", tmp_path / "nothing")
        for address in ("", "coverage"):
            view.open(address)
            assert "ops-pipeline run" in view.text, address
            view.check()
