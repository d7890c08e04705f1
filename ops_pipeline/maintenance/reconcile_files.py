"""What lies on the disk of a home, for a reconcile.

Belongs here: the names of bronze files and container members, comparing bodies with hashes, and what is left of work that is over. Does not
belong here: what the ledger knows of them (`ops.reconciling`), and what is done about it (`repair`).

Files come and go while runs go on: what seems to be missing or left over is looked at once more before it is told.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

from ops_pipeline.bronze import packs
from ops_pipeline.bronze.paths import encode_name
from ops_pipeline.bronze.store import TEMPORARY, file_of
from ops_pipeline.errors import BronzeError, DamagedFileError
from ops_pipeline.maintenance.packing import NOTE
from ops_pipeline.ops.reconcile_results import Discrepancy, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ops_pipeline.engine.context import Context
    from ops_pipeline.progress import Tell

# Nobody writes at a temporary file for as long as this without touching it.
_AT_WORK_SECONDS = 3600
_TOLD_EACH = 50
_COMPARING = "comparing bodies with their hashes"


@dataclass(slots=True)
class Disk:
    """The bronze folder.

    Attributes:
        names: (name, name before it was packed) of every file and every member of a container.
        strangers: files whose names no store gives.
        damaged: container that cannot be opened -> why.
        temporary: folders of runs' half-written files, containers' half-written files and notes of a packing.
    """

    names: list[tuple[str, str]] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)
    temporary: list[Path] = field(default_factory=list)


def look_at_disk(context: Context) -> Disk:
    """Reads the names below the bronze folder.

    Raises:
        BronzeError: the folder is not there though files were stored, or cannot be read.
    """
    root, found = context.settings.bronze_path, Disk()
    try:
        for name in _names_below(str(root), ""):
            _sort_in(context, name, found)
        if (root / TEMPORARY).is_dir():
            found.temporary += sorted((root / TEMPORARY).iterdir())
    except OSError as e:
        raise BronzeError(f"The bronze folder {root} cannot be read ({e.strerror}): make it readable and run again.") from e
    return found


def _names_below(folder: str, prefix: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if prefix or entry.name != TEMPORARY:
                    yield from _names_below(entry.path, f"{prefix}{entry.name}/")
            else:
                yield f"{prefix}{entry.name}"


def _sort_in(context: Context, name: str, found: Disk) -> None:
    folder, _, last = name.rpartition("/")
    path = context.settings.bronze_path / name
    if folder.endswith(f"/{packs.FOLDER}"):
        if last.endswith(".zip") and not last.startswith("."):
            try:
                found.names += [(member, packs.unpacked_name(member)) for member in packs.members(path, name)]
            except DamagedFileError as e:
                found.damaged[name] = e.why
            except BronzeError:
                pass  # packed anew meanwhile
        elif last.endswith((NOTE, ".part")):
            found.temporary.append(path)
        else:
            found.strangers.append(name)
    elif file_of(last):
        found.names.append((name, name))
    elif not last.startswith("."):
        found.strangers.append(name)


def is_there(context: Context, name: str) -> bool:
    """Whether a file, or a container and its member, is on the disk now."""
    container, separator, _ = name.partition(packs.SEPARATOR)
    place = context.settings.bronze_path / container
    if not separator:
        return place.exists()
    try:
        return name in packs.members(place, container)
    except DamagedFileError:
        return True  # told as damaged
    except BronzeError:
        return False


def wrong_bodies(context: Context, files: Sequence[tuple[str, list[str]]], tell: Tell) -> Iterator[tuple[str, str]]:
    """(name, why) of files that do not hold the body whose hash is given; one that is not there is left out.

    Args:
        context: the home.
        files: (name, SHA-256 of the body as each of its rows has it).
        tell: takes the number of files that were read, and of all.
    """
    done = 0
    for container, group in groupby(sorted(files), key=lambda one: one[0].partition(packs.SEPARATOR)[0]):
        expected = dict(group)
        try:
            for name, packed in _packed(context, container, expected):
                wrong = _wrong(context, name, packed, expected.pop(name))
                if wrong:
                    yield name, wrong
                done += 1
                if done % _TOLD_EACH == 0:
                    tell(_COMPARING, done, len(files))
        except DamagedFileError as e:
            yield container, e.why
            done += len(expected)
        except BronzeError:
            done += len(expected)  # gone, which is another finding, or packed meanwhile
    tell(_COMPARING, len(files), len(files))


def _packed(context: Context, container: str, expected: dict[str, list[str]]) -> Iterator[tuple[str, bytes]]:
    place = context.settings.bronze_path / container
    if container not in expected:
        yield from ((name, body) for name, body in packs.read_members(place, container) if name in expected)
        return
    try:
        packed = place.read_bytes()
    except OSError as e:
        raise BronzeError(f"Bronze file {container} cannot be read ({e.strerror}).") from e
    yield container, packed


def _wrong(context: Context, name: str, packed: bytes, expected: list[str]) -> str | None:
    try:
        body = context.store.body(name, packed)
    except DamagedFileError as e:
        return e.why
    actual = hashlib.sha256(body).hexdigest()
    others = [known for known in expected if known != actual]
    return f"the ledger has another hash: {others[0]}" if others else None


def leftovers(context: Context, disk: Disk, alive: set[str]) -> list[Discrepancy]:
    """What is left of work that is over: of runs that are dead, and of commands that were killed."""
    root, database = context.settings.bronze_path, context.settings.database_path
    at_work = {encode_name(run_id).partition("/")[0] for run_id in alive}
    found = []
    for path in disk.temporary:
        if path.parent == root / TEMPORARY:
            if path.name not in at_work:
                found.append((path, "half-written answers of a run that is over"))
        elif path.name.endswith(NOTE):
            found.append((path, "a packing was killed before it had deleted what it packed"))
        else:
            found.append((path, "half a container of a packing that was killed"))
    for pattern, what in (
        (f"{database.name}.compacting*", "half a database of a `compact` that was killed"),
        (f"{database.stem}.before-*.part", "half a copy of the database of a migration that was killed"),
    ):
        found += [(path, what) for path in sorted(database.parent.glob(pattern))]
    dead = context.leases.left_behind()
    found += [
        (path, "the scratch database of a replay that was killed")
        for path in sorted((context.settings.home / "replay").glob("*.duckdb*"))
        if path.name.partition(".")[0] in dead
    ]
    return [
        Discrepancy(Kind.LEFTOVER, str(path), what, "`ops-pipeline reconcile --fix` removes it", fixable=True)
        for path, what in found
        if (path.exists() if path.parent == root / TEMPORARY else _is_idle(path))
    ]


def _is_idle(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > _AT_WORK_SECONDS
    except FileNotFoundError:
        return False
