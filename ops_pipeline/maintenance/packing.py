"""Fewer bronze files: old ones packed into containers, and bodies of errors that nobody needs any more deleted.

Belongs here: choosing them, and doing it so that a kill at any moment loses nothing. Does not belong here: what a container is
(`bronze.packs`), and SQL on the ledger (`ops.names`).

A container is written first, then the ledger's rows name it, then the files that stood alone are deleted; a note beside the container says
that this is under way, and the next packing finishes it or takes it back. Only the last two steps keep runs from starting, since a run may
store the same body again and name the file that is about to go.
"""

from __future__ import annotations

import hashlib
import logging
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import TYPE_CHECKING

from ops_pipeline.bronze import packs
from ops_pipeline.bronze.paths import encode_name
from ops_pipeline.clock import utc_now
from ops_pipeline.errors import BronzeError
from ops_pipeline.files import sync
from ops_pipeline.ops import names
from ops_pipeline.progress import silent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ops_pipeline.engine.context import Context
    from ops_pipeline.progress import Tell

log = logging.getLogger("ops_pipeline.maintenance")

# Files of a container: a lost or damaged one is so many answers; reading one member reads the index of all.
MOST_FILES = 2_000
# A container of fewer files would hardly help.
LEAST_FILES = 10
NOTE = ".moving"


@dataclass(slots=True)
class Packed:
    """What packing did.

    Attributes:
        files: that were packed.
        containers: that were made.
        finished: files that an earlier, killed packing had left beside their container.
    """

    files: int = 0
    containers: int = 0
    finished: int = 0


@dataclass(frozen=True, slots=True)
class Purged:
    """What purging did.

    Attributes:
        files: bodies that were deleted.
        bytes: that these took on the disk.
        rows: of the ledger that say so now.
    """

    files: int
    bytes: int
    rows: int


def pack(context: Context, *, older_than: timedelta, tell: Tell = silent) -> Packed:
    """Packs bronze files, dataset by dataset and month by month; hashes and everything else that the ledger says stay.

    Args:
        context: the home.
        older_than: files whose answers are younger stay as they are.
        tell: takes how many files of a dataset are looked at or packed.

    Raises:
        UserError: runs go on, or the disk refuses; what was packed by then is packed.
    """
    done = Packed()
    before = utc_now() - older_than
    _require_bronze(context)
    with context.warehouse.reading() as connection:
        datasets = list(names.datasets_with_files(connection))
    for dataset in datasets:
        folder = dataset_folder(dataset)
        done.finished += _finish(context, folder)
        with context.warehouse.reading() as connection:
            waiting = names.unpacked_files(connection, dataset, before)
        seen = 0
        for month, group in groupby(waiting, key=lambda one: one[0]):
            sound = []
            for _, name in group:
                tell(f"packing {folder}", seen, len(waiting))
                seen += 1
                if _is_sound(context, name):
                    sound.append(name)
            for files in _portions(sound):
                _pack(context, folder, month, files)
                done.files += len(files)
                done.containers += 1
    return done


def finish(context: Context) -> int:
    """Finishes what killed packings left, and gives the number of files that it deleted.

    Raises:
        UserError: runs go on, or the disk refuses.
    """
    _require_bronze(context)
    with context.warehouse.reading() as connection:
        datasets = list(names.datasets_with_files(connection))
    return sum(_finish(context, dataset_folder(dataset)) for dataset in datasets)


def purge(context: Context, *, older_than: timedelta, tell: Tell = silent) -> Purged:
    """Deletes the bodies of failed requests that a later good answer of their partition made useless; the rows stay, and say so.

    Raises:
        UserError: runs go on, or the disk refuses; what was deleted by then is deleted.
    """
    at = utc_now()
    _require_bronze(context)
    with context.leases.quiet():
        with context.warehouse.reading() as connection:
            found = names.superseded_errors(connection, at - older_than)
        size = 0
        # First the files: killed in between, the next purge finds the rows again and says of them what is true.
        for number, name in enumerate(found):
            tell("deleting bodies", number, len(found))
            path = context.settings.bronze_path / name
            with suppress(FileNotFoundError), _on_disk(path):
                size += path.stat().st_size
                path.unlink()
        rows = 0
        if found:
            with context.warehouse.transaction() as connection:
                rows = names.mark_purged(connection, found, at)
    return Purged(len(found), size, rows)


