"""The check that compares files, ledger and tables: made weekly and by hand, and told at the end of each run."""

from __future__ import annotations

import dagster as dg

from ops_pipeline.defs.checks import RECONCILES
from ops_pipeline_tests.defs.homes import EOD, Lake
from ops_pipeline_tests.defs.test_checks import by_hand


def test_the_weekly_schedule_makes_the_check_and_what_it_finds_is_an_error_until_it_is_mended(lake: Lake) -> None:
    result = lake.batch(partitions=[f"{EOD}|IBM"])
    assert ("bronze", RECONCILES) not in lake.checks(result)
    weekly = lake.defs.resolve_schedule_def("weekly")
    assert (weekly.cron_schedule, weekly.job_name) == ("0 12 * * 0", "reconcile")
    made = lake.defs.resolve_job_def("reconcile").execute_in_process(instance=lake.instance)
    [sound] = made.get_asset_check_evaluations()
    assert (sound.check_name, sound.passed) == (RECONCILES, True)
    (path,) = lake.context.settings.bronze_path.rglob("*.gz")
    path.rename(path.with_name("gone"))
    found = by_hand(lake, "bronze", RECONCILES)
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "names the file, and it is gone. To do: restore it from a backup" in str(found.metadata["first"].value)
    assert found.metadata["findings"].value == 2
    path.with_name("gone").rename(path)
    (lake.context.settings.bronze_path / ".tmp" / "killed").mkdir(parents=True)
    found = by_hand(lake, "bronze", RECONCILES)
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    told = lake.checks(lake.batch(partitions=[f"{EOD}|IBM"]))["bronze", RECONCILES]
    assert told.metadata["first"] == found.metadata["first"], "a run tells the newest comparison, and makes none"
