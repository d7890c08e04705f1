"""Reconcile: a home that nobody harmed has no finding, every kind of damage is told, and what is safe to mend is mended.

Belongs here: `maintenance.reconcile` and `maintenance.repair` over a small real home. Does not belong here: the asset check (`defs`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ops_pipeline.bronze.paths import partition_folder
from ops_pipeline.cli.app import app
from ops_pipeline.dashboard.repository import Repository
from ops_pipeline.dashboard.views.quality import _reconciled
from ops_pipeline.engine.context import Context
from ops_pipeline.engine.morning import look
from ops_pipeline.engine.replay import replay
from ops_pipeline.engine.run import new_run_id
from ops_pipeline.errors import BronzeError, DatabaseMissingError, UserError
from ops_pipeline.maintenance import packing
from ops_pipeline.maintenance.packing import pack, purge
from ops_pipeline.maintenance.reconcile import Reconciled, reconcile
from ops_pipeline.ops.ingestion import DatasetInjestion
from ops_pipeline.ops.migrations import discover
from ops_pipeline.ops.queries import miscounted_tables
from ops_pipeline.ops.reconcile_results import Kind, latest_reconcile
from ops_pipeline.settings import load_settings
from ops_pipeline.sources import Request
from ops_pipeline_tests.engine.home import (
    FEBRUARY,
    JANUARY,
    PRICES,
    RATES,
    asking,
    contents,
    key,
    ledger,
    make_home,
    run,
)
from ops_pipeline_tests.engine.vendor import Vendor, body, market, prices

NOW = timedelta(0)
OF_AAA = "ticker = 'AAA' AND promotion_kind = 'first' AND bronze_outcome = 'stored'"


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with restated, empty, unchanged, failed, refused, paged, packed, purged and replayed files, and some that stand alone."""
    folder = tmp_path_factory.mktemp("lived")
    context = make_home(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "LEAST_FILES", 2)
        run(context, today=JANUARY)
        run(asking(context, Vendor(_well)), key("DOWN"), today=JANUARY)
        assert purge(context, older_than=NOW).files == 1
        assert pack(context, older_than=NOW).files > 4
    run(context)
    for _ in range(2):
        run(context, key("AAA"), key("ODD"), full=True)
    replay(context, context.catalogue.recipe(PRICES), new_run_id())
    context.warehouse.checkpoint()
    outcomes = {row.bronze_outcome for row in ledger(context)}
    assert outcomes == {"stored", "unchanged", "empty", "failed"}
    return folder


async def _well(request: Request):  # type: ignore[no-untyped-def]
    from ops_pipeline.sources import Answer

    yield Answer(body(prices(request)), status_code=200)


@pytest.fixture
def home(lived: Path, tmp_path: Path) -> Context:
    shutil.copytree(lived, tmp_path / "home")
    return make_home(tmp_path / "home")


def kinds(found: Reconciled) -> dict[Kind, int]:
    return {r.kind: r.left for r in found.results if r.left}


def files_of(context: Context, where: str = OF_AAA) -> list[Path]:
    """Files that stand alone, oldest first."""
    names = [row.bronze_filename or "" for row in ledger(context, where)]
    return [context.settings.bronze_path / name for name in dict.fromkeys(names) if name and "#" not in name]


def execute(context: Context, *statements: str) -> None:
    with context.warehouse.transaction() as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_home_that_nobody_harmed_has_no_finding(home: Context) -> None:
    before = contents(home, lineage=True), ledger(home)
    done = reconcile(home, fix=True)
    assert done.found == []
    assert set(done.looked_at) == set(Kind)
    assert done.left_out == {Kind.DAMAGED: 0}
    assert min(done.looked_at[k] for k in (Kind.SCHEMA, Kind.UNNAMED, Kind.MISSING, Kind.DAMAGED, Kind.UNKNOWN)) > 4
    assert (contents(home, lineage=True), ledger(home)) == before
    replay(home, home.catalogue.recipe(RATES), new_run_id())
    run(home)
    assert reconcile(home, bodies=3).left_out[Kind.DAMAGED] == done.looked_at[Kind.DAMAGED] - 3


