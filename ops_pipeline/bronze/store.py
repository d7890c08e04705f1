"""Vendor answers on disk: compressed, whole or absent, never overwritten by another.

Belongs here: writing, finding and reading bronze files, and the sentences for what a disk can do to them. Does not belong here:
which folder a partition has (`paths`), what the bytes mean (silver), and the ledger (written after a file is safely here).

Writing handles paths as text: by pathlib, 500 small files take a third more processor time.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import logging
import os
import re
import shutil
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from isal import igzip, isal_zlib

from ops_pipeline.bronze import packs
from ops_pipeline.bronze.paths import encode_name
from ops_pipeline.errors import BronzeError, DamagedFileError
from ops_pipeline.files import sync

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ops_pipeline.sources.large import LargeBody

log = logging.getLogger("ops_pipeline.bronze")

# ISA-L's: as small as zlib's level 3 at a fifth of its time (14 MB of prices in 500 bodies: 0.13 s and 0.61 s).
_LEVEL: Final = 2
_GZIP: Final = 31  # zlib's name for: a gzip file, its checksum written
TEMPORARY: Final = ".tmp"
_PIECE, _MOST = 1 << 16, 1 << 20
_SYNCERS: Final = 16
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PART: Final = r"[A-Za-z0-9%@_][A-Za-z0-9%@._-]*"
_PARTS: Final = re.compile(f"{_PART}(?:/{_PART})*")
_FILE_ID: Final = re.compile(r"[a-z0-9]{1,64}")
_EXTENSION: Final = re.compile(r"(?!error$)[a-z0-9]{1,16}")
_NAME: Final = re.compile(r"(?P<file_id>[a-z0-9]{1,64})-(?P<hash16>[0-9a-f]{16})\.[a-z0-9]{1,16}(?:\.error)?\.gz")
_ERROR_SUFFIX: Final = ".error.gz"

_ADVICE: Final = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free space for it and run again"),
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS),
        "make the folder writable for this user, or choose another with OPS_PIPELINE_BRONZE_ROOT",
    ),
    **dict.fromkeys(
        (errno.EEXIST, errno.ENOTDIR, errno.EISDIR),
        "move the file that is in the way of a folder, or choose another with OPS_PIPELINE_BRONZE_ROOT",
    ),
    errno.ENAMETOOLONG: "the name is too long for this file system: shorten the ticker or the path of the bronze folder",
    errno.EXDEV: "a folder below the bronze folder is on another file system: move the whole bronze folder there instead",
}


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of the bronze store.

    Attributes:
        filename: path below the root, with forward slashes.
        payload_hash: SHA-256 of the body before compression, as 64 hexadecimal digits.
        size: bytes of the body before compression.
        stored_at: when the file was written (UTC, microseconds); for a body that was stored before, when it was stored first.
    """

    filename: str
    payload_hash: str
    size: int
    stored_at: datetime

    @property
    def is_error(self) -> bool:
        """Whether the body is that of a failed request."""
        return self.filename.endswith(_ERROR_SUFFIX)