def dataset_folder(dataset: names.DatasetParts) -> str:
    """The folder below the bronze root that holds a dataset's partitions."""
    return "/".join(encode_name(part) for part in dataset if part != "-")


def _require_bronze(context: Context) -> None:
    """Without the folder, every file of it would seem to be gone."""
    root = context.settings.bronze_path
    if not root.is_dir():
        raise BronzeError(f"The bronze folder {root} is not there, or no folder: put it back in its place and run again.")


def _is_sound(context: Context, name: str) -> bool:
    """Whether a file is there and holds what its name says; one that does not stays where it is, for whoever restores it."""
    try:
        context.store.read(name)
    except BronzeError as e:
        log.warning("not packed: %s", e)
        return False
    return True


def _portions(files: Sequence[str]) -> Iterator[list[str]]:
    """As equal as can be: a last container of few files would stay one."""
    count = -(-len(files) // MOST_FILES)
    for k in range(count):
        portion = list(files[len(files) * k // count : len(files) * (k + 1) // count])
        if len(portion) >= LEAST_FILES:
            yield portion


def _pack(context: Context, folder: str, month: str, files: Sequence[str]) -> None:
    """Packs some files of one dataset into one container."""
    # Named by what is in it: whoever packs the same again after a kill makes the same container.
    digest = hashlib.sha256("\n".join(files).encode()).hexdigest()[:16]
    container = f"{folder}/{packs.FOLDER}/{month}-{digest}.zip"
    place = context.store.path(container)
    temporary, note = place.with_name(f".{place.name}.part"), place.with_name(f"{place.name}{NOTE}")
    renamed = {name: packs.packed_name(container, name) for name in files}
    try:
        with _on_disk(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            temporary.unlink(missing_ok=True)
            packs.write_container(
                temporary, ((new.partition(packs.SEPARATOR)[2], context.store.path(old)) for old, new in renamed.items())
            )
            note.touch()
            temporary.replace(place)
            sync(place.parent)
    finally:
        temporary.unlink(missing_ok=True)
    for name in renamed.values():
        context.store.read(name)  # compares the body with the hash in its name
    with context.leases.quiet():
        with context.warehouse.transaction() as connection:
            names.rename_files(connection, renamed)
        _delete(context, files)
        note.unlink()


def _finish(context: Context, folder: str) -> int:
    """Deletes what a killed packing left: files whose rows name their container, or a container that no row names."""
    notes = sorted((context.settings.bronze_path / folder / packs.FOLDER).glob(f"*{NOTE}"))
    left = 0
    for note in notes:
        container = f"{folder}/{packs.FOLDER}/{note.name.removesuffix(NOTE)}"
        place = context.store.path(container)
        with context.leases.quiet(), _on_disk(note):
            with context.warehouse.reading() as connection:
                named = bool(names.names_in_use(connection, [container]))
                members = [packs.unpacked_name(name) for name in packs.members(place, container)] if named else []
                alone = names.names_in_use(connection, members) if members else set()
            if named:
                left += _delete(context, [name for name in members if name not in alone])
            else:
                place.unlink(missing_ok=True)
            note.unlink()
    return left


def _delete(context: Context, files: Sequence[str]) -> int:
    count = 0
    for name in files:
        path = context.store.path(name)
        with suppress(FileNotFoundError), _on_disk(path):
            path.unlink()
            count += 1
    return count


@contextmanager
def _on_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as e:
        raise BronzeError(f"{path} cannot be written ({e.strerror}): make its folder writable, free space, and run again.") from e