def test_a_file_that_is_gone_is_asked_for_again_and_silver_keeps_what_it_has(home: Context) -> None:
    before = contents(home)
    gone = files_of(home)
    for path in gone:
        path.unlink()
    found = reconcile(home)
    assert kinds(found) == {Kind.MISSING: len(gone)}
    assert "--fix` notes that it is gone" in found.left[0].repair
    assert {d.fixed for d in reconcile(home, fix=True).found} == {True}
    assert contents(home) == before
    assert reconcile(home).found == []
    with pytest.raises(UserError, match=r"rest on files whose bodies are gone.*ops-pipeline run"):
        replay(home, home.catalogue.recipe(PRICES), new_run_id())
    vendor = Vendor(market)
    assert run(asking(home, vendor), key("AAA"))[key("AAA")].kind in ("promoted", "unchanged")
    assert len(vendor.requests) == 1
    done = replay(home, home.catalogue.recipe(PRICES), new_run_id())
    assert done.comparison.replayed_rows == done.comparison.standing_rows
    assert reconcile(home).found == []
    with home.warehouse.reading() as connection:
        assert miscounted_tables(connection) == []


def test_an_answer_that_is_gone_before_it_was_promoted_is_a_failure_that_the_next_run_mends(home: Context) -> None:
    run(home, today=FEBRUARY + timedelta(days=1), layers=frozenset({"bronze"}))
    (waiting,) = ledger(home, "ticker = 'AAA' AND bronze_can_promote")
    (home.settings.bronze_path / (waiting.bronze_filename or "")).unlink()
    assert [d.fixed for d in reconcile(home, fix=True).found] == [True]
    (row,) = ledger(home, f"run_id = '{waiting.run_id}' AND ticker = 'AAA'")
    assert (row.bronze_outcome, row.bronze_can_promote, row.request_complete) == ("failed", False, False)
    assert run(home, key("AAA"), today=FEBRUARY + timedelta(days=1))[key("AAA")].kind == "promoted"
    assert reconcile(home).found == []


def test_a_container_that_is_gone_is_so_many_files_and_a_damaged_one_is_one_finding(home: Context) -> None:
    container = next(home.settings.bronze_path.rglob("prices/_packs/*.zip"))
    whole = container.read_bytes()
    container.write_bytes(whole[:200])
    assert kinds(reconcile(home)) == {Kind.DAMAGED: 1}
    container.unlink()
    gone = reconcile(home, fix=True)
    assert gone.results[list(Kind).index(Kind.MISSING)].fixed > 4
    assert reconcile(home).found == []


def test_of_a_folder_that_is_not_there_nothing_is_noted(home: Context) -> None:
    rates = home.settings.bronze_path / "fx" / "vendor" / "rates"
    rates.rename(home.settings.home / "away")
    before = ledger(home)
    done = reconcile(home, fix=True)
    assert kinds(done)[Kind.MISSING] >= 1
    assert all("mount its disk" in d.repair and not d.fixable for d in done.left)
    assert ledger(home) == before
    home.settings.bronze_path.rename(home.settings.home / "bronze-away")
    with pytest.raises(BronzeError, match="cannot be read"):
        reconcile(home)


def unrecorded(context: Context, run_id: str) -> DatasetInjestion:
    """A request of a run that stored its answer and recorded nothing."""
    request = Request("equities", "vendor", "prices", "-", "AAA", FEBRUARY, FEBRUARY + timedelta(days=1), (("n", "1"),))
    row = DatasetInjestion.open(request, run_id)
    context.service.ask([row], [context.catalogue.recipe(PRICES)])
    folder = partition_folder("equities", "vendor", "prices", "-", "AAA")
    context.store.store(folder=folder, file_id=row.file_id, body=body(prices(request)), extension="json", run_id=run_id)
    return row


def test_what_a_killed_run_left_is_taken_up_and_what_a_live_one_has_in_hand_is_let_alone(home: Context) -> None:
    (home.settings.bronze_path / ".tmp" / "killed").mkdir(parents=True)
    with ExitStack() as alive:
        alive.enter_context(home.leases.held("killed"))
        row = unrecorded(home, "killed")
        done = reconcile(home, fix=True)
        assert (done.found, done.running) == ([], ["killed"])
        (home.settings.bronze_path / ".tmp" / "other").mkdir()
        busy = reconcile(home, fix=True)
        assert (len(busy.left), "Runs are going on (killed" in (busy.not_mended or "")) == (1, True)
    (home.settings.bronze_path / ".tmp" / "killed" / "half").write_bytes(b"half")
    assert kinds(reconcile(home)) == {Kind.OPEN: 1, Kind.UNNAMED: 1, Kind.LEFTOVER: 2}
    assert kinds(reconcile(home, fix=True)) == {}
    assert [r.bronze_outcome for r in ledger(home, f"file_id = '{row.file_id}'")] == ["stored"]
    assert reconcile(home).found == []