class BronzeStore:
    """The folder of all bronze files; one object may be used from many threads, one folder from many processes."""

    def __init__(self, root: Path) -> None:
        """Names the folder; it is created when the first file is stored."""
        self._root = root.absolute()
        self._unpacked = packs.Unpacked()
        self._temporaries: dict[str, str] = {}  # run -> its folder for temporary files, once it is there
        self._settled: set[str] = set()  # folders whose own entry is known to be on disk
        self._unsynced_files: set[str] = set()  # files whose bytes a power cut may yet lose
        self._unsynced: set[str] = set()  # folders with entries that it may lose
        self._lock = threading.Lock()

    def store(
        self, *, folder: str, file_id: str, body: bytes | LargeBody, extension: str, run_id: str, error: bool = False
    ) -> StoredFile:
        """Stores one body below the root: when this returns, it survives the death of the process; after `sync`, a power cut too.

        A killed process leaves nothing at the target, only a temporary file of its run (`discard_temporary`). A target that is
        there with the same content is reused as it is; one that is damaged, as a power cut before `sync` leaves it, is made whole:
        its name says which body it held, and that is the one which is stored.

        Args:
            folder: below the root, from `partition_folder`.
            file_id: the answer's identity; lower-case letters and digits.
            body: the bytes as received; a large one is packed piece by piece.
            extension: of the body's format, such as `json`.
            run_id: the run that stores it; names only the place of the temporary file.
            error: the body is that of a failed request; it is kept apart from answers.

        Raises:
            BronzeError: the disk refuses; nothing was left half-written.
        """
        if not _FILE_ID.fullmatch(file_id) or not _EXTENSION.fullmatch(extension):
            raise ValueError(f"file_id {file_id!r} and extension {extension!r} must be lower-case letters and digits")
        payload_hash = hashlib.sha256(body).hexdigest() if isinstance(body, bytes) else body.payload_hash
        suffix = _ERROR_SUFFIX if error else ".gz"
        filename = f"{folder}/{file_id}-{payload_hash[:16]}.{extension}{suffix}"
        target = self._place(filename)
        try:
            if os.path.exists(target) and (stored := self._whole(filename, payload_hash)):
                # The process that stored it may have died before it was synced.
                self._settle(os.path.dirname(target))
                self._note(target)
                return stored
            try:
                stored_at = self._write(target, body, run_id)
            except FileNotFoundError:
                # A folder that was there for the file before this one is gone: somebody tidies up.
                self._temporaries.pop(run_id, None)
                self._settled.clear()
                stored_at = self._write(target, body, run_id)
        except OSError as problem:
            raise self._refused(f"file {filename} cannot be stored", problem) from problem
        return StoredFile(filename, payload_hash, len(body) if isinstance(body, bytes) else body.size, stored_at)

    def read(self, filename: str) -> bytes:
        """Gives the body of a stored file, checked against the hash in its name.

        Raises:
            BronzeError: the file is missing, unreadable or damaged, or the name is not one of this store.
        """
        container, separator, _ = filename.partition(packs.SEPARATOR)
        place = self.path(container)
        if not _NAME.fullmatch(filename.rpartition("/")[2]):
            raise BronzeError(f"{filename!r} is not the name of a bronze file: check the ledger row that names it.")
        try:
            packed = packs.read_member(place, filename) if separator else place.read_bytes()
        except FileNotFoundError as problem:
            raise BronzeError(f"Bronze file {filename} is missing below {self._root}: restore it from a backup.") from problem
        except OSError as problem:
            raise self._refused(f"file {filename} cannot be read", problem) from problem
        return self.body(filename, packed)

    def body(self, filename: str, packed: bytes) -> bytes:
        """Gives the body of a file whose bytes the caller has read, checked against the hash in its name.

        Raises:
            DamagedFileError: the bytes hold no body, or another one.
        """
        try:
            body = gzip.decompress(packed)
        except (gzip.BadGzipFile, EOFError, zlib.error) as problem:
            raise self._damaged(filename, str(problem)) from problem
        name = file_of(filename)
        if name is None or hashlib.sha256(body).hexdigest()[:16] != name[1]:
            raise self._damaged(filename, "it holds another body than its name says")
        return body

    def path(self, filename: str) -> Path:
        """Gives the place of a file or folder that is named relative to the root; of a container's member, a copy for the time being.

        Raises:
            BronzeError: the name would leave the root, or holds what no name of this store holds; a member cannot be read.
        """
        container, separator, member = filename.partition(packs.SEPARATOR)
        if separator and _PARTS.fullmatch(member):
            return self._unpacked.path(self.path(container), filename)
        return Path(self._place(filename))

    def _place(self, filename: str) -> str:
        if not _PARTS.fullmatch(filename):
            raise BronzeError(
                f"{filename!r} is not a path below the bronze folder {self._root}: check the ledger row that names it."
            )
        return os.path.join(self._root, filename)

    def holds(self, filename: str) -> bool:
        """Whether the file, or the container that it was packed into, is there; what it holds is not looked at.

        Raises:
            BronzeError: the name is not one of this store.
        """
        return self.path(filename.partition(packs.SEPARATOR)[0]).is_file()

    def find(self, folder: str, file_id: str) -> list[StoredFile]:
        """Gives what is on disk for a file_id, errors included, oldest first.

        Each file is read, to know its hash and size: meant for what a dead run left, not for listings.

        Raises:
            BronzeError: a file or the folder cannot be read, or a file is damaged.
        """
        try:
            entries = [entry.name for entry in self.path(folder).iterdir()]
        except FileNotFoundError:
            return []
        except OSError as problem:
            raise self._refused(f"folder {folder} cannot be read", problem) from problem
        names = (match for match in map(_NAME.fullmatch, entries) if match and match["file_id"] == file_id)
        found = [self._look(f"{folder}/{name.string}") for name in names]
        for file in found:
            self._note(self._place(file.filename))  # whoever stored it died, perhaps before it was synced
        return sorted(found, key=lambda file: (file.stored_at, file.filename))

    def discard_temporary(self, run_id: str) -> int:
        """Removes what a run left half-written, and gives the number of files; for a run that stores no more.

        Raises:
            BronzeError: the disk refuses.
        """
        folder = self._temporary(run_id)
        self._temporaries.pop(run_id, None)
        try:
            count = sum(1 for entry in folder.iterdir() if entry.is_file())
            shutil.rmtree(folder)
        except FileNotFoundError:
            return 0
        except OSError as problem:
            raise self._refused(f"temporary folder {folder} cannot be removed", problem) from problem
        return count

    def _temporary(self, run_id: str) -> Path:
        return self._root.joinpath(TEMPORARY, *encode_name(run_id).split("/"))

    def _whole(self, filename: str, payload_hash: str) -> StoredFile | None:
        """The file that is there, if it holds the body; None, and a warning, when it is damaged."""
        try:
            stored = self._look(filename)
            if stored.payload_hash != payload_hash:
                raise self._damaged(filename, "it holds another body than its name says")
        except DamagedFileError as problem:
            log.warning("Bronze file %s is damaged (%s): the same answer came again and takes its place.", filename, problem.why)
            return None
        return stored

    def _look(self, filename: str) -> StoredFile:
        payload_hash, size = self._measured(filename)
        try:
            written = self.path(filename).stat().st_mtime_ns // 1000
        except OSError as problem:
            raise self._refused(f"file {filename} cannot be read", problem) from problem
        return StoredFile(filename, payload_hash, size, _utc(written))

    def _measured(self, filename: str) -> tuple[str, int]:
        """The hash and the size of a file's body, unpacked a piece at a time and checked as by `read`."""
        digest, size = hashlib.sha256(), 0
        unpacker = isal_zlib.decompressobj(_GZIP)
        try:
            with self.path(filename).open("rb") as file:
                while packed := file.read(_PIECE):
                    full = True
                    while packed or full:
                        piece = unpacker.decompress(packed, _MOST)
                        digest.update(piece)
                        size += len(piece)
                        full = len(piece) == _MOST and not unpacker.eof
                        packed = unpacker.unconsumed_tail
        except OSError as problem:
            raise self._refused(f"file {filename} cannot be read", problem) from problem
        except isal_zlib.error as problem:  # type: ignore[misc]  # the package's stub calls its exception class an instance
            raise self._damaged(filename, str(problem)) from problem
        if not unpacker.eof or unpacker.unused_data:
            raise self._damaged(filename, "it goes on behind its end" if unpacker.eof else "it ends too early")
        if f"-{digest.hexdigest()[:16]}." not in filename.rpartition("/")[2]:
            raise self._damaged(filename, "it holds another body than its name says")
        return digest.hexdigest(), size

    def _write(self, target: str, body: bytes | LargeBody, run_id: str) -> datetime:
        """Writes beside the store and moves into it: a reader sees the whole file or none.

        Two writers of one body can both get here; the second replaces the first's file by the same content.
        """
        self._settle(os.path.dirname(target))
        temporary = os.path.join(self._room(run_id), uuid4().hex)
        try:
            with open(temporary, "xb", buffering=0) as file:
                for piece in _packed(body):
                    left = memoryview(piece)
                    while left:
                        left = left[file.write(left) :]
                # The kernel's clock for mtime lags some 4 ms behind; the ledger must not see a file end before its request began.
                written = time.time_ns() // 1000
                os.utime(file.fileno(), ns=(written * 1000, written * 1000))
            os.rename(temporary, target)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        self._note(target)
        return _utc(written)

    def _room(self, run_id: str) -> str:
        """The folder of a run's temporary files, made where this object has not seen it yet."""
        folder = self._temporaries.get(run_id)
        if folder is None:
            folder = str(self._temporary(run_id))
            os.makedirs(folder, exist_ok=True)
            self._temporaries[run_id] = folder
        return folder

    def _note(self, target: str) -> None:
        """Only now, with the name in its place: a `sync` that goes on meanwhile would come too early."""
        with self._lock:
            self._unsynced_files.add(target)
            self._unsynced.add(os.path.dirname(target))

    def _settle(self, folder: str) -> None:
        """Creates a folder; notes it, and those that lead to it, for the next `sync`.

        Also folders that are there: the process that created them may have died before it synced them.
        """
        if folder in self._settled:
            return
        root = str(self._root)
        if root not in self._settled:
            with self._lock:
                missing = list(takewhile(lambda place: not place.exists(), (self._root, *self._root.parents)))
                os.makedirs(root, exist_ok=True)
                for place in missing:
                    _sync_folder(str(place.parent))
                self._settled.add(root)
        os.makedirs(folder, exist_ok=True)
        with self._lock:
            while folder not in self._settled:
                self._settled.add(folder)
                folder = os.path.dirname(folder)
                self._unsynced.add(folder)

    def sync(self) -> None:
        """Makes durable all that this object stored, and what `find` found: call it before anything names a stored file.

        Many files at once, and a folder once for all of its files: one write of the file system's journal serves all that wait for it.

        Raises:
            BronzeError: the disk refuses.
        """
        with self._lock:
            files, self._unsynced_files = self._unsynced_files, set()
            folders, self._unsynced = self._unsynced, set()
        try:
            with ThreadPoolExecutor(min(_SYNCERS, len(files) + len(folders) or 1)) as pool:
                list(pool.map(_sync_file, sorted(files)))
                list(pool.map(_sync_folder, sorted(folders)))
        except OSError as problem:
            with self._lock:
                self._unsynced_files |= files
                self._unsynced |= folders
            raise self._refused("files cannot be synced", problem) from problem

    def _refused(self, what: str, problem: OSError) -> BronzeError:
        advice = _ADVICE.get(problem.errno or 0, "check the disk and run again")
        return BronzeError(f"Bronze {what} below {self._root} ({problem.strerror or problem}): {advice}.")

    def _damaged(self, filename: str, why: str) -> DamagedFileError:
        return DamagedFileError(
            f"Bronze file {filename} below {self._root} is damaged ({why.rstrip('.')}) and was left as it is: "
            "restore it from a backup, or move it away and run again.",
            why,
        )


def file_of(filename: str) -> tuple[str, str] | None:
    """The file_id in a file's name, and the first 16 digits of its body's hash; None for a name that no store gives."""
    name = _NAME.fullmatch(filename.rpartition("/")[2])
    return (name["file_id"], name["hash16"]) if name else None


def _packed(body: bytes | LargeBody) -> Iterable[bytes]:
    """The body as a gzip file; a large one in pieces."""
    if isinstance(body, bytes):
        return (igzip.compress(body, _LEVEL, mtime=0),)
    return _packed_pieces(body)


def _packed_pieces(body: LargeBody) -> Iterator[bytes]:
    packer = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _GZIP)
    for piece in body.pieces():
        yield packer.compress(piece)
    yield packer.flush()


def _utc(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _sync_file(path: str) -> None:
    """Makes a file's bytes durable; one that was moved away since is somebody else's doing."""
    with contextlib.suppress(FileNotFoundError):
        sync(path)


def _sync_folder(folder: str) -> None:
    """Makes the names in a folder durable: a rename alone can be lost in a power cut."""
    try:
        sync(folder)
    except OSError as problem:
        # Some network file systems cannot sync a folder and say so; their server orders renames itself.
        if problem.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
