"""Backups of a home, and putting one back.

Belongs here: one consistent copy of the database with the files that belong to it, proven before it has its name. Does not belong here:
the copy that a migration makes beside the database (`ops.backup`).

A folder of backups holds one folder a backup, named by its time, and one folder `bronze` that they share: bronze files never change, so
each is copied once.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from ops_pipeline import __version__
from ops_pipeline.clock import utc_now
from ops_pipeline.errors import BackupError
from ops_pipeline.files import sync, write_atomically
from ops_pipeline.ops.backup import copy_bytes, log_of, row_counts
from ops_pipeline.ops.names import stored_files
from ops_pipeline.progress import silent
from ops_pipeline.warehouse import attach_statement

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ops_pipeline.engine.context import Context
    from ops_pipeline.progress import Tell
    from ops_pipeline.settings import Settings

DATABASE = "ops.duckdb"
MANIFEST = "manifest.json"
BRONZE = "bronze"
_UNFINISHED = ".part"
_NAME = re.compile(r"\d{8}T\d{6}\.\d{6}Z")
_ALIAS = "copied"


@dataclass(slots=True)
class Backup:
    """What a backup holds.

    Attributes:
        folder: where it is.
        made_at: when, in ISO 8601 (UTC).
        version: of ops_pipeline.
        sha256: of the database's copy.
        size: of the database's copy, in bytes.
        tables: `schema.table` -> rows.
        configuration: files of the home that were copied along, relative to it.
        bronze_files: bronze files that the ledger names; None: bronze was not copied.
        bronze_copied: how many of them were not in the folder of backups yet.
        bronze_missing: names of some of those that the ledger names and that are not on the disk.
        bronze_missing_count: how many these are.
        dropped: older backups that were removed.
    """

    folder: Path
    made_at: str
    version: str
    sha256: str
    size: int
    tables: dict[str, int]
    configuration: list[str] = field(default_factory=list)
    bronze_files: int | None = None
    bronze_copied: int = 0
    bronze_missing: list[str] = field(default_factory=list)
    bronze_missing_count: int = 0
    dropped: list[Path] = field(default_factory=list)


@dataclass(slots=True)
class Restored:
    """What putting a backup back did.

    Attributes:
        database: the database.
        kept: the database that was there before, under its new name; None where there was none.
        bronze_copied: bronze files that were put back.
        configuration: files that were put back; what the home has is left as it is.
    """

    database: Path
    kept: Path | None = None
    bronze_copied: int = 0
    configuration: list[str] = field(default_factory=list)


def back_up(context: Context, folder: Path, *, bronze: bool = True, keep: int | None = None, tell: Tell = silent) -> Backup:
    """Copies the home's database, recipes, universe and bronze files into a folder of backups.

    Other runs may go on: the database is copied as it is at one moment, while reading goes on and writing waits.

    Args:
        context: the home.
        folder: of all backups; it is made.
        bronze: copy the bronze files that are not there yet.
        keep: remove all backups of the folder but the newest so many; None: none.
        tell: takes how many bronze files are copied.

    Raises:
        BackupError: when the copy cannot be written, or does not hold what the database holds; nothing is left of it.
        DatabaseError: when there is no database, or it cannot be opened.
    """
    folder = folder.absolute()
    if _inside(folder, context.settings.bronze_path):
        raise BackupError(f"{folder} is inside the bronze folder: name another folder, best on another disk.")
    made_at = utc_now()
    place = folder / f"{made_at:%Y%m%dT%H%M%S.%fZ}"
    part = place.with_name(place.name + _UNFINISHED)
    try:
        part.mkdir(parents=True)
        for left in folder.glob(f"*{_UNFINISHED}"):
            if left != part and left.is_dir():
                shutil.rmtree(left)
        tell("copying the database")
        counts, files = _copy_database(context, part / DATABASE, bronze=bronze)
        tell("proving the copy")
        _fold_and_prove(part / DATABASE, counts)
        backup = Backup(
            folder=place,
            made_at=made_at.isoformat(),
            version=__version__,
            sha256=_hash(part / DATABASE),
            size=(part / DATABASE).stat().st_size,
            tables={".".join(table): rows for table, rows in counts.items()},
            configuration=_copy_configuration(context.settings, part),
        )
        if files is not None:
            backup.bronze_files = len(files)
            backup.bronze_copied, missing = _copy_files(context.settings.bronze_path, folder / BRONZE, files, tell)
            backup.bronze_missing, backup.bronze_missing_count = missing[:20], len(missing)
        said = {name: value for name, value in asdict(backup).items() if name not in ("folder", "dropped")}
        write_atomically(part / MANIFEST, json.dumps(said, indent=2).encode())
        part.rename(place)
        sync(folder)
        if keep is not None:
            backup.dropped = backups(folder)[: -max(keep, 1)]
            for old in backup.dropped:
                shutil.rmtree(old)
    except (OSError, duckdb.Error) as e:
        raise BackupError(
            f"The backup into {folder} failed ({_reason(e)}), and nothing is left of it: have enough space there and the folder"
            " writable, and run again."
        ) from e
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return backup


def backups(folder: Path) -> list[Path]:
    """The whole backups of a folder, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if _NAME.fullmatch(p.name) and (p / MANIFEST).is_file())