def test_leftovers_go_when_nobody_has_touched_them_for_an_hour(home: Context) -> None:
    container = next(home.settings.bronze_path.rglob("prices/_packs/*.zip"))
    left = [container.with_name(f".{container.name}.part"), container.with_name(f"{container.name}.moving")]
    left.append(home.settings.database_path.with_name(f"{home.settings.database_path.name}.compacting"))
    for path in left:
        path.write_bytes(b"")
    assert reconcile(home, fix=True).found == []
    for path in left:
        os.utime(path, (time.time() - 7200, time.time() - 7200))
    done = reconcile(home, fix=True)
    assert [d.fixed for d in done.found] == [True] * 3
    assert [path for path in left if path.exists()] == []


def test_files_that_nobody_knows_are_told_and_let_alone(home: Context) -> None:
    known = files_of(home)[0]
    stranger, note = known.with_name("abc-0123456789abcdef.json.gz"), home.settings.bronze_path / "notes.txt"
    stranger.write_bytes(known.read_bytes())
    note.write_text("mine")
    done = reconcile(home, fix=True, bodies=0)
    assert kinds(done) == {Kind.UNNAMED: 2}
    assert done.looked_at[Kind.DAMAGED] == 0
    assert stranger.exists()
    assert note.exists()


def test_a_body_of_another_hash_is_told_kept_and_remembered(home: Context) -> None:
    path, *_ = files_of(home)
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    execute(
        home, "UPDATE ops.file_ingestions SET bronze_payload_hash = 'x' WHERE ticker = 'ODD' AND bronze_outcome = 'unchanged'"
    )
    done = reconcile(home, fix=True)
    assert kinds(done) == {Kind.DAMAGED: 2}
    assert {d.what for d in done.left} == {
        "Compressed file ended before the end-of-stream marker was reached",
        "the ledger has another hash: x",
    }
    assert path.exists()
    assert kinds(reconcile(home, bodies=0)) == {Kind.DAMAGED: 2}, "those that were found before are looked at in any case"
    [told] = [p for p in look(home).problems if p.repair == "reconcile"]
    assert (told.kind, "bodies of another hash: 2, first " in told.reason) == ("doubtful", True)
    home.settings.universe_path.write_text("datasets:\n  sample.fx-rates:\n")  # the dashboard's recipes are those of files
    page = _reconciled(Repository(load_settings(home=home.settings.home)).quality())
    cells = re.sub(r"<td[^>]*>", "|", page)
    assert f"|bodies of another hash</td>|{path.relative_to(home.settings.bronze_path)}</td>" in cells


def test_rows_of_an_unknown_file_are_told_and_a_replay_mends_them(home: Context) -> None:
    before = contents(home)
    tables = ["gold.fact_eod", "silver.rejected_rows", "silver.vendor_prices", "silver.vendor_prices_history"]
    for table in tables:
        execute(home, f"UPDATE {table} SET run_id = 'nobody' WHERE bronze_file_id = (SELECT min(bronze_file_id) FROM {table})")
    unknown = [d for d in reconcile(home, fix=True, bodies=0).left if d.kind is Kind.UNKNOWN]
    assert [d.where for d in unknown] == tables
    assert all("which the ledger does not know" in d.what and "ops-pipeline replay" in d.repair for d in unknown)
    replay(home, home.catalogue.recipe(PRICES), new_run_id())
    assert reconcile(home).found == []
    assert contents(home) == before


def test_counts_that_follow_from_file_and_history_are_counted_again(home: Context) -> None:
    before = ledger(home)
    # The latest promotions of that many files, each with a slip of its own.
    files = [row for row in before if row.promotion_kind == "replay"]
    slips = [
        ("created", 1),
        ("created", -1),
        ("unchanged", 2),
        ("failed", 1),
        ("superseded", 1),
        ("out_of_window", -1),
        ("updated", 1),
    ]
    assert len(files) >= len(slips)
    for row, (column, by) in zip(files, slips, strict=False):
        execute(
            home,
            f"UPDATE ops.file_ingestions SET silver_rows_{column} = silver_rows_{column} + {by}"
            f" WHERE run_id = '{row.run_id}' AND file_id = '{row.file_id}'",
        )
    done = reconcile(home, fix=True, bodies=0)
    assert len([d for d in done.found if "/" in d.where]) == len(slips)
    assert done.left == []
    assert ledger(home) == before
    execute(home, f"UPDATE ops.file_ingestions SET bronze_rows = bronze_rows + 1 WHERE file_id = '{files[0].file_id}'")
    assert not any(d.fixable for d in reconcile(home, bodies=0).found), "the file does not hold what the ledger says"


