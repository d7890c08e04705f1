"""How vendors are asked.

Belongs here: the clients that turn a request into answers, and the list of those that are built in. Does not belong here: what is
asked and when (recipes, ops), and where answers are kept (bronze).
"""

from __future__ import annotations

import importlib
import threading
from typing import TYPE_CHECKING

from ops_pipeline.sources.base import Answer, Request, Source, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from ops_pipeline.recipes.models import Recipe
    from ops_pipeline.recipes.source import SourceDeclaration

__all__ = ["Answer", "Request", "Source", "SourceError", "open_source", "prepare"]


def prepare(declarations: Iterable[SourceDeclaration]) -> None:
    """Loads what the sources' clients need, in a thread of its own: importing them takes as long as planning a run."""
    if any(declaration.client == "http" for declaration in declarations):
        threading.Thread(target=importlib.import_module, args=("ops_pipeline.sources.http",), daemon=True).start()


def open_source(
    declaration: SourceDeclaration, recipes: Mapping[str, Recipe], *, counts: Path | None = None, folder: Path | None = None
) -> Source:
    """Gives a new client of the kind that a source's declaration names; the caller closes it.

    Args:
        declaration: the source.
        recipes: the catalogue's recipes by dataset key.
        counts: the folder in which all processes count together what sources were asked; None: nothing is counted.
        folder: where bodies that are too large for memory wait until they are stored; None: in memory.
    """
    # Imported when they are wanted: aiohttp alone takes some 200 ms, which a run over the sample data need not pay.
    match declaration.client:
        case "sample":
            from ops_pipeline.sources.sample import SampleSource

            return SampleSource()
        case "http":
            from ops_pipeline.sources.http import HttpClient

            return HttpClient(declaration, recipes, counts=counts, folder=folder)
        case "python":
            from ops_pipeline.sources.python import OwnSource

            return OwnSource(declaration)
        case "files":
            from ops_pipeline.sources.files import FilesClient

            return FilesClient(declaration)
