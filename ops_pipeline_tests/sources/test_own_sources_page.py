"""docs/own-sources.md: what it tells a user to type works as it stands."""

from __future__ import annotations

import re
import sqlite3
from datetime import date
from pathlib import Path

import pytest

from ops_pipeline.engine.context import build_context
from ops_pipeline.settings import load_settings
from ops_pipeline_tests.sources.own_home import rows, run

PAGE = (Path(__file__).parents[2] / "docs" / "own-sources.md").read_text("utf-8")
UNIVERSE = "datasets:\n  desk.eod-prices: [IBM]\n  archive.prices: [IBM, MSFT]\n"


def test_its_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks: dict[str, list[str]] = {}
    for language, text in re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL):
        blocks.setdefault(language, []).append(text)
    desk, archive = blocks["yaml"]
    for name, text in {
        "sources/desk.py": blocks["python"][0],
        "recipes/desk.yaml": desk,
        "recipes/archive.yaml": archive,
        "universe.yaml": UNIVERSE,
        "archive/prices/IBM.csv": "Date,Close\n2023-01-02,1.5\n",
        "archive/prices/MSFT.csv": "Date,Close\n2023-01-02,2.5\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    with sqlite3.connect("desk.db") as archived:
        archived.execute("CREATE TABLE prices (symbol, day, close)")
        archived.execute("INSERT INTO prices VALUES ('IBM', '2024-01-02', 161.5)")
    archived.close()
    context = build_context(load_settings(home=tmp_path))
    context.migrate(lambda _: None)
    assert {o.kind for o in run(context, today=date(2024, 1, 5)).values()} == {"promoted"}
    assert rows(context, "SELECT ticker, date::TEXT, close FROM silver.desk_eod_prices") == [("IBM", "2024-01-02", 161.5)]
    assert rows(context, "SELECT source, close FROM gold.fact_eod ORDER BY close") == [("archive", 1.5), ("archive", 2.5)]