def read_manifest(place: Path) -> dict[str, Any]:
    """What a backup says of itself, after a look at whether its database is still the one it says.

    Raises:
        BackupError: it is none, or it has been damaged.
    """
    if not (place / MANIFEST).is_file():
        inside = backups(place)
        hint = f"did you mean {inside[-1]}?" if inside else "name the folder that `ops-pipeline backup` printed."
        raise BackupError(f"{place} is not a backup (it has no {MANIFEST}): {hint}")
    try:
        manifest: dict[str, Any] = json.loads((place / MANIFEST).read_bytes())
        found = _hash(place / DATABASE)
    except (OSError, ValueError) as e:
        raise BackupError(f"The backup {place} cannot be read ({_reason(e)}): use another.") from e
    if found != manifest.get("sha256"):
        raise BackupError(
            f"{place / DATABASE} is not the file that its {MANIFEST} describes: it was damaged; use another backup."
        )
    return manifest


def restore(context: Context, place: Path, *, tell: Tell = silent) -> Restored:
    """Puts a backup back: its database into the database's place, its bronze files and configuration where the home has none.

    The database that was there is kept beside it. A killed restore leaves the old database or the new one, whole.

    Raises:
        BackupError: it is no backup, it was damaged, or it cannot be written; the database is as it was.
        UserError: runs are going on.
    """
    place = place.absolute()
    tell("proving the backup")
    manifest = read_manifest(place)
    with context.leases.quiet():
        return _put_back(context, place, manifest, tell)


def _put_back(context: Context, place: Path, manifest: dict[str, Any], tell: Tell) -> Restored:
    # Links resolved: a database that is kept elsewhere is replaced there, and not by a file in the place of its link.
    database = context.settings.database_path.resolve()
    fresh = database.with_name(f"{database.name}.restoring")
    restored = Restored(database)
    before = database.exists()
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        if manifest.get("bronze_files") is not None:
            source = place.parent / BRONZE
            names = [str(p.relative_to(source)).replace(os.sep, "/") for p in source.rglob("*") if p.is_file()]
            restored.bronze_copied, _ = _copy_files(source, context.settings.bronze_path, names, tell)
        tell("copying the database")
        copy_bytes(place / DATABASE, fresh)
        with context.warehouse.replacing() as (_, by):
            by(fresh)
            if before:
                restored.kept = database.with_name(f"{database.stem}.before-restore-{utc_now():%Y%m%dT%H%M%S.%fZ}.duckdb")
                os.link(database, restored.kept)
        restored.configuration = _restore_configuration(context.settings, place, manifest["configuration"])
    except (OSError, duckdb.Error) as e:
        raise BackupError(
            f"The backup {place} could not be put back ({_reason(e)}): have enough space in {database.parent} and the folder"
            " writable, and run again."
        ) from e
    finally:
        fresh.unlink(missing_ok=True)
    return restored


