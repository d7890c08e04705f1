"""What staging must find, by Python's own readers and arithmetic, and never by DuckDB.

Belongs here: the reference that the properties compare with. Does not belong here: the properties.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from io import StringIO
from typing import Any

from ops_pipeline.recipes.models import Recipe

NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def double(text: str) -> float | None:
    value = float(text) if NUMBER.fullmatch(text) else float("nan")
    return value if abs(value) < float("inf") else None


def integer(text: str) -> int | None:
    if not NUMBER.fullmatch(text) or double(text) is None:
        return None
    number = Decimal(text.strip())
    plain = not re.search("[.eE]", text)
    if number != number.to_integral_value() or not (plain or abs(float(text)) < 2**53):
        return None
    return int(number) if -(2**63) <= int(number) < 2**63 else None


def day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if DAY.fullmatch(text) else None
    except ValueError:
        return None


TYPES: dict[str, Callable[[str], Any]] = {"double": double, "integer": integer, "date": day, "text": str}


@dataclass
class Expected:
    """One file's records: good ones by key, refused ones by position, and how many there are of each kind."""

    rows: int = 0
    good: dict[tuple[Any, ...], dict[str, Any]] = field(default_factory=dict)
    failed: list[int] = field(default_factory=list)
    out_of_window: int = 0
    superseded: int = 0


def expected(recipe: Recipe, records: Iterable[dict[str, str | None]], first: date | None, last: date | None) -> Expected:
    """Applies the recipe to records of text (None: no value), in their order."""
    result = Expected()
    for position, record in enumerate(records, start=1):
        result.rows += 1
        texts = {c.name: record.get(c.source_field) for c in recipe.columns}
        present = {name: None if text in recipe.answer.missing else text for name, text in texts.items()}
        values = {c.name: None if (text := present[c.name]) is None else TYPES[c.type.value](text) for c in recipe.columns}
        when = values[recipe.date_column or ""]
        if when is not None and ((first and when < first) or (last and when > last)):
            result.out_of_window += 1
        elif any(values[c.name] is None and (c.required or present[c.name] is not None) for c in recipe.columns):
            result.failed.append(position)
        else:
            key = tuple(values[k] for k in recipe.key)
            result.superseded += key in result.good
            result.good[key] = values
    return result


def json_records(body: bytes) -> list[dict[str, str | None]]:
    """The records of an array of objects whose values are texts, integers, floats, booleans or null."""
    return [{name: _text(value) for name, value in record.items()} for record in json.loads(body)]


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else repr(value)


def csv_records(body: bytes) -> list[dict[str, str | None]]:
    """The records of a table in which every line has as many cells as the header; empty cells hold no value."""
    header, *lines = [cells for cells in csv.reader(StringIO(body.decode("utf-8-sig"), newline="")) if cells]
    return [dict(zip(header, (cell or None for cell in cells), strict=True)) for cells in lines]
