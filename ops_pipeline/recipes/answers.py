"""What a recipe says about an answer: how it is laid out and which of its fields is which column.

Belongs here: the models of a recipe's `answer` and `columns` and their rules. Does not belong here: what is asked and when (`models`),
and the SQL that reads an answer so (`silver`).
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, ClassVar, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, StringConstraints, field_validator, model_validator

from ops_pipeline.recipes.sparse import SparseModel

ColumnName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=60)]

EPOCHS = ("epoch_s", "epoch_ms")
TIMESTAMP_TEXT = "timestamp"
# What DuckDB's strptime reads without bending: no week numbers, whose meaning depends on the system.
_DIRECTIVES = "YymdbBjHIpMSfz"
_DAY_PATTERNS = re.compile(r"%Y.*%(m|b|B).*%d|%Y.*%d.*%(m|b|B)|%(m|b|B).*%d.*%Y|%d.*%(m|b|B).*%Y|%Y.*%j|%j.*%Y", re.DOTALL)


def known_zone(value: str) -> str:
    """The IANA time zone.

    Raises:
        ValueError: there is none of this name.
    """
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as e:
        raise ValueError(f"{value!r} is not an IANA time zone such as America/New_York") from e
    return value


def pointer(value: str) -> str:
    """A JSON pointer.

    Raises:
        ValueError: it is none.
    """
    if value and not value.startswith("/"):
        raise ValueError("a pointer begins with /, such as /historical/*")
    if re.search(r"~(?![01])", value):
        raise ValueError("in a pointer, ~ is written ~0 and / in a name ~1")
    return value


class ColumnType(StrEnum):
    """The types of silver columns; `double` and `integer` refuse what they cannot hold as sent (NaN, infinities, 1.5 as integer)."""

    TEXT = "text"
    INTEGER = "integer"
    DOUBLE = "double"
    DATE = "date"
    TIMESTAMP = "timestamp"
    BOOLEAN = "boolean"

    @property
    def sql(self) -> str:
        """The DuckDB type."""
        return {
            "text": "VARCHAR",
            "integer": "BIGINT",
            "double": "DOUBLE",
            "date": "DATE",
            "timestamp": "TIMESTAMPTZ",
            "boolean": "BOOLEAN",
        }[self]


class Column(SparseModel):
    """One silver column and where it stands in the vendor's record.

    Attributes:
        name: of the silver column.
        type: of the silver column.
        field: the record's key (JSON) or header (CSV); default: the column's name. A position, from 0, where records are arrays or a CSV
            has no header.
        path: JSON: instead of `field`, a pointer below the record, such as `/details/symbol`; "" is the record itself.
        record_name: JSON: instead of `field`, the name under which the record stands in an object, or its position in a list, from 0.
        up: the field stands so many `*` of `answer.records` further out; outer fields are repeated for every inner record.
        format: of dates and timestamps that are not written as 2026-10-30: epoch_s, epoch_ms, timestamp (a date column takes its day), or
            a pattern such as `%d %B %Y`.
        zone: the time zone of texts that name none, and the one whose day a date is; default: UTC.
        missing: texts of this column that mean: no value.
        zero_is_missing: the number 0 means: no value.
        required: a record without a value here is refused.
        comment: what it means, with its unit.
    """

    _later: ClassVar[frozenset[str]] = frozenset({"path", "record_name", "up", "format", "zone", "missing", "zero_is_missing"})

    name: ColumnName
    type: ColumnType
    field: str = Field(
        default="", alias="from", description="the record's key (JSON) or header (CSV); default: the column's name"
    )
    path: str | None = None
    record_name: bool = False
    up: int = Field(default=0, ge=0, le=8)
    format: str = ""
    zone: str = ""
    missing: list[str] = Field(default=[])
    zero_is_missing: bool = False
    required: bool = False
    comment: str = ""

    @field_validator("path")
    @classmethod
    def _a_pointer(cls, value: str | None) -> str | None:
        return None if value is None else pointer(value)

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        return known_zone(value) if value else value

    @model_validator(mode="after")
    def _fits_the_type(self) -> Self:
        if (bool(self.field) + (self.path is not None) + self.record_name) > 1:
            raise ValueError(f"column {self.name}: from, path and record_name exclude each other")
        timed = self.type in (ColumnType.DATE, ColumnType.TIMESTAMP)
        if (self.format or self.zone) and not timed:
            raise ValueError(f"column {self.name}: format and zone are for columns of type date and timestamp")
        if self.zero_is_missing and self.type not in (ColumnType.DOUBLE, ColumnType.INTEGER):
            raise ValueError(f"column {self.name}: zero_is_missing is for columns of type double and integer")
        if self.format and self.format not in (*EPOCHS, TIMESTAMP_TEXT):
            _check_pattern(self.name, self.format)
        if self.zone and self.type is ColumnType.DATE and self.format not in (*EPOCHS, TIMESTAMP_TEXT):
            raise ValueError(
                f"column {self.name}: a day has no zone; it is for the formats {', '.join(EPOCHS)} and {TIMESTAMP_TEXT}"
            )
        if self.zone and self.format in EPOCHS and self.type is ColumnType.TIMESTAMP:
            raise ValueError(f"column {self.name}: {self.format} counts in UTC, whatever the zone; leave zone out")
        return self

    @property
    def source_field(self) -> str:
        """The field of the vendor's record that fills this column; a pointer where `path` says so."""
        return self.field or self.path or self.name

    @property
    def record_field(self) -> str | None:
        """The record's own field in which the column stands; None where it is taken from around the record, or is the record."""
        if self.up or self.record_name or self.path == "":
            return None
        return self.source_field if self.path is None else self.path.split("/")[1].replace("~1", "/").replace("~0", "~")

    @property
    def pointer(self) -> str:
        """Where the column stands below its record, as a JSON pointer."""
        return self.path if self.path is not None else "/" + self.source_field.replace("~", "~0").replace("/", "~1")


