"""How vendors are asked.

Belongs here: the clients that turn a request into answers, and the list of those that are built in. Does not belong here: what is
asked and when (recipes, ops), and where answers are kept (bronze).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ops_pipeline.errors import RecipeError
from ops_pipeline.sources.base import Answer, Request, Source, SourceError
from ops_pipeline.sources.sample import SampleSource

__all__ = ["Answer", "Request", "SampleSource", "Source", "SourceError", "open_source"]

_CLIENTS: Final[dict[str, Callable[[], Source]]] = {"sample": SampleSource}


def open_source(name: str) -> Source:
    """Gives a new client by the name that a recipe file's `client` holds; the caller closes it.

    Raises:
        RecipeError: there is no client of that name.
    """
    client = _CLIENTS.get(name)
    if client is None:
        raise RecipeError(
            f"A recipe file names the client {name!r}, which does not exist: use one of {', '.join(sorted(_CLIENTS))}."
        )
    return client()
