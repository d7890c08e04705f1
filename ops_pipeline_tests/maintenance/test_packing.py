from __future__ import annotations

import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from ops_pipeline.bronze.packs import packed_name, unpacked_name
from ops_pipeline.engine.context import Context
from ops_pipeline.errors import BronzeError, DamagedFileError, UserError
from ops_pipeline.maintenance import packing
from ops_pipeline.maintenance.backup import back_up
from ops_pipeline.maintenance.packing import pack, purge
from ops_pipeline_tests.cli.command import PROJECT, environment
from ops_pipeline_tests.engine.home import JANUARY, contents, key, ledger, make_home, run

NOW = timedelta(0)


@pytest.fixture(autouse=True)
def _small_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "LEAST_FILES", 2)
    monkeypatch.setattr(packing, "MOST_FILES", 3)


def bodies(context: Context) -> dict[tuple[str, str], bytes]:
    return {row.key: context.store.read(row.bronze_filename) for row in ledger(context) if row.bronze_filename}


def on_disk(context: Context) -> list[str]:
    root = context.settings.bronze_path
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def named(context: Context) -> set[str]:
    return {row.bronze_filename.partition("#")[0] for row in ledger(context) if row.bronze_filename}


def test_packed_files_are_read_as_before_and_the_ledger_says_the_same_of_them(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    run(home, today=JANUARY)
    before, tables, files = bodies(home), contents(home, lineage=True), on_disk(home)
    rows = {row.key: row for row in ledger(home)}
    done = pack(home, older_than=NOW)
    assert done.files == len(files) - len([f for f in on_disk(home) if "_packs" not in f]) > 2
    assert done.containers >= 2
    assert bodies(home) == before
    assert set(on_disk(home)) == named(home)
    for row in ledger(home):
        was = rows[row.key]
        assert row.model_copy(update={"bronze_filename": None}) == was.model_copy(update={"bronze_filename": None})
        assert was.bronze_filename == unpacked_name(row.bronze_filename or "") or was.bronze_filename is None
    assert contents(home, lineage=True) == tables
    assert pack(home, older_than=NOW).files == 0


def test_silver_reads_out_of_containers(tmp_path: Path) -> None:
    plain, packed = make_home(tmp_path / "plain"), make_home(tmp_path / "packed")
    for home in (plain, packed):
        run(home, today=JANUARY, layers=frozenset({"bronze"}))
    assert pack(packed, older_than=NOW).files > 2
    for home in (plain, packed):
        run(home, today=JANUARY)
        run(home)
    assert contents(packed) == contents(plain)


def test_only_what_is_old_enough(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    run(home, today=JANUARY)
    before = on_disk(home)
    assert pack(home, older_than=timedelta(days=1)).files == 0
    assert on_disk(home) == before


def test_a_backup_and_a_restore_know_containers(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    run(home, today=JANUARY)
    pack(home, older_than=NOW)
    made = back_up(home, tmp_path / "backups")
    assert made.bronze_missing_count == 0
    mirror = tmp_path / "backups" / "bronze"
    assert sorted(p.relative_to(mirror).as_posix() for p in mirror.rglob("*") if p.is_file()) == on_disk(home)


def test_a_damaged_file_stays_where_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    home = make_home(tmp_path)
    run(home, today=JANUARY)
    name = next(row.bronze_filename for row in ledger(home) if row.bronze_filename)
    (tmp_path / "bronze" / name).write_bytes(b"broken")
    assert pack(home, older_than=NOW).files > 0
    assert name in on_disk(home)
    assert name in caplog.text


def test_a_container_that_is_damaged_or_gone_is_a_sentence(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    run(home, today=JANUARY)
    pack(home, older_than=NOW)
    name = next(row.bronze_filename for row in ledger(home) if row.bronze_filename and "#" in row.bronze_filename)
    container = tmp_path / "bronze" / name.partition("#")[0]
    with pytest.raises(DamagedFileError, match=r"restore .* from a backup"):
        home.store.read(f"{name.partition('#')[0]}#AAA/abc-0123456789abcdef.json.gz")
    container.write_bytes(b"no container")
    for look in (home.store.read, make_home(tmp_path).store.path):
        with pytest.raises(DamagedFileError, match=r"restore .* from a backup"):
            look(name)
    container.unlink()
    with pytest.raises(BronzeError, match=r"restore it from a backup"):
        home.store.read(name)


@pytest.mark.parametrize("name", ["a/b/_packs/x.zip#../../c-0123456789abcdef.json.gz", "../x.zip#A/c-0123456789abcdef.json.gz"])
def test_no_name_leads_out_of_the_bronze_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(BronzeError):
        make_home(tmp_path).store.path(name)


def test_names_there_and_back() -> None:
    container = "equities/vendor/prices/_packs/2024-01-ab.zip"
    assert packed_name(container, "equities/vendor/prices/AAA/f.json.gz") == f"{container}#AAA/f.json.gz"
    assert unpacked_name(f"{container}#AAA/f.json.gz") == "equities/vendor/prices/AAA/f.json.gz"


def test_nothing_is_moved_under_a_run_that_goes_on(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    run(home, today=JANUARY)
    before, files = ledger(home), set(on_disk(home))
    for work in (pack, purge):
        with home.leases.held("a-run"), pytest.raises(UserError, match="a-run"):
            work(home, older_than=NOW)
    assert ledger(home) == before
    assert files <= set(on_disk(home))
    pack(home, older_than=NOW)
    assert set(on_disk(home)) == named(home)


KILLED = """
import os, signal, sys
from datetime import timedelta
from pathlib import Path
from ops_pipeline.bronze import packs
from ops_pipeline.engine.context import build_context
from ops_pipeline.maintenance import packing
from ops_pipeline.ops import names
from ops_pipeline.settings import load_settings

def kill(*_): os.kill(os.getpid(), signal.SIGKILL)
where = sys.argv[2]
packing.LEAST_FILES, packing.MOST_FILES = 2, 3
if where == "written":
    packing.sync = kill
elif where == "named":
    packing._delete = kill
elif where == "half deleted":
    real = Path.unlink
    def unlink(path, missing_ok=False):
        real(path, missing_ok=missing_ok)
        if path.name.endswith(".gz"):
            kill()
    Path.unlink = unlink
packing.pack(build_context(load_settings(home=Path(sys.argv[1]))), older_than=timedelta(0))
"""


@pytest.mark.parametrize("where", ["written", "named", "half deleted"])
def test_killed_nothing_is_lost_and_the_next_packing_cleans_up(tmp_path: Path, where: str) -> None:
    home = make_home(tmp_path)
    run(home, today=JANUARY)
    before = bodies(home)
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), where], env=environment(), cwd=PROJECT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert bodies(home) == before
    assert set(on_disk(home)) > named(home)
    done_again = pack(home, older_than=NOW)
    assert (done_again.finished > 0) == (where != "written")
    assert bodies(home) == before
    assert set(on_disk(home)) == named(home)
    assert {outcome.kind for outcome in run(home, key()).values()} == {"promoted"}


def test_bodies_of_errors_go_when_a_good_answer_came_and_the_rows_say_so(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    run(home, today=JANUARY)
    failed = [row for row in ledger(home) if row.bronze_error and row.bronze_filename]
    assert failed, "the market has a ticker that answers with an error"
    assert purge(home, older_than=NOW).files == 0, "no good answer has come yet"
    good = failed[0].model_copy(
        update={"run_id": "later", "bronze_filename": None, "bronze_error": None, "request_complete": True}
    )
    good.bronze_outcome = "empty"
    assert failed[0].bronze_injest_end_time is not None
    good.bronze_injest_end_time = failed[0].bronze_injest_end_time + timedelta(hours=1)
    home.service.record_file_ingestion(good)
    assert purge(home, older_than=timedelta(days=1)).files == 0
    done = purge(home, older_than=NOW)
    assert (done.files, done.rows) == (1, 1)
    assert done.bytes > 0
    row = next(r for r in ledger(home) if r.key == failed[0].key)
    assert row.bronze_purged_at is not None
    assert not (tmp_path / "bronze" / (row.bronze_filename or "")).exists()
    assert row.bronze_payload_hash == failed[0].bronze_payload_hash
    assert purge(home, older_than=NOW).files == 0
    assert back_up(home, tmp_path.parent / "backups").bronze_missing_count == 0


def test_a_bronze_folder_that_is_not_there_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    run(home, today=JANUARY)
    before = ledger(home)
    (tmp_path / "bronze").rename(tmp_path / "away")
    for work in (pack, purge):
        with pytest.raises(BronzeError, match="put it back"):
            work(home, older_than=NOW)
    assert ledger(home) == before
