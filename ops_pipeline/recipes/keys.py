"""Dataset keys: the text that names a dataset, and its parts.

Belongs here: writing and reading that text. Does not belong here: what may be a name (`models`), and anything that needs a package, since
the sources' requests are made of this.
"""

from __future__ import annotations

NO_DISCRIMINATOR = "-"


def join_dataset_key(source: str, dataset: str, discriminator: str) -> str:
    """The partition dimension `dataset`: `<source>.<dataset>[.<discriminator>]`."""
    tail = "" if discriminator == NO_DISCRIMINATOR else f".{discriminator}"
    return f"{source}.{dataset}{tail}"


def split_dataset_key(key: str) -> tuple[str, str, str]:
    """(source, dataset, discriminator) of a dataset key; names hold no dots."""
    source, dataset, *rest = key.split(".", 2)
    return source, dataset, rest[0] if rest else NO_DISCRIMINATOR
