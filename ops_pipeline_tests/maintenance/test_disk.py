from __future__ import annotations

import os
import time
from pathlib import Path

from ops_pipeline.maintenance.disk import look
from ops_pipeline_tests.engine.home import JANUARY, PRICES, RATES, key, make_home, run

DAY = 86_400


def test_every_file_of_a_home_is_counted_once(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    run(home, today=JANUARY)
    (tmp_path / "bronze" / "stray").mkdir()
    (tmp_path / "bronze" / "stray" / "file").write_bytes(b"x" * 1000)
    report = look(home)
    assert set(report.datasets) == {PRICES, RATES, "other"}
    everything = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert sum(u.files for u in report.datasets.values()) == sum("bronze" in p.parts for p in everything)
    sizes = sum(u.size for u in report.datasets.values()) + report.database + report.log + report.rest
    assert sizes == sum(p.stat().st_size for p in everything)
    assert report.datasets["other"].size == 1000
    assert report.datasets[PRICES].body_size > report.datasets[PRICES].size > 0


def test_the_forecast_is_the_pace_of_the_last_days(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    run(home, key(), today=JANUARY)
    run(home, key())
    files = [p for p in (tmp_path / "bronze").rglob("*") if p.is_file()]
    for path in files:
        os.utime(path, (time.time() - 100 * DAY,) * 2)
    assert look(home).days_left is None
    os.utime(files[0], (time.time() - 5 * DAY,) * 2)
    report = look(home)
    usage = report.datasets[PRICES]
    assert (report.days, usage.new_files, usage.new_size) == (30, 1, files[0].stat().st_size)
    by_bytes = report.free * 30 / (usage.new_size * (1 + report.database / usage.size))
    by_files = report.free_files * 30 if report.free_files is not None else by_bytes
    assert report.days_left is not None
    assert abs(report.days_left / min(by_bytes, by_files) - 1) < 1e-6


def test_a_home_without_a_database(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    home.settings.database_path.unlink()
    report = look(home)
    assert report.datasets == {}
    assert report.database == 0
