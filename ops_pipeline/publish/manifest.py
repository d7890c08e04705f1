"""What a version holds, as its manifest.json tells it.

Belongs here: the document's shape, reading and writing it. Does not belong here: folders and leases (`versions`).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ops_pipeline.files import write_atomically
from ops_pipeline.publish.layout import Column, Layout

if TYPE_CHECKING:
    from pathlib import Path

NAME = "manifest.json"


@dataclass(frozen=True, slots=True)
class File:
    """A Parquet file of a table: its rows and its size in bytes."""

    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """A table of a version.

    Attributes:
        dataset: the dataset key that a silver table belongs to.
        comment: what it holds.
        columns: in order.
        files: by name, in the folder `<schema>/<table>` of the version.
        layout: how it is cut into them.
    """

    dataset: str | None
    comment: str | None
    columns: tuple[Column, ...]
    files: dict[str, File]
    layout: Layout

    @property
    def rows(self) -> int:
        """How many rows the table has."""
        return sum(file.rows for file in self.files.values())


@dataclass(frozen=True, slots=True)
class Manifest:
    """A version.

    Attributes:
        version: its name.
        created_at: when it was made (UTC): it holds what was committed by then.
        tables: by name.
        root: the folder that its views name; another one when the data folder was moved.
        objects: statements that make the database's own views and table macros over these tables, such as those for as-of reads.
    """

    version: str
    created_at: datetime
    tables: dict[str, PublishedTable] = field(default_factory=dict)
    root: str = ""
    objects: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        """Writes the manifest into the version's folder."""
        document = {**asdict(self), "created_at": self.created_at.isoformat()}
        write_atomically(folder / NAME, json.dumps(document, indent=1).encode())


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a version's folder; None where there is none that can be read."""
    try:
        document = json.loads((folder / NAME).read_bytes())
        return Manifest(
            version=document["version"],
            created_at=datetime.fromisoformat(document["created_at"]),
            tables={name: _table(told) for name, told in document["tables"].items()},
            root=document["root"],
            objects=tuple(document.get("objects", ())),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _table(told: dict[str, Any]) -> PublishedTable:
    return PublishedTable(
        dataset=told["dataset"],
        comment=told["comment"],
        columns=tuple(Column(**column) for column in told["columns"]),
        files={name: File(**file) for name, file in told["files"].items()},
        layout=Layout(**told["layout"]),
    )
