"""Answers that no vendor would own up to: bodies of each format with odd values, and then damaged, drawn by a seed.

Belongs here: making bodies, and counting their records by readers that are not the pipeline's. Does not belong here: staging them and what
must hold afterwards (`test_fuzz`).
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from io import BytesIO, StringIO
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ops_pipeline.recipes.models import Recipe
from ops_pipeline_tests.lake import csv_recipe, fx_recipe, recipe

COLUMNS: list[dict[str, Any]] = [
    {"name": "date", "type": "date", "required": True},
    {"name": "close", "type": "double", "required": True},
    {"name": "volume", "type": "integer"},
    {"name": "note", "type": "text"},
]
POSITIONS = [{**column, "from": str(place)} for place, column in enumerate(COLUMNS)]
SIDE_BY_SIDE = {"format": "json", "records": "/data", "record": "parallel"}
_LENIENT: dict[str, Any] = {"max_reject_share": 1.0}
_DAYS = [str(date(2024, 1, 1) + timedelta(days=n)) for n in range(12)]
_ODD = [
    *(
        "",
        " ",
        "N/A",
        "null",
        "NaN",
        "-inf",
        "1e999",
        "1_0",
        "0x1F",
        "1.5",
        " 2 ",
        "-0",
        "9007199254740993",
        "1,5",
        "٣",
        "2024-02-30",
    ),
    *(
        "é",
        "\ufeff",
        "🦆",
        "\\",
        '"',
        "'",
        "\t",
        "\r",
        "\n",
        "\x00",
        "\x1f",
        "a,b",
        'a"b',
        "two\nlines",
        "${x}",
        "x" * 300,
        "%s",
        "--",
    ),
    *("\u2028", "\ud800"),
]
_JSON = ("[", "]", "{", "}", ",", ":", '"', "\\", "null", "NaN", "1e400", "[]", "{}", "\\u0000", "\\ud800", "//x\n", "[" * 300)
_CSV = (",", "\n", "\r", "\r\n", '"', '""', '"\n', ";", "\t", ",,", "#", "\n\n", "date,close\n", '","')
_TOKENS: dict[str, list[bytes]] = {
    "json": [token.encode() for token in _JSON],
    "csv": [token.encode() for token in _CSV],
    "parquet": [b"PAR1", b"\x15", b"\x00" * 8, b"\xff" * 8, b"\x15\x00\x15\x00"],
}
_ANYWHERE = [b"\x00", b"\xff", b"\xc3", b"\xef\xbb\xbf", b"\xed\xa0\x80", b" ", b"\x80", b"\x1f\x8b"]


@dataclass(frozen=True)
class Kind:
    """A way of answering.

    Attributes:
        recipe: how it is read.
        make: an undamaged body.
        count: the records of any body, by another reader; None where that reader gives up.
    """

    recipe: Recipe
    make: Callable[[random.Random], bytes]
    count: Callable[[bytes], int | None]


def damaged(chance: random.Random, body: bytes, other: bytes, kind: str) -> bytes:
    """The body after a few edits, most of them at its ends and among its marks; `other` is a body that may be pasted in."""
    tokens = [*_TOKENS[kind], *_ANYWHERE]
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        a, b = sorted((chance.randrange(len(body) + 1), chance.randrange(len(body) + 1)))
        match chance.randrange(9):
            case 0:
                body = body[:a]
            case 1:
                body = body[:a] + body[min(b, a + 9) :]
            case 2:
                body = body[:b] + body[a:b] + body[b:]
            case 3 if body:
                place = a % len(body)
                body = body[:place] + bytes([body[place] ^ (1 << chance.randrange(8))]) + body[place + 1 :]
            case 4:
                body = body[:a] + other[chance.randrange(len(other) + 1) :]
            case 5:
                body = body[a:]
            case 6:
                body = body[:a] + chance.randbytes(chance.randint(1, 6)) + body[a:]
            case _:
                body = body[:a] + chance.choice(tokens) + body[a:]
    return body


def _cell(chance: random.Random) -> str:
    return (
        chance.choice(_ODD)
        if chance.random() < 0.3
        else chance.choice((repr(chance.uniform(-9, 9e6)), str(chance.getrandbits(40))))
    )


def _day(chance: random.Random) -> str:
    return chance.choice(_ODD) if chance.random() < 0.1 else chance.choice(_DAYS)


def _value(chance: random.Random) -> object:
    nested: list[object] = [None, True, [1], {"a": 1}, 2**70, 1.5, -0.0]
    return (
        chance.choice(nested)
        if chance.random() < 0.2
        else chance.choice((_cell(chance), chance.uniform(-1, 1e9), chance.getrandbits(30)))
    )


def _record(chance: random.Random) -> dict[str, object]:
    record: dict[str, object] = {"date": _day(chance), "close": _value(chance), "volume": _value(chance), "note": _value(chance)}
    return {name: value for name, value in record.items() if chance.random() < 0.95} | (
        {"new": 1} if chance.random() < 0.1 else {}
    )


def _written(chance: random.Random, document: object) -> bytes:
    text = json.dumps(document, indent=chance.choice((None, None, 1)), ensure_ascii=chance.random() < 0.5)
    return text.encode("utf-8", "surrogatepass")


def _many(chance: random.Random, make: Callable[[random.Random], object]) -> list[object]:
    found = [make(chance) for _ in range(chance.randint(0, 6))]
    if found and chance.random() < 0.1:
        found[chance.randrange(len(found))] = chance.choice((None, 7, "x", [], {}))
    return found


def _objects(chance: random.Random) -> bytes:
    return _written(chance, _many(chance, _record))


def _below(chance: random.Random) -> bytes:
    return _written(chance, {"status": "ok", "data": _many(chance, _record), "next": None})


def _arrays(chance: random.Random) -> bytes:
    return _written(chance, _many(chance, lambda c: [_day(c), _value(c), _value(c), _value(c)][: c.choice((4, 4, 4, 3, 5))]))


def _parallel(chance: random.Random) -> bytes:
    records = [_record(chance) for _ in range(chance.randint(0, 6))]
    return _written(
        chance, {"data": {name: [record.get(name) for record in records] for name in ("date", "close", "volume", "note")}}
    )


def _document(body: bytes) -> Any:
    """The document by Python's reader; None where it is none to it."""
    try:
        return json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None


