"""Draws the README's pictures of the dashboard and of the Dagster UI, light and dark, from real runs in a fresh home.

Run it by `make pictures`. Runs of several days are made within minutes, so their times are spread over as many days afterwards.
Nothing else is touched up.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PIL import Image

from ops_pipeline.warehouse import Warehouse
from ops_pipeline_tests.dashboard.browser import chromium, served, window
from ops_pipeline_tests.defs.homes import EOD
from ops_pipeline_tests.defs.test_server import dagster_dev

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PICTURES = Path(__file__).parent
PROJECT = PICTURES.parents[1]
DAYS = ["2012-11-30", "2013-02-20", "2013-02-21", "2013-02-22", "2013-02-25", "2013-02-26", "2013-02-27", "2013-02-28"]
TODAY = "2013-02-28"
FAILS = {"2013-02-22": "GOOG,IBM", "2013-02-28": "FB"}
WIDTH = 1180
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")

SPREAD = """UPDATE ops.file_ingestions f SET {stage}_injest_{moment}_time = {stage}_injest_{moment}_time - to_days(d.days::INTEGER)
FROM days d WHERE d.run = f.{run}"""


def run(home: Path, day: str) -> None:
    """One run as at the end of a day, in which some tickers may fail."""
    program = [sys.executable, "-m", "ops_pipeline"]
    if day in FAILS:
        program = [sys.executable, "-m", "ops_pipeline_tests.cli.failing_source", FAILS[day]]
    environment = os.environ | {"OPS_PIPELINE_PUBLISH": "none"}
    subprocess.run(
        [*program, "run", "--home", str(home), "--today", day], cwd=PROJECT, check=False, capture_output=True, env=environment
    )


def spread(home: Path) -> None:
    """Moves each run to a day of its own, as far back as its pretended day is from the last one."""
    last = date.fromisoformat(DAYS[-1])
    with Warehouse(home / "ops.duckdb").transaction() as connection:
        runs = connection.execute(
            "SELECT run_id FROM ops.file_ingestions GROUP BY run_id ORDER BY min(bronze_injest_start_time)"
        ).fetchall()
        connection.execute("CREATE TEMP TABLE days (run TEXT, days INTEGER)")
        for (name,), day in zip(runs, DAYS, strict=True):
            connection.execute("INSERT INTO days VALUES (?, ?)", [name, (last - date.fromisoformat(day)).days])
        for stage, run_column in (("bronze", "run_id"), ("silver", "silver_run_id"), ("gold", "gold_run_id")):
            for moment in ("start", "end"):
                connection.execute(SPREAD.format(stage=stage, moment=moment, run=run_column))
        connection.execute("DROP TABLE days")


def draw_dashboard(browser: Browser, home: Path) -> None:
    """The pages that the README shows."""
    pages = {"overview": "", "data": f"data?dataset={EOD}&series=AAPL"}
    with served(home, OPS_PIPELINE_TODAY=TODAY) as base:
        for scheme in SCHEMES:
            with window(browser, base, WIDTH, scheme) as view:
                for name, address in pages.items():
                    view.open(address)
                    view.page.wait_for_timeout(1500)  # charts are drawn after the page
                    height = int(view.page.evaluate("document.querySelector('[data-testid=stMainBlockContainer]').scrollHeight"))
                    view.page.set_viewport_size({"width": WIDTH, "height": min(height, 860)})
                    view.page.wait_for_timeout(500)
                    view.check()
                    keep(view.page.screenshot(), f"dashboard-{name}-{scheme}.png")


def draw_dagster(browser: Browser, folder: Path) -> None:
    """One partition of the asset silver after it was materialized."""
    shutil.copy(PROJECT / "dagster.yaml", folder)
    (folder / "workspace.yaml").write_text(
        "load_from:\n  - python_module: {module_name: ops_pipeline_tests.defs.server_definitions, location_name: lake,"
        " working_directory: .}\n",
        encoding="utf-8",
    )
    home = folder / "home"
    home.mkdir()
    with dagster_dev(folder, home) as server:
        server.end_of(server.launch("__ASSET_JOB", tags={"dagster/partition": f"{EOD}|AAPL"}))
        for scheme in SCHEMES:
            context = browser.new_context(color_scheme=scheme, viewport={"width": WIDTH, "height": 760})
            page = context.new_page()
            page.add_init_script(f"localStorage.setItem('theme', JSON.stringify('{scheme.capitalize()}'))")
            page.goto(f"http://127.0.0.1:{server.port}/assets/silver?view=partitions&partition={EOD}%7CAAPL")
            page.get_by_text("newest_rows").first.wait_for(timeout=90_000)
            page.wait_for_timeout(1500)
            keep(page.screenshot(), f"dagster-{scheme}.png")
            context.close()


def keep(picture: bytes, name: str) -> None:
    """Stores a picture in 128 colours: a fifth of the size, and no difference that an eye sees."""
    path = PICTURES / name
    path.write_bytes(picture)
    with Image.open(path) as whole:
        small = whole.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def main() -> None:
    """Draws all of them."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        for day in DAYS:
            run(home, day)
        spread(home)
        with chromium() as browser:
            draw_dashboard(browser, home)
            served_by_dagster = Path(folder) / "dagster"
            served_by_dagster.mkdir()
            draw_dagster(browser, served_by_dagster)


if __name__ == "__main__":
    main()
