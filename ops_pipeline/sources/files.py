"""A folder of existing files as a source: each file is one answer, its bytes as they are.

Belongs here: which files belong to a dataset and a ticker, whether one has changed, and reading it whole. Does not belong here: what is
imported when (`engine.own_files`) and what the bytes mean (silver).
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ops_pipeline.recipes.models import NO_TICKER
from ops_pipeline.sources.base import Answer, Request, SourceError

if TYPE_CHECKING:
    from ops_pipeline.recipes.own import FilesSource
    from ops_pipeline.recipes.source import SourceDeclaration

FILE_PARAM: Final = "file"
"""The parameter of a request that names its file, below the source's folder and with forward slashes."""

LARGEST_FILE: Final = 2 * 1024**3
_TICKER: Final = "{ticker}"
_GZIP: Final = b"\x1f\x8b"


class FilesClient:
    """Reads the files that requests name."""

    def __init__(self, declaration: SourceDeclaration) -> None:
        """Notes the folder."""
        if declaration.files is None:
            raise ValueError(f"{declaration.name} declares no folder")
        self._files = declaration.files

    async def fetch(self, request: Request) -> AsyncIterator[Answer]:
        """Gives the bytes of the request's file.

        Raises:
            SourceError: the file is not there, cannot be read, is too large, leads out of the folder, or changes while it is read.
        """
        name = dict(request.params).get(FILE_PARAM)
        if name is None:
            raise SourceError(
                f"{request.dataset_key} is imported from files, and no file is named: run it again.", kind="permanent"
            )
        yield Answer(await asyncio.to_thread(self._read, name))

    async def aclose(self) -> None:
        """Does nothing: no file is held."""

    def _read(self, name: str) -> bytes:
        path = self._files.path / name
        try:
            folder, real = self._files.path.resolve(), path.resolve(strict=True)
            if not real.is_relative_to(folder):
                raise SourceError(
                    f"{path} leads out of {folder}: put the file there, or declare the other folder.", kind="permanent"
                )
            if not real.is_file():
                raise SourceError(
                    f"{path} is no file: move it out of the way, or correct `files` of the recipe.", kind="permanent"
                )
            with real.open("rb") as file:
                before = os.fstat(file.fileno())
                if before.st_size > LARGEST_FILE:
                    raise SourceError(f"{path} is larger than {LARGEST_FILE >> 30} GB: split it.", kind="permanent")
                body = file.read(LARGEST_FILE + 1)
                after = os.fstat(file.fileno())
        except FileNotFoundError:
            raise SourceError(f"{path} is not there: put it there, or correct `files` of the recipe.", kind="permanent") from None
        except (OSError, RuntimeError) as e:
            why = getattr(e, "strerror", None) or str(e)
            raise SourceError(f"{path} cannot be read ({why}): make it readable.", kind="permanent") from None
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or len(body) != after.st_size:
            raise SourceError(f"{path} was written to while it was read: run again when it is complete.", kind="transient")
        if body.startswith(_GZIP):
            raise SourceError(f"{path} is compressed: unpack it first (gunzip).", kind="permanent")
        return body


class Listing:
    """The files of a source's folder by template; a folder is walked once for all tickers."""

    def __init__(self, files: FilesSource) -> None:
        """Notes the folder."""
        self._folder = files.path
        self._walked: dict[str, dict[str, list[str]]] = {}

    def of(self, template: str, ticker: str) -> list[str]:
        """The files of one ticker, or of a dataset without tickers, below the folder and in the order of their names.

        A template without wildcards names its file, whether it is there or not.
        """
        if "/" in ticker or "\0" in ticker or ticker in (".", ".."):
            return []  # no name of a file
        if not _wild(template):
            return [template.replace(_TICKER, ticker)]
        if template not in self._walked:
            self._walked[template] = self._walk(template)
        return self._walked[template].get(ticker, [])

    def changed_at(self, name: str) -> float | None:
        """When the file or its name was last written, in seconds since 1970; None when it is not there.

        The time of the change itself counts as well as that of the content: a copy may keep the times of its original.
        """
        try:
            found = (self._folder / name).stat()
        except (OSError, ValueError):
            return None
        return max(found.st_mtime, found.st_ctime)

    def _walk(self, template: str) -> dict[str, list[str]]:
        fixed = Path(*_leading(template))
        wanted = _pattern(template)
        found: dict[str, list[str]] = {}
        for folder, folders, names in os.walk(self._folder / fixed):
            folders.sort()
            below = Path(folder).relative_to(self._folder)
            for name in names:
                path = (below / name).as_posix()
                match = wanted.fullmatch(path)
                if match and not name.startswith("."):
                    found.setdefault(match.groupdict().get("ticker", NO_TICKER), []).append(path)
        return {ticker: sorted(paths) for ticker, paths in found.items()}


def _wild(text: str) -> bool:
    return "*" in text or "?" in text


def _leading(template: str) -> list[str]:
    """The folders that a template names in full."""
    parts: list[str] = []
    for part in template.split("/")[:-1]:
        if _wild(part) or _TICKER in part:
            break
        parts.append(part)
    return parts


@cache
def _pattern(template: str) -> re.Pattern[str]:
    """What the paths of a template's files look like; a ticker that stands in it twice is the same in both places."""
    pieces, seen = [], False
    for piece in re.findall(r"\*\*/|\{ticker\}|\*|\?|[^*?{]+", template):
        if piece == "**/":
            pieces.append(r"(?:[^/]+/)*")
        elif piece == _TICKER:
            pieces.append(r"(?P=ticker)" if seen else r"(?P<ticker>[^/]+?)")
            seen = True
        elif piece == "*":
            pieces.append("[^/]*")
        elif piece == "?":
            pieces.append("[^/]")
        else:
            pieces.append(re.escape(piece))
    return re.compile("".join(pieces))