def _count_list(body: bytes) -> int | None:
    found = _document(body)
    return len(found) if isinstance(found, list) else None


def _count_data(body: bytes) -> int | None:
    found = _document(body)
    data = found.get("data") if isinstance(found, dict) else None
    return len(data) if isinstance(data, list) else None


def _table(chance: random.Random) -> bytes:
    header = chance.sample(["date", "close", "volume", "note"], 4)
    lines = [[_day(chance) if name == "date" else _cell(chance) for name in header] for _ in range(chance.randint(0, 6))]
    text = StringIO(newline="")
    # Python's writer quotes a carriage return only where lines end with one.
    csv.writer(text, lineterminator=chance.choice(("\n", "\r\n")), quoting=csv.QUOTE_ALL).writerows([header, *lines])
    return text.getvalue().encode("utf-8", "surrogatepass")


def _count_lines(body: bytes) -> int | None:
    """Lines behind the header; one that holds nothing but blanks is none."""
    seen: list[str] = []
    count = 0
    try:
        for cells in csv.reader(
            (seen.append(line) or line for line in StringIO(body.decode("utf-8-sig"), newline="")), strict=True
        ):
            count += bool(cells) and bool("".join(seen).strip())
            seen.clear()
    except (ValueError, csv.Error):
        return None
    return count - 1 if count else None


def _wide(chance: random.Random) -> bytes:
    lines = [
        [_day(chance), *(chance.choice(("1.5", "N/A", "", "x", "2")) for _ in range(3))] for _ in range(chance.randint(0, 6))
    ]
    return "".join(",".join(cells) + "\n" for cells in [["Date", "USD", "JPY", "GBP"], *lines]).encode("utf-8", "surrogatepass")


def _file(chance: random.Random) -> bytes:
    rows = chance.randint(0, 6)

    def text() -> str:
        return _cell(chance).encode("utf-8", "replace").decode()

    columns: dict[str, pa.Array] = {
        "date": chance.choice(
            (
                lambda: pa.array([date.fromisoformat(chance.choice(_DAYS)) for _ in range(rows)], pa.date32()),
                lambda: pa.array([chance.choice(_DAYS) for _ in range(rows)], pa.string()),
                lambda: pa.array([chance.getrandbits(40) for _ in range(rows)], pa.timestamp("us")),
            )
        )(),
        "close": pa.array([None if chance.random() < 0.1 else chance.uniform(-1, 1e9) for _ in range(rows)], pa.float64()),
        "volume": pa.array(
            [chance.getrandbits(20) for _ in range(rows)], chance.choice((pa.int64(), pa.float32(), pa.decimal128(20, 3)))
        ),
        "note": pa.array([text() for _ in range(rows)], pa.string()),
    }
    kept = {name: values for name, values in columns.items() if chance.random() < 0.97}
    sink = BytesIO()
    pq.write_table(
        pa.table(kept), sink, compression=chance.choice(("none", "snappy", "zstd")), use_dictionary=chance.random() < 0.5
    )
    return sink.getvalue()


def _count_rows(body: bytes) -> int | None:
    try:
        return int(pq.ParquetFile(BytesIO(body)).metadata.num_rows)
    except (pa.ArrowException, OSError, ValueError):
        return None


def _nothing(_: bytes) -> int | None:
    return None


def _lenient(columns: list[dict[str, Any]], answer: dict[str, Any]) -> Recipe:
    return recipe(columns=columns, answer=answer, **_LENIENT)


KINDS: dict[str, list[Kind]] = {
    "json": [
        Kind(_lenient(COLUMNS, {"format": "json"}), _objects, _count_list),
        Kind(_lenient(COLUMNS, {"format": "json", "records": "/data/*"}), _below, _count_data),
        Kind(_lenient(POSITIONS, {"format": "json", "record": "array"}), _arrays, _count_list),
        Kind(_lenient(COLUMNS, SIDE_BY_SIDE), _parallel, _nothing),
    ],
    "csv": [
        Kind(csv_recipe(columns=COLUMNS, answer={"format": "csv", "missing": ["N/A"]}, **_LENIENT), _table, _count_lines),
        Kind(csv_recipe(columns=COLUMNS[:2], answer={"format": "csv", "trim": True}, **_LENIENT), _table, _count_lines),
        Kind(fx_recipe(**_LENIENT), _wide, _nothing),
    ],
    "parquet": [Kind(_lenient(COLUMNS, {"format": "parquet"}), _file, _count_rows)],
}
"""Format -> its ways of answering."""
