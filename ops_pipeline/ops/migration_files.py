"""Migrations as files: where they lie, how they are named, and which statements they hold.

Belongs here: reading and judging `NNNN_name.sql` files. Does not belong here: what a database has recorded, and running a
statement (`ops.migrations`).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import duckdb

from ops_pipeline.errors import MigrationError

_PACKAGE = Path(__file__).resolve().parents[1]
_FIRST_FILE = "0001_create_ops_file_ingestions.sql"
_FILE_NAME = re.compile(r"(?P<version>[0-9]{4})_(?P<name>[a-z0-9]+(?:_[a-z0-9]+)*)\.sql")
_DIRECTIVE = re.compile(r"[ \t]*--[ \t]*when[ \t]*:(?P<query>.*)", re.IGNORECASE)
# What a reader of the file takes for a directive: at the start of a line, or right behind the end of a statement.
_LOOKS_LIKE_DIRECTIVE = re.compile(r"(?:^|;)[ \t]*--[ \t]*when[ \t]*:", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered SQL file.

    Attributes:
        version: its number, from 1 and without gaps.
        name: what follows the number in the file's name.
        sql: its text with line feeds as line endings.
        checksum: sha256 (hex) of `sql`, so that a checkout with other line endings is the same migration.
    """

    version: int
    name: str
    sql: str
    checksum: str

    @property
    def filename(self) -> str:
        """The file's name."""
        return f"{self.version:04d}_{self.name}.sql"


@dataclass(frozen=True, slots=True)
class MigrationStatement:
    """One statement of a migration, and the queries that must all return true for it to run."""

    number: int
    statement: duckdb.Statement
    conditions: tuple[str, ...]


def migrations_folder() -> Path:
    """Returns the folder of the project's own migrations: `migrations/` of a checkout, else the packaged copy.

    Raises:
        MigrationError: when neither is there.
    """
    # An installed package's parent is site-packages, where another package may have left a folder of that name: hence the file.
    for folder in (_PACKAGE.parent / "migrations", _PACKAGE / "_migrations"):
        if (folder / _FIRST_FILE).is_file():
            return folder
    raise MigrationError(f"No migrations were found beside or in {_PACKAGE}: the installation is incomplete, install it again.")


def discover(folder: Path | None = None) -> tuple[Migration, ...]:
    """Reads the migrations of a folder in the order of their numbers, passing over hidden files and those that are not `.sql`.

    Raises:
        MigrationError: on a gap, a number used twice, a wrong file name, an empty or unreadable file, or no migration at all.
    """
    folder = migrations_folder() if folder is None else folder
    try:
        files = sorted(f for f in folder.iterdir() if f.suffix.lower() == ".sql" and not f.name.startswith(".") and f.is_file())
        found = [_read(file) for file in files]
    except OSError as e:
        raise MigrationError(f"The migrations in {folder} cannot be read: {e}.") from e
    if not found:
        raise MigrationError(f"The folder {folder} holds no migration: install the package again, or check the checkout.")
    for expected, migration in enumerate(found, start=1):
        if migration.version == expected:
            continue
        if expected > 1 and migration.version == expected - 1:
            other = found[expected - 2].filename
            raise MigrationError(f"{other} and {migration.filename} in {folder} have the same number: renumber the newer one.")
        before = f"{found[expected - 2].filename} is followed by" if expected > 1 else "the first migration is"
        raise MigrationError(
            f"Migration {expected:04d} is missing in {folder}: {before} {migration.filename};"
            " restore the file, or renumber what follows."
        )
    return tuple(found)


def latest_version(folder: Path | None = None) -> int:
    """Returns the schema version that this code knows: the number of its last migration.

    Raises:
        MigrationError: as `discover`.
    """
    return discover(folder)[-1].version


def statements(migration: Migration, con: duckdb.DuckDBPyConnection) -> list[MigrationStatement]:
    """Splits a migration by DuckDB's own parser; nothing is run.

    Raises:
        MigrationError: when the text is no SQL, holds no statement, begins or ends a transaction, or has a `-- when:` line that
            does not stand in the comment lines right before a statement (it would be passed over, and the statement would run).
    """
    try:
        extracted = con.extract_statements(migration.sql)
    except duckdb.Error as e:
        raise MigrationError(f"Migration {migration.filename} is not valid SQL, nothing was changed: {e}") from e
    if not extracted:
        raise MigrationError(f"Migration {migration.filename} holds no statement: write one, or remove the file.")
    result = []
    for number, statement in enumerate(extracted, start=1):
        if statement.type == duckdb.StatementType.TRANSACTION:
            raise MigrationError(
                f"Statement {number} of migration {migration.filename} begins or ends a transaction:"
                " remove it, each migration runs in one."
            )
        result.append(MigrationStatement(number, statement, _conditions(statement.query, first=number == 1)))
    conditions = [condition for statement in result for condition in statement.conditions]
    if "" in conditions or len(conditions) != len(_LOOKS_LIKE_DIRECTIVE.findall(migration.sql)):
        raise MigrationError(
            f'Migration {migration.filename} has a "-- when:" line without a query, or one that does not stand in the "--" lines'
            " right before a statement: move it there."
        )
    return result


def _read(file: Path) -> Migration:
    match = _FILE_NAME.fullmatch(file.name)
    if match is None:
        raise MigrationError(f"{file} is not named as a migration: name it NNNN_lower_case_words.sql, as in {_FIRST_FILE}.")
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise MigrationError(f"{file} is not UTF-8 text: save it as UTF-8.") from e
    sql = text.replace("\r\n", "\n").replace("\r", "\n")
    if not sql.strip():
        raise MigrationError(f"{file} is empty: write the migration, or remove the file.")
    return Migration(int(match["version"]), match["name"], sql, hashlib.sha256(sql.encode()).hexdigest())


def _conditions(text: str, *, first: bool) -> tuple[str, ...]:
    """Returns the `-- when:` queries of the comment lines that a statement's text begins with."""
    conditions = []
    for position, line in enumerate(text.split("\n")):
        if line.strip() and not line.lstrip().startswith("--"):
            break
        # A later statement's text begins on the line where the one before it ended: a comment there is about that one.
        if (first or position) and (directive := _DIRECTIVE.fullmatch(line)):
            conditions.append(directive["query"].strip())
    return tuple(conditions)
