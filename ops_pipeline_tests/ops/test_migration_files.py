"""Migration files: names, order, checksums, statements and their conditions."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ops_pipeline
from ops_pipeline.errors import MigrationError
from ops_pipeline.ops.migration_files import Migration, discover, latest_version, migrations_folder, statements


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name.removeprefix('m')}.sql").write_text(text)
    return folder


def split(sql: str) -> list[tuple[str, tuple[str, ...]]]:
    with duckdb.connect() as con:
        return [(s.statement.query, s.conditions) for s in statements(Migration(1, "x", sql, ""), con)]


def test_the_project_has_valid_migrations() -> None:
    found = discover()
    assert found[0].filename == "0001_create_ops_file_ingestions.sql"
    assert latest_version() == len(found)
    with duckdb.connect() as con:
        for migration in found:
            assert statements(migration, con)


def test_the_folder_of_the_checkout_is_found() -> None:
    assert migrations_folder() == Path(__file__).resolve().parents[2] / "migrations"


def test_an_installed_package_brings_its_own_migrations(tmp_path: Path) -> None:
    package = Path(ops_pipeline.__file__).parent
    site = tmp_path / "site-packages"
    shutil.copytree(package, site / "ops_pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(migrations_folder(), site / "ops_pipeline" / "_migrations")
    write(site / "migrations", m0001_of_another_package="SELECT 1;")
    program = "from ops_pipeline.ops.migration_files import discover; print([m.filename for m in discover()])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=site,
        env={**os.environ, "PYTHONPATH": str(site)},
    )
    assert done.stdout.strip() == str([m.filename for m in discover()])


@given(versions=st.lists(st.integers(0, 6), max_size=6), data=st.data())
@settings(max_examples=60, deadline=None)
def test_only_numbers_from_one_without_gap_or_duplicate_are_accepted(versions: list[int], data: st.DataObject) -> None:
    names = [data.draw(st.from_regex(r"[a-z][a-z0-9]{0,3}(_[a-z0-9]{1,3})?", fullmatch=True)) for _ in versions]
    files = {f"{version:04d}_{name}.sql" for version, name in zip(versions, names, strict=True)}
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            Path(folder, file).write_text(f"SELECT '{file}';")
        numbers = sorted(int(file[:4]) for file in files)
        if files and numbers == list(range(1, len(files) + 1)):
            assert [m.filename for m in discover(Path(folder))] == sorted(files)
        else:
            with pytest.raises(MigrationError):
                discover(Path(folder))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"m0001_a": "SELECT 1;", "m0003_c": "SELECT 1;"}, ["0002 is missing", "0001_a.sql", "0003_c.sql"]),
        ({"m0002_b": "SELECT 1;"}, ["0001 is missing", "0002_b.sql"]),
        ({"m0000_z": "SELECT 1;", "m0001_a": "SELECT 1;"}, ["0001 is missing", "0000_z.sql"]),
        ({"m0001_a": "SELECT 1;", "m0001_b": "SELECT 1;"}, ["0001_a.sql and 0001_b.sql", "same number"]),
        ({"m0001_a": "SELECT 1;", "mindexes": "SELECT 1;"}, ["indexes.sql", "not named"]),
        ({"m1_a": "SELECT 1;"}, ["1_a.sql", "not named"]),
        ({"m0001_A": "SELECT 1;"}, ["0001_A.sql", "not named"]),
        ({"m0001_a": " \n"}, ["0001_a.sql is empty"]),
        ({}, ["holds no migration"]),
    ],
)
def test_a_folder_that_is_not_in_order_is_refused_by_name(tmp_path: Path, files: dict[str, str], words: list[str]) -> None:
    with pytest.raises(MigrationError) as caught:
        discover(write(tmp_path / "m", **files))
    for word in words:
        assert word in str(caught.value)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="cannot be read"):
        discover(tmp_path / "nowhere")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_bytes(b"SELECT '\xff';")
    with pytest.raises(MigrationError, match="not UTF-8"):
        discover(tmp_path)


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path, m0001_a="SELECT 1;")
    for name in ("README.md", "._0001_a.sql", ".0001_a.sql.swp"):
        (tmp_path / name).write_text("x")
    assert [m.name for m in discover(tmp_path)] == ["a"]


def test_line_endings_and_byte_order_marks_are_no_edit(tmp_path: Path) -> None:
    found = []
    for i, raw in enumerate([b"SELECT 1;\nSELECT 2;\n", b"SELECT 1;\r\nSELECT 2;\r\n", b"\xef\xbb\xbfSELECT 1;\rSELECT 2;\r"]):
        folder = tmp_path / str(i)
        folder.mkdir()
        (folder / "0001_a.sql").write_bytes(raw)
        found.append(discover(folder)[0])
    assert len(set(found)) == 1
    assert found[0].checksum == hashlib.sha256(b"SELECT 1;\nSELECT 2;\n").hexdigest()


def test_statements_are_split_as_duckdb_reads_them() -> None:
    sql = "-- a; comment\nSELECT ';' AS a; /* ; */ SELECT $$;$$;\n\n-- end;\n"
    assert [query.split("SELECT")[1] for query, _ in split(sql)] == [" ';' AS a", " $$;$$;\n\n-- end;\n"]


def test_conditions_belong_to_the_statement_behind_them() -> None:
    sql = (
        '-- Here "-- when: x" is prose.\n\n--when: SELECT true\nDROP TABLE a;\nDROP TABLE b;\n'
        "-- why\n  -- WHEN : SELECT 1 = 1\n\n-- when: SELECT 2 = 2\n-- so\nDROP TABLE c;"
    )
    assert [conditions for _, conditions in split(sql)] == [("SELECT true",), (), ("SELECT 1 = 1", "SELECT 2 = 2")]


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE a; -- when: SELECT false\n",
        "DROP TABLE a; -- when: SELECT false\nDROP TABLE b;",
        "DROP TABLE a;\n-- when: SELECT false\n",
        "DROP TABLE\n-- when: SELECT false\na;",
        "/* why */\n-- when: SELECT false\nDROP TABLE a;",
        "-- when:\nDROP TABLE a;",
    ],
)
def test_a_condition_that_would_be_passed_over_is_refused(sql: str) -> None:
    with pytest.raises(MigrationError, match=r"0001_x\.sql"):
        split(sql)


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("CREATE TABLE a (x INT);\nCOMMIT;", "Statement 2 of migration 0001_x.sql begins or ends a transaction"),
        ("-- nothing yet\n", "0001_x.sql holds no statement"),
        ("CREATE TABLE a (x INT); CREAT TABLE b;", "0001_x.sql is not valid SQL, nothing was changed: Parser Error"),
    ],
)
def test_text_that_cannot_be_one_transaction_is_refused(sql: str, words: str) -> None:
    with pytest.raises(MigrationError, match=words):
        split(sql)
