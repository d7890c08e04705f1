"""`ops-pipeline publish`, and what a run publishes by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ops_pipeline import read
from ops_pipeline_tests.cli.command import TABLES, ok, refused, rows


def test_a_run_publishes_and_the_command_finds_nothing_left_to_do(whole_home: Path, copy_of: Callable[[Path], Path]) -> None:
    with read.lake(whole_home) as lake:
        counted = {table.name: table.rows for table in lake.tables()}
    assert {name: counted[name] for name in TABLES} == {
        name: rows(whole_home, f"SELECT count(*) AS n FROM {name}")[0]["n"] for name in TABLES
    }
    home = copy_of(whole_home)
    moved = ok("publish", "--home", home, "--json").document
    assert moved["created"]  # the copy stands elsewhere, and its views name the files where they are
    assert moved["written"] == {"files": 0, "rows": 0, "bytes": 0}
    assert Path(moved["folder"]).is_dir()
    assert Path(moved["views"]).is_file()
    again = ok("publish", "--home", home)
    assert f"nothing changed since {moved['version']}" in again.out
    whole = ok("publish", "--home", home, "--whole")
    assert "0 shared with the version before" in whole.out


def test_what_cannot_be_published_is_told(tmp_path: Path, whole_home: Path) -> None:
    assert "ops-pipeline run" in refused("publish", "--home", tmp_path / "nothing")
    assert "name what is to be published" in refused("publish", "--home", whole_home, env={"OPS_PIPELINE_PUBLISH": "none"})
    assert "OPS_PIPELINE_PUBLISH has the value 'sliver'" in refused("runs", env={"OPS_PIPELINE_PUBLISH": "sliver"})
