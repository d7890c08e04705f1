"""What the user must change: one sentence on standard error, exit status 2, nothing half-written."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ops_pipeline.warehouse import Warehouse
from ops_pipeline_tests.cli.command import ok, ops, refused, rows, tree


@dataclass(frozen=True)
class Case:
    """A command in a folder `home` that was prepared, and what its sentence must name."""

    arguments: tuple[str, ...]
    names: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)


def _recipe(text: str) -> dict[str, str]:
    return {"home/recipes/mine.yaml": text}


def _universe(text: str) -> dict[str, str]:
    return {"home/universe.yaml": text}


RUN = ("run", "--home", "home")
CASES = {
    "unknown dataset": Case((*RUN, "--dataset", "sample.nope"), ("'sample.nope'", "sample.eod-prices")),
    "dataset not wanted": Case(
        (*RUN, "--dataset", "sample.fx-rates"),
        ("home/universe.yaml", "ops-pipeline universe add --dataset sample.fx-rates"),
        _universe("datasets:\n  sample.eod-prices: [AAPL]\n"),
    ),
    "ticker not wanted": Case((*RUN, "--ticker", "^GSPC"), ("^GSPC", "ops-pipeline universe add '^GSPC'")),
    "ticker of another dataset": Case((*RUN, "--dataset", "sample.fx-rates", "--ticker", "AAPL"), ("sample.fx-rates", "as a whole")),
    "nothing wanted": Case(RUN, ("home/universe.yaml", "ops-pipeline universe add"), _universe("datasets: {}\n")),
    "tickers file that is not there": Case((*RUN, "--tickers-file", "wanted.txt"), ("wanted.txt",)),
    "tickers file without ticker": Case((*RUN, "--tickers-file", "wanted.txt"), ("wanted.txt",), {"wanted.txt": "# none\n"}),
    "span upside down": Case((*RUN, "--from", "2010-01-02", "--to", "2010-01-01"), ("2010-01-02", "2010-01-01")),
    "full and a part": Case((*RUN, "--full", "--from", "2010-01-02"), ("--full", "--from")),
    "lookback and a part": Case((*RUN, "--lookback", "3", "--full"), ("--lookback",)),
    "universe that is no YAML": Case(RUN, ("home/universe.yaml", "not valid YAML"), _universe("datasets: [")),
    "universe with an unknown dataset": Case(RUN, ("home/universe.yaml", "'sample.x'"), _universe("datasets: {sample.x: [A]}")),
    "universe with a bad ticker": Case(
        RUN, ("home/universe.yaml", "sample.eod-prices", "'A|B'"), _universe('datasets: {sample.eod-prices: ["A|B"]}')
    ),
    "recipe that is no YAML": Case(RUN, ("mine.yaml", "line 2"), _recipe("source: sample\nrecipes: {]\n")),
    "recipe without fields": Case(RUN, ("mine.yaml", "sample.x", "mode"), _recipe("source: sample\nrecipes: [{dataset: x}]\n")),
    "recipe of an unknown source": Case(RUN, ("mine.yaml", "'nobody'"), _recipe("source: nobody\nrecipes: []\n")),
    "setting that is no number": Case(RUN, ("OPS_PIPELINE_CONCURRENCY", "'zero'"), env={"OPS_PIPELINE_CONCURRENCY": "zero"}),
    "setting out of range": Case(RUN, ("OPS_PIPELINE_SCHEDULE_HOUR", "'24'"), env={"OPS_PIPELINE_SCHEDULE_HOUR": "24"}),
    "setting that is no day": Case(RUN, ("OPS_PIPELINE_TODAY",), env={"OPS_PIPELINE_TODAY": "soon"}),
    "data folder below a file": Case(("run", "--home", "file/home"), ("file/home",), {"file": "in the way"}),
    "database that is none": Case(RUN, ("home/ops.duckdb", "OPS_PIPELINE_DATABASE"), {"home/ops.duckdb": "a text file\n" * 1000}),
    "database that is a folder": Case(RUN, ("home/ops.duckdb",), {"home/ops.duckdb/file": "in the way"}),
    "migrations forbidden": Case(RUN, ("ops-pipeline migrate --apply",), env={"OPS_PIPELINE_AUTO_MIGRATE": "false"}),
    "no database to list": Case(("runs", "--home", "home"), ("home/ops.duckdb", "ops-pipeline run")),
    "no database to show": Case(("show", "last", "--home", "home"), ("home/ops.duckdb", "ops-pipeline run")),
    "no database to cover": Case(("coverage", "--home", "home"), ("home/ops.duckdb",)),
    "no database to ask": Case(("sql", "SELECT 1", "--home", "home"), ("home/ops.duckdb",)),
    "dataset to show": Case(("datasets", "show", "sample.x"), ("'sample.x'", "sample.fx-rates")),
    "nothing to add": Case(("universe", "add", "--home", "home"), ("--dataset",)),
    "bad ticker to add": Case(("universe", "add", "A|B", "--home", "home"), ("'A|B'",)),
    "unknown dataset to add to": Case(("universe", "add", "A", "--dataset", "sample.x", "--home", "home"), ("'sample.x'",)),
    "nothing to remove": Case(("universe", "remove", "--home", "home"), ("home/universe.yaml",)),
    "ticker to remove": Case(("universe", "remove", "AAPL", "NOPE", "--home", "home"), ("NOPE",)),
    "home that holds something": Case(("init", "home"), ("home/universe.yaml",), _universe("datasets: {}\n")),
    "home below a file": Case(("init", "file/home"), ("file/home",), {"file": "in the way"}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_one_sentence_names_what_to_change(tmp_path: Path, case: Case) -> None:
    for name, text in case.files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    before = tree(tmp_path)
    message = refused(*case.arguments, cwd=tmp_path, env=case.env)
    for name in case.names:
        assert name in message
    after = tree(tmp_path)
    assert {name: after.get(name) for name in before} == before
    new = {Path(name).name for name in after.keys() - before.keys()}
    # Locks are taken before a database can be found out to be none.
    assert new <= {"ops.duckdb.lock", "ops.duckdb.turnstile"}


def test_a_bronze_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    answer = ops("run", "--home", "home", "--ticker", "IBM", cwd=tmp_path, env={"OPS_PIPELINE_BRONZE_ROOT": "file/bronze"})
    assert answer.status == 2
    last = answer.err.splitlines()[-1]
    assert last.startswith("error: ")
    assert "OPS_PIPELINE_BRONZE_ROOT" in last
    assert "Traceback" not in answer.err
    # The database was made by then; nothing in it waits for what was never stored.
    assert ok("run", "--home", "home", "--ticker", "IBM", "--json", cwd=tmp_path).document["keys"] == {"promoted": 1}


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--from", "01/02/2010"),
        ("run", "--today", "2010-02-30"),
        ("run", "--layer", "platinum"),
        ("run", "--lookback", "-1"),
        ("show", "last", "--status", "lost"),
        ("runs", "--limit", "0"),
        ("nope",),
        ("universe", "nope"),
        ("run", "AAPL"),
        ("sql",),
    ],
    ids=" ".join,
)
def test_wrong_usage_has_the_same_status(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    answer = ops(*arguments, cwd=tmp_path)
    assert answer.status == 2
    assert answer.out == ""
    assert "Usage:" in answer.err
    assert "Traceback" not in answer.err
    assert tree(tmp_path) == {}


def test_a_database_that_another_program_holds_is_named_with_its_process(
    whole_home: Path, copy_of: Callable[[Path], Path]
) -> None:
    home = copy_of(whole_home)
    script = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, str(home / "ops.duckdb")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        message = refused("run", "--home", home, env={"OPS_PIPELINE_DATABASE_WAIT_SECONDS": "0.2"})
        assert f"process {holder.pid}" in message
        holder.communicate()
    ok("run", "--home", home, "--ticker", "IBM")


def test_a_full_disk_ends_the_run_with_one_sentence_and_the_next_one_goes_on(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount is None or umount is None:
        pytest.skip("there is no mount command here")
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"a file system cannot be mounted here: {made.stderr.strip()}")
    try:
        about = ("run", "--home", disk / "home", "--today", "2013-03-01")
        answer = ops(*about)
        assert answer.status == 2
        assert "Traceback" not in answer.err
        last = answer.err.splitlines()[-1]
        assert last.startswith("error: ")
        assert "full" in last or "space" in last.lower()
        assert rows(disk / "home", "SELECT count(*) AS n FROM silver.rejected_rows") == [{"n": 0}]
        subprocess.run([mount, "-o", "remount,size=300m", str(disk)], check=True)
        again = ops(*about, "--json")
        assert again.status == 0, again.err
        assert set(again.document["keys"]) <= {"promoted", "up_to_date", "unchanged"}
        counted = rows(disk / "home", "SELECT count(*) AS n FROM silver.sample_eod_prices")
        assert counted == [{"n": 3270 * 3 + 2148 + 196}]
    finally:
        subprocess.run([umount, str(disk)], check=True)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("SELECT", ("Parser Error",)),
        ("SELECT * FROM ops.nope", ("Catalog Error", "nope")),
        ("SELECT 1; SELECT 2", ("one query",)),
        ("CREATE TABLE gold.mine AS SELECT 1", ("only reads",)),
        ("DELETE FROM ops.file_ingestions", ("only reads",)),
        ("COPY ops.file_ingestions TO 'out.csv'", ("only reads",)),
        ("ATTACH 'other.duckdb'", ("only reads",)),
        ("", ("one query",)),
        ("SELECT 'a'::INTEGER", ("Conversion Error",)),
        ("SELECT ?", ("Invalid Input Error",)),
    ],
)
def test_a_query_that_fails_or_would_write(whole_home: Path, tmp_path: Path, query: str, names: tuple[str, ...]) -> None:
    message = refused("sql", query, "--home", whole_home, cwd=tmp_path)
    assert all(name in message for name in names), message
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("show", "zzz"), ("'zzz'", "ops-pipeline runs")),
        (("runs", "--dataset", "nope"), ("'nope'", "sample.eod-prices")),
        (("coverage", "--dataset", "sample.nope"), ("'sample.nope'",)),
        (("show", "last", "--dataset", "sample.nope"), ("'sample.nope'",)),
        (("runs", "--since", "2020-01-02", "--until", "2020-01-01"), ("--since", "--until")),
    ],
)
def test_a_filter_that_can_match_nothing(whole_home: Path, arguments: tuple[str, ...], names: tuple[str, ...]) -> None:
    message = refused(*arguments, "--home", whole_home)
    assert all(name in message for name in names), message


def test_an_abbreviation_must_be_unambiguous(whole_home: Path, copy_of: Callable[[Path], Path]) -> None:
    home = copy_of(whole_home)
    with Warehouse(home / "ops.duckdb").transaction() as connection:
        connection.execute("UPDATE ops.file_ingestions SET run_id = 'abc-1', silver_run_id = 'abc-2', gold_run_id = 'abc-1'")
    assert "abc-1, abc-2" in refused("show", "abc", "--home", home)
    assert ops("show", "abc-1", "--home", home, "--json").document["run"]["run_id"] == "abc-1"