def test_rows_that_are_missing_are_told_though_counts_hide_them_and_a_replay_mends_them(home: Context) -> None:
    before = contents(home)
    execute(
        home,
        "DELETE FROM silver.vendor_prices WHERE ticker = 'AAA' AND date = DATE '2024-02-13'",
        "UPDATE ops.file_ingestions SET silver_rows_created = silver_rows_created - 1 WHERE silver_injest_end_time ="
        " (SELECT max(silver_injest_end_time) FROM ops.file_ingestions WHERE ticker = 'ODD' AND silver_rows_created > 0)",
    )
    done = reconcile(home, fix=True, bodies=0)
    assert [(d.where, d.fixed) for d in done.found][1:] == [("silver.vendor_prices", False)]
    assert done.found[0].fixed
    replay(home, home.catalogue.recipe(PRICES), new_run_id())
    assert reconcile(home).found == []
    assert contents(home) == before


def test_migrations_out_of_step(home: Context) -> None:
    for damage, undo in (
        ("SET checksum = 'x' WHERE version = 3", f"SET checksum = '{discover()[2].checksum}' WHERE version = 3"),
        ("SET version = 99 WHERE version = 11", "SET version = 11 WHERE version = 99"),
    ):
        execute(home, f"UPDATE ops.schema_migrations {damage}")
        found = reconcile(home, fix=True)
        assert [(d.kind, "ops.duckdb" in d.where, d.fixable) for d in found.found] == [(Kind.SCHEMA, True, False)]
        assert not found.is_whole
        with home.warehouse.connection(check_schema=False) as connection:
            connection.execute(f"UPDATE ops.schema_migrations {undo}")
    execute(home, "ALTER TABLE ops.file_ingestions RENAME COLUMN silver_hold TO hold")
    assert [(d.kind, d.where, d.fixable) for d in reconcile(home, fix=True).found] == [(Kind.SCHEMA, "silver_hold", False)]
    execute(home, "ALTER TABLE ops.file_ingestions RENAME COLUMN hold TO silver_hold")
    execute(home, "DROP TABLE ops.decisions", "DELETE FROM ops.schema_migrations WHERE version = 11")
    done = reconcile(home, fix=True)
    assert [(d.kind, d.where[:5], d.fixed) for d in done.found] == [(Kind.SCHEMA, "0011_", True)]
    assert done.is_whole


def test_a_table_that_is_gone_is_told_and_a_replay_makes_it(home: Context) -> None:
    before = contents(home)
    execute(home, "DROP TABLE silver.vendor_rates_history CASCADE")
    (one,) = reconcile(home).found
    assert (one.kind, one.where) == (Kind.SCHEMA, "silver.vendor_rates")
    replay(home, home.catalogue.recipe(RATES), new_run_id())
    assert reconcile(home).found == []
    assert contents(home) == before


def test_the_command(home: Context) -> None:
    def ops(*arguments: str, status: int = 0) -> str:
        done = CliRunner().invoke(app, ["reconcile", *arguments, "--home", str(home.settings.home)], catch_exceptions=False)
        assert done.exit_code == status, done.output
        return done.output

    assert "not looked at: the bodies of" in ops("--hashes", "none")
    (home.settings.bronze_path / ".tmp" / "killed").mkdir(parents=True)
    listed = ops("--hashes", "2", status=1)
    assert "half-written answers of a run that is over" in listed
    assert "mends what is safe" in listed
    assert "not looked at: the bodies of" in listed
    document = json.loads(ops("--fix", "--json"))
    assert (document["well"], [f["fixed"] for f in document["findings"]]) == (True, [True])
    assert {r["kind"] for r in document["results"]} == {kind.value for kind in Kind}
    assert "'some' is neither" in ops("--hashes", "some", status=2)
    with home.warehouse.reading() as connection:
        assert [r.findings for r in latest_reconcile(connection) if r.kind is Kind.LEFTOVER] == [1]


def test_without_a_database_it_says_what_to_do(tmp_path: Path) -> None:
    context = make_home(tmp_path)
    assert reconcile(context).found == []
    context.settings.database_path.unlink()
    with pytest.raises(DatabaseMissingError, match="ops-pipeline run"):
        reconcile(context)
