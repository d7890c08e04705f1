"""Containers: many bronze files in one, so that a disk does not run out of names.

Belongs here: the names of containers and members, writing a container, reading a member, and a member as a file of its own for a while.
Does not belong here: which files are packed and when (`maintenance.packing`).

A container is a ZIP file, uncompressed, of bronze files as they were: `<dataset folder>/_packs/<name>.zip#<path below the dataset folder>`.
No ticker's folder can be called `_packs` (`paths`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import weakref
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from ops_pipeline.errors import BronzeError, DamagedFileError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FOLDER: Final = "_packs"
SEPARATOR: Final = "#"
# A batch is at most some hundreds of files; more are kept so that neighbours are not unpacked twice.
_KEPT: Final = 8_192
# The time of a member is no part of it: containers of the same files are the same bytes.
_NO_TIME: Final = (1980, 1, 1, 0, 0, 0)


def packed_name(container: str, filename: str) -> str:
    """The name of a file once it is in a container of its dataset."""
    return f"{container}{SEPARATOR}{filename.removeprefix(dataset_folder(container) + '/')}"


def unpacked_name(filename: str) -> str:
    """The name that a member had before it was packed; of a file that stands alone, its name."""
    container, separator, member = filename.partition(SEPARATOR)
    return f"{dataset_folder(container)}/{member}" if separator else filename


def dataset_folder(container: str) -> str:
    """The dataset's folder that a container packs files of."""
    return container.rpartition(f"/{FOLDER}/")[0]


def write_container(target: Path, files: Iterable[tuple[str, Path]]) -> None:
    """Writes a new container of (member, file) pairs and waits until it is on the disk.

    Raises:
        OSError: when the disk refuses, or a file is not there.
    """
    with target.open("xb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as container:
            for member, path in files:
                container.writestr(zipfile.ZipInfo(member, _NO_TIME), path.read_bytes())
        file.flush()
        os.fsync(file.fileno())


def members(path: Path, container: str) -> list[str]:
    """The whole names of a container's members. Raises what `read_member` raises."""
    with _explained(path, container), zipfile.ZipFile(path) as opened:
        return [f"{container}{SEPARATOR}{name}" for name in opened.namelist()]


def read_members(path: Path, container: str) -> Iterator[tuple[str, bytes]]:
    """Every member's whole name and its bytes; the container is opened once. Raises what `read_member` raises, but for a member's name."""
    with _explained(path, container), zipfile.ZipFile(path) as opened:
        for name in opened.namelist():
            yield f"{container}{SEPARATOR}{name}", opened.read(name)


def read_member(path: Path, filename: str) -> bytes:
    """The bytes of a member as they were in the file that was packed.

    Args:
        path: of the container.
        filename: the member's whole name, for messages too.

    Raises:
        BronzeError: the container is missing.
        DamagedFileError: it is none, or has no such member.
    """
    with _explained(path, filename), zipfile.ZipFile(path) as container:
        return container.read(filename.partition(SEPARATOR)[2])


@contextlib.contextmanager
def _explained(path: Path, filename: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as e:
        raise BronzeError(f"The container {path} of bronze file {filename} is missing: restore it from a backup.") from e
    except OSError as e:
        raise BronzeError(f"Bronze file {filename} cannot be read ({e.strerror}): check the disk and run again.") from e
    except (KeyError, zipfile.BadZipFile) as e:
        raise DamagedFileError(f"Bronze file {filename} is damaged ({e}): restore {path} from a backup.", str(e)) from e


class Unpacked:
    """Members as files of their own, in a temporary folder that goes with this object; the most recently asked ones are kept."""

    def __init__(self) -> None:
        """Makes nothing until the first member is asked."""
        self._lock = threading.Lock()
        self._folder: Path | None = None
        self._paths: OrderedDict[str, Path] = OrderedDict()
        # The one asked last: whoever wants a member mostly wants its neighbours too, and a container's index is read when it is opened.
        self._open: tuple[Path, zipfile.ZipFile] | None = None

    def path(self, container: Path, filename: str) -> Path:
        """Where the member is now. Raises what `read_member` raises."""
        with self._lock:
            known = self._paths.get(filename)
            if known is not None:
                self._paths.move_to_end(filename)
                return known
            with _explained(container, filename):
                body = self._opened(container).read(filename.partition(SEPARATOR)[2])
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="ops-pipeline-unpacked-"))
                weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
            # Members of different tickers can have one last name; it stays part of the name, since its extension tells what the file is.
            place = self._folder / f"{uuid4().hex}-{filename.rpartition('/')[2]}"
            place.write_bytes(body)
            self._paths[filename] = place
            if len(self._paths) > _KEPT:
                self._paths.popitem(last=False)[1].unlink()
            return place

    def _opened(self, container: Path) -> zipfile.ZipFile:
        if self._open is None or self._open[0] != container:
            if self._open is not None:
                self._open[1].close()
            self._open = None
            self._open = container, zipfile.ZipFile(container)
        return self._open[1]