def _copy_database(context: Context, target: Path, *, bronze: bool) -> tuple[dict[tuple[str, str], int], list[str] | None]:
    """Copies the database file with its log as they are at one moment; gives what the copy must hold, and the bronze files' names."""
    database = context.settings.database_path.resolve()
    with context.warehouse.reading() as connection:
        counts = row_counts(connection)
        copy_bytes(database, target)
        if log_of(database).exists():
            copy_bytes(log_of(database), log_of(target))
        names = stored_files(connection) if bronze else None
    return counts, names


def _fold_and_prove(copy: Path, counts: dict[tuple[str, str], int]) -> None:
    """Folds the copy's log into it and compares what it holds.

    Raises:
        BackupError: when it does not hold the same rows.
    """
    connection = duckdb.connect(":memory:", config={"autoinstall_known_extensions": "false"})
    try:
        connection.execute(attach_statement(copy, _ALIAS, read_only=False))
        connection.execute(f"CHECKPOINT {_ALIAS}")
        found = row_counts(connection, _ALIAS)
        connection.execute(f"DETACH {_ALIAS}")
    finally:
        connection.close()
    if found != counts:
        wrong = sorted(".".join(t) for t in found.keys() | counts.keys() if found.get(t) != counts.get(t))
        raise BackupError(
            f"The copy of the database does not hold the same rows in {', '.join(wrong)}, and was removed: check the disks, and run again."
        )
    log_of(copy).unlink(missing_ok=True)
    sync(copy)


def _configuration(settings: Settings) -> Iterable[tuple[str, Path]]:
    """The home's files that say what is wanted: (name in a backup, path)."""
    if settings.universe_path.is_file():
        yield "universe.yaml", settings.universe_path
    for name in ("recipes", "sources", "groups"):
        root = (settings.home / name).absolute()
        for path in sorted(root.rglob("*")) if root.is_dir() else ():
            if path.is_file() and "__pycache__" not in path.parts:
                yield f"{name}/{path.relative_to(root).as_posix()}", path


def _copy_configuration(settings: Settings, part: Path) -> list[str]:
    names = []
    for name, path in _configuration(settings):
        _copy_file(path, part / "home" / name)
        names.append(name)
    return names


def _restore_configuration(settings: Settings, place: Path, names: Iterable[str]) -> list[str]:
    restored = []
    for name in names:
        target = settings.universe_path if name == "universe.yaml" else settings.home.absolute() / name
        # A manifest is a file that anybody may have written: no name in it leads out of the home.
        if not (place / "home" / name).is_file() or (name != "universe.yaml" and not _inside(target, settings.home.absolute())):
            continue
        if not target.exists():
            _copy_file(place / "home" / name, target)
            restored.append(name)
    return restored


def _copy_files(source: Path, target: Path, names: Sequence[str], tell: Tell) -> tuple[int, list[str]]:
    """Copies those that the target lacks; gives their number and the names of those that the source lacks."""
    copied, missing, folders = 0, [], set[Path]()
    for number, name in enumerate(names):
        tell("copying bronze files", number, len(names))
        to = target / name
        if to.exists():
            continue
        try:
            _copy_file(source / name, to)
        except FileNotFoundError:
            missing.append(name)
            continue
        folders.add(to.parent)
        copied += 1
    for folder in folders:
        sync(folder)
    return copied, missing


def _copy_file(source: Path, target: Path) -> None:
    """A file that is whole or not there, with its time: a bronze file's is when it was stored."""
    if not source.is_file():
        raise FileNotFoundError(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name[:200]}{_UNFINISHED}")
    try:
        shutil.copy2(source, part)
        sync(part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).strip().rstrip(".")