def _check_pattern(column: str, pattern: str) -> None:
    used = re.findall(r"%(-?.)", pattern)
    unknown = [d for d in used if d != "%" and d.removeprefix("-") not in _DIRECTIVES]
    if unknown:
        raise ValueError(f"column {column}: the format's %{unknown[0]} is not understood")
    if not _DAY_PATTERNS.search(pattern):
        known = ", ".join((*EPOCHS, TIMESTAMP_TEXT))
        raise ValueError(
            f"column {column}: format is one of {known}, or a pattern with year (%Y), month (%m, %b, %B) and day (%d)"
        )


class Unpivot(SparseModel):
    """A table with one column a series, turned into rows: every column but `keep` becomes a (name, value) pair."""

    keep: list[str] = Field(min_length=1, description="headers of the columns that stay, such as the date")
    name_to: str = Field(description="record field that receives the header")
    value_to: str = Field(description="record field that receives the cell")

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        fields = [*self.keep, self.name_to, self.value_to]
        if len(set(fields)) != len(fields):
            raise ValueError("unpivot: keep, name_to and value_to must all be different fields")
        return self


class AnswerFormat(SparseModel):
    """How the vendor's answer is laid out.

    Attributes:
        format: of the body.
        missing: texts that mean: no value, in every column.
        ignored: fields of a record that are known and deliberately not taken, so that they are no news.
        records: JSON: a pointer to the records, in which `*` stands for every element of a list and every value of an object, such as
            `/historical/*`; without `*` the one record at that place. None: the answer is a list of records.
        record: JSON: what a record is: an `object`; an `array`, whose fields are positions; or `parallel`: what `records` points at holds
            lists side by side, and the records are their first, second, ... elements.
        may_lack_records: JSON: an answer with nothing at that place holds no records, instead of failing.
        delimiter: CSV: what stands between cells.
        header: CSV: the first line holds names; otherwise columns are named by position, from 0.
        trim: CSV: blanks around a cell are not a part of it.
        unpivot: CSV: one column a series becomes rows.
    """

    _later: ClassVar[frozenset[str]] = frozenset(
        {"ignored", "records", "record", "may_lack_records", "delimiter", "header", "trim"}
    )

    format: Literal["json", "csv", "parquet"]
    missing: list[str] = Field(default=[], description="texts that mean: no value")
    ignored: list[str] = Field(default=[])
    records: str | None = None
    record: Literal["object", "array", "parallel"] = "object"
    may_lack_records: bool = False
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    header: bool = True
    trim: bool = False
    unpivot: Unpivot | None = None

    @field_validator("records")
    @classmethod
    def _a_pointer(cls, value: str | None) -> str | None:
        return None if value is None else pointer(value)

    @field_validator("delimiter")
    @classmethod
    def _no_part_of_a_cell(cls, value: str) -> str:
        if value in "\"\r\n\0 '" or value.isalnum() or not value.isascii():
            raise ValueError('use a character such as ; or | (a tab is "\\t")')
        return value

    @model_validator(mode="after")
    def _of_its_format(self) -> Self:
        if self.unpivot and self.format != "csv":
            raise ValueError("unpivot works on csv answers only")
        if self.unpivot and not self.header:
            raise ValueError("unpivot needs a header, whose names are the series")
        json_only, csv_only = ("records", "record", "may_lack_records"), ("delimiter", "header", "trim")
        other = {"csv": json_only, "json": csv_only, "parquet": json_only + csv_only}[self.format]
        for name in other:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} does not work on {self.format} answers")
        if self.record == "parallel" and self.records is None:
            raise ValueError('record: parallel needs `records`: where the lists stand side by side ("" for the answer itself)')
        return self

    @property
    def segments(self) -> list[str]:
        """`records` as pointers between the `*`: one more than there are stars, and where it ends in a star the last is empty."""
        parts: list[list[str]] = [[]]
        for name in (self.records if self.records is not None else "/*").split("/")[1:]:
            if name == "*":
                parts.append([])
            else:
                parts[-1].append(name)
        return ["".join(f"/{name}" for name in part) for part in parts]

    def check_column(self, column: Column) -> None:
        """Whether a column can be found in such an answer.

        Raises:
            ValueError: it cannot; the text says why.
        """
        field, where = column.source_field, f"column {column.name}"
        if self.format != "json":
            if column.up or column.record_name or column.path is not None:
                raise ValueError(f"{where}: up, path and record_name do not work on {self.format} answers")
            if not self.header and not field.isdecimal():
                raise ValueError(f"{where}: without a header, `from` is a position, from 0")
            return
        outermost = len(self.segments) - 1 + (self.record == "parallel")
        if column.up > outermost:
            raise ValueError(f"{where}: up {column.up} is further out than the answer, which is up {outermost}")
        if self.record == "array" and not column.up and not column.record_name and column.path is None and not field.isdecimal():
            raise ValueError(f"{where}: in records that are arrays, `from` is a position, from 0")
        if column.record_name and column.up >= outermost:
            raise ValueError(
                f"{where}: record_name is the name under which a record stands, and the whole answer stands under none"
            )
        if column.path == "" and self.record == "parallel" and not column.up:
            raise ValueError(f"{where}: lists side by side have no records to be taken whole")
