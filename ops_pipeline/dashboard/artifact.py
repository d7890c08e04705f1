"""A raw file made readable: tree, table or text, a page at a time, whatever state the file is in.

Belongs here: reading one bronze file within bounds, and deciding how it can be shown. Does not belong here: markup (`views`), what the
bytes mean to a recipe (silver).
"""

from __future__ import annotations

import csv
import io
import json
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ops_pipeline.errors import BronzeError

if TYPE_CHECKING:
    from ops_pipeline.bronze.store import BronzeStore

MOST_BYTES = 64_000_000
"""Of a body; what comes after is not shown. A page must not take the machine's memory."""

MOST_PARSED_BYTES = 24_000_000
"""A larger JSON body is shown as text: its objects would take ten times its size."""

PAGE_RECORDS, PAGE_LINES, PAGE_CHARACTERS = 50, 100, 20_000


@dataclass(frozen=True)
class Artifact:
    """A raw file, ready to be shown.

    Attributes:
        kind: json, csv or text.
        problem: why the file is not what it should be, in a sentence; empty when it is.
        size: bytes of the body that could be read.
        document: of a JSON file, the parsed body.
        header: of a CSV file, its first line's cells.
        rows: of a CSV file, the lines after it.
        text: of a text, the body.
    """

    kind: str
    problem: str
    size: int
    document: Any = None
    header: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    text: str = ""

    @property
    def length(self) -> int:
        """What the pages divide: elements of the list, lines of the table, characters of the text."""
        match self.kind:
            case "json":
                return len(self.document) if isinstance(self.document, list) else 1
            case "csv":
                return len(self.rows)
            case _:
                return len(self.text)

    @property
    def page_length(self) -> int:
        """How much of `length` one page shows."""
        return {"json": PAGE_RECORDS, "csv": PAGE_LINES}.get(self.kind, PAGE_CHARACTERS)


def open_artifact(store: BronzeStore, filename: str) -> Artifact:
    """The file, as far as it can be read; never an exception for the state that it is in."""
    body, problem = _body(store, filename)
    if body is None:
        return Artifact("text", problem, 0)
    extension = filename.removesuffix(".gz").removesuffix(".error").rpartition(".")[2]
    if not problem and extension == "json":
        if len(body) > MOST_PARSED_BYTES:
            problem = f"The body is larger than {MOST_PARSED_BYTES // 1_000_000} MB and is shown as text."
        else:
            try:
                return Artifact("json", "", len(body), document=json.loads(body))
            except (ValueError, RecursionError) as e:
                problem = f"This is no valid JSON ({e}); it is shown as text."
    text, undecoded = _decoded(body)
    if not problem and extension == "csv":
        if undecoded:
            problem = "Some bytes are no UTF-8; they stand as \N{REPLACEMENT CHARACTER}."
        table = _table(text)
        if table:
            return Artifact("csv", problem, len(body), header=table[0], rows=table[1:])
        problem = problem or ("The file is empty." if not text.strip() else "This is no CSV table; it is shown as text.")
    return Artifact("text", problem or ("The file is empty." if not body else ""), len(body), text=text)


def _body(store: BronzeStore, filename: str) -> tuple[bytes | None, str]:
    """The body, or of a damaged file the part that can be unpacked, and what is wrong."""
    try:
        path = store.path(filename)
        if path.stat().st_size <= MOST_BYTES // 20:
            body = store.read(filename)
            if len(body) <= MOST_BYTES:
                return body, ""
            return body[:MOST_BYTES], f"Only the first {MOST_BYTES // 1_000_000} MB are shown."
        problem = ""
    except FileNotFoundError:
        return None, f"The file {filename} is missing below the bronze folder: restore it from a backup, or ask again."
    except (BronzeError, OSError) as e:
        problem = str(e)
    try:
        packed = store.path(filename).read_bytes()
    except (BronzeError, OSError):
        return None, problem
    body, whole = _unpacked(packed)
    if not problem and not whole:
        problem = f"Only the first {len(body) / 1_000_000:.0f} MB are shown."
    return body, problem


def _unpacked(packed: bytes) -> tuple[bytes, bool]:
    """What can be unpacked, at most MOST_BYTES, and whether that is all; bytes that are not packed are given as they are."""
    unpacker = zlib.decompressobj(wbits=31)
    made = io.BytesIO()
    try:
        for begin in range(0, len(packed), 65_536):
            made.write(unpacker.decompress(packed[begin : begin + 65_536], MOST_BYTES + 1 - made.tell()))
            if made.tell() > MOST_BYTES:
                return made.getvalue()[:MOST_BYTES], False
    except zlib.error:
        if not made.tell():
            return packed[:MOST_BYTES], False
    return made.getvalue(), unpacker.eof


def _decoded(body: bytes) -> tuple[str, bool]:
    try:
        return body.decode("utf-8-sig"), False
    except UnicodeDecodeError:
        return body.decode("utf-8", errors="replace"), True


def _table(text: str) -> list[list[str]]:
    """The cells of a CSV text; none where it has no table's shape."""
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline="")) if line]
    except csv.Error:
        return []
    return lines if lines and len(lines[0]) > 1 else []
