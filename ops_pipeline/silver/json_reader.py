"""Reading JSON answers into raw text.

Belongs here: finding the records that a recipe's `answer` describes, and their fields, in one statement for many files. Does not belong
here: types and verdicts (`typing_sql`), and what a body looks like from outside (`bodies`).

A list of records is read record by record. Any other layout is read as one document a file and taken apart level by level, one level a
`*` of `answer.records`; fields of outer levels are read before their level is taken apart, once a value and not once a record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ops_pipeline.silver.bodies import OWN_WORDS, Look, StoredAnswer, UnreadableError
from ops_pipeline.silver.typing_sql import literal, present_sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import duckdb

    from ops_pipeline.recipes.answers import Column
    from ops_pipeline.recipes.models import Recipe

# Of a record that cannot be read, so much is shown.
_SHOWN = 120
# DuckDB's own limit of one value, and room behind a body for its end.
_SMALLEST_LIMIT, _ROOM = 16 * 1024 * 1024, 1024
# Of a field's value, so much is kept as an example.
_EXAMPLE = 80


class JsonReader:
    """JSON: a list of records, or whatever `answer.records` and `answer.record` describe."""

    minds_quotes: ClassVar[bool] = False

    def examine(self, recipe: Recipe, look: Look) -> tuple[bool, tuple[str, ...]]:
        """DuckDB reads an array that was cut behind a comma as if it had ended there, and blanks as an empty array."""
        if _plain(recipe):
            if look.first != b"[":
                raise UnreadableError(f"the answer is not a JSON array; it begins with {look.beginning(_SHOWN)}")
            if look.last != b"]":
                raise UnreadableError("the JSON array does not end where the answer ends: it was cut, or something follows it")
            return True, ()
        closing = {b"[": b"]", b"{": b"}"}.get(look.first)
        if closing is None:
            raise UnreadableError(f"the answer is no JSON document; it begins with {look.beginning(_SHOWN)}")
        if look.last != closing:
            raise UnreadableError("the JSON document does not end where the answer ends: it was cut, or something follows it")
        return True, ()

    def relations(
        self, recipe: Recipe, answers: Sequence[StoredAnswer], *, threads: int
    ) -> Iterator[tuple[list[StoredAnswer], str]]:
        """All files in one query: extracting a list of paths is faster than reading typed columns, and keeps the record's text at hand."""
        if answers:
            yield list(answers), f"SELECT _file_no, {_columns(recipe)}, _shape FROM ({_records(recipe, answers)})"

    def positioned(self, connection: duckdb.DuckDBPyConnection, recipe: Recipe, answer: StoredAnswer) -> str:
        """The same with the record's own text; the number of a record is its place in the answer."""
        records = _records(recipe, [answer], positioned=True)
        own = "_position, record::VARCHAR AS _raw_text, NULL::VARCHAR AS _line_error"
        return f"SELECT _file_no, {_columns(recipe)}, _shape, {own} FROM ({records})"

    def shapes(
        self, connection: duckdb.DuckDBPyConnection, recipe: Recipe, answer: StoredAnswer
    ) -> dict[int, dict[str, str | None]]:
        """The names of objects, the positions of arrays, or the lists that stand side by side."""
        if recipe.answer.record == "parallel":
            source, record = _levels(recipe, [answer], positioned=False)
        else:
            source, record = f"({_records(recipe, [answer], positioned=True)})", "record"
        if recipe.answer.record == "array":
            kind, names, values = "ARRAY", "range(json_array_length(record)::BIGINT)::VARCHAR[]", "$[*]"
        else:
            kind, names, values = "OBJECT", "json_keys(record)", "$.*"
        pairs = f"unnest({names}) AS field, unnest(json_extract(record, '{values}')) AS value"
        found = connection.execute(
            f"SELECT shape, field, first(left(value::VARCHAR, {_EXAMPLE})) FROM (SELECT {_shape(recipe, 'record')} AS shape, {pairs}"
            f" FROM (SELECT {record} AS record FROM {source}) WHERE json_type(record) = '{kind}')"
            " GROUP BY shape, field ORDER BY shape, field"
        ).fetchall()
        shapes: dict[int, dict[str, str | None]] = {}
        for shape, name, example in found:
            shapes.setdefault(shape, {})[name] = example
        return shapes


def _plain(recipe: Recipe) -> bool:
    """Whether the answer is a list of records and nothing else."""
    return recipe.answer.records is None and not any(c.up or c.record_name for c in recipe.columns)


def _columns(recipe: Recipe) -> str:
    return ", ".join(f"{present_sql(recipe, c, raw)} AS _r{i}" for i, (c, raw) in enumerate(_places(recipe)))


def _places(recipe: Recipe) -> list[tuple[Column, str]]:
    """Each column and where `_records` puts its text: v of its level, or the name of a record there."""
    depth = _depth(recipe)
    taken: dict[int, int] = {}
    places = []
    for column in recipe.columns:
        level = depth - column.up
        if column.record_name:
            places.append((column, f"n{level}"))
            continue
        taken[level] = taken.get(level, 0) + 1
        places.append((column, f"v{level}[{taken[level]}]"))
    return places


def _depth(recipe: Recipe) -> int:
    """The level of the records; the answer itself has level 0."""
    return len(recipe.answer.segments) - 1 + (recipe.answer.record == "parallel")


def _texts(recipe: Recipe, level: int) -> str:
    """The texts of a level's columns as one list.

    By pointers: a path ($."name") gives some characters of a name a meaning of its own, and has no way to write others.
    """
    mine = [c for c in recipe.columns if _depth(recipe) - c.up == level and not c.record_name]
    whole = "record" if level == _depth(recipe) else "value"
    if not mine:
        return f"NULL::VARCHAR[] AS v{level}"
    if all(c.path != "" for c in mine):
        return f"json_extract_string({whole}, [{', '.join(literal(c.pointer) for c in mine)}]) AS v{level}"
    # The pointer to the value itself is no pointer to DuckDB, which takes `$` for it, and no list of both.
    texts = (f"json_extract_string({whole}, {literal(c.pointer or '$')})" for c in mine)
    return f"[{', '.join(texts)}] AS v{level}"


def _records(recipe: Recipe, answers: Sequence[StoredAnswer], *, positioned: bool = False) -> str:
    """One row a record: _file_no, v0, v1, ... and n1, n2, ... (see `_places`), record, _shape, and where wanted _position."""
    depth = _depth(recipe)
    if _plain(recipe):
        more = ", json AS record, row_number() OVER () AS _position" if positioned else ""
        texts = _texts(recipe, depth).replace("(record,", "(json,")
        return (
            f"SELECT {_numbers(answers)} AS _file_no, {texts}, {_shape(recipe, 'json')} AS _shape{more}"
            f" FROM read_json_objects({_paths(answers)}, format='array', compression='gzip')"
        )
    source, record = _levels(recipe, answers, positioned=positioned)
    if recipe.answer.record == "parallel":
        source, texts = _side_by_side(recipe, source, record, positioned=positioned), ""
    else:
        source = f"(SELECT *, coalesce({record}, 'null'::JSON) AS record FROM {source})"
        texts = f", {_texts(recipe, depth)}, {_shape(recipe, 'record')} AS _shape"
    orders = ", ".join(f"o{level}" for level in range(depth + 1))
    position = f", row_number() OVER (ORDER BY {orders}) AS _position" if positioned else ""
    return f"SELECT *{texts}{position} FROM {source}"


def _shape(recipe: Recipe, record: str) -> str:
    """A number for the fields that a record has; equal fields have equal numbers."""
    # Each of the two parses the record once more, so only the one that tells something is asked.
    return f"hash({'json_array_length' if recipe.answer.record == 'array' else 'json_keys'}({record}))"


def _levels(recipe: Recipe, answers: Sequence[StoredAnswer], *, positioned: bool) -> tuple[str, str]:
    """One row a value at the last `*`, as (relation, SQL of what stands below it); outer texts, names and places come with it."""
    first, *rest = recipe.answer.segments
    biggest = max((a.size or 0 for a in answers), default=0) + _ROOM
    order = ", row_number() OVER () AS o0" if positioned else ""
    source = (
        f"(SELECT {_numbers(answers)} AS _file_no, {_names(answers)} AS _name, json AS value{order} FROM read_json_objects("
        f"{_paths(answers)}, format='unstructured', compression='gzip', maximum_object_size={max(biggest, _SMALLEST_LIMIT)}))"
    )
    below, place = first, first
    for level, segment in enumerate(rest, start=1):
        outer = f", {_texts(recipe, level - 1)}" if level - 1 < _depth(recipe) else ""
        held = f"(SELECT * EXCLUDE (value){outer}, {_below('value', below)} AS held FROM {source})"
        named = any(c.record_name and _depth(recipe) - c.up == level for c in recipe.columns)
        names = (
            "CASE json_type(held) WHEN 'OBJECT' THEN json_keys(held) ELSE range(json_array_length(held)::BIGINT)::VARCHAR[] END"
        )
        more = f", unnest({names}) AS n{level}" if named else ""
        count = "CASE json_type(held) WHEN 'OBJECT' THEN len(json_keys(held)) ELSE json_array_length(held) END"
        more += f", unnest(range(({count})::BIGINT)) AS o{level}" if positioned else ""
        source = f"(SELECT * EXCLUDE (held), unnest({_values(recipe, place)}) AS value{more} FROM {held})"
        below, place = segment, f"{place}/*{segment}"
    if not rest and recipe.answer.record != "parallel":
        here = _below("value", below)
        absent = "false" if recipe.answer.may_lack_records else _refusal(f"the answer holds nothing at {place or 'its top'}")
        source = (
            f"(SELECT * FROM {source} WHERE CASE WHEN coalesce(json_type({here}), 'NULL') <> 'NULL' THEN true ELSE {absent} END)"
        )
    return source, _below("value", below)


def _below(value: str, pointer: str) -> str:
    return f"json_extract({value}, {literal(pointer)})" if pointer else value


def _refusal(sentence: str) -> str:
    """SQL that fails the file with a sentence; DuckDB's message then names the file as its own messages do."""
    return f"error({literal(OWN_WORDS + sentence)} || ' in file \"' || _name || '\"')"


def _values(recipe: Recipe, place: str) -> str:
    """The elements of a list or the values of an object."""
    none = "WHEN held IS NULL OR json_type(held) = 'NULL' THEN []" if recipe.answer.may_lack_records else ""
    where = f"at {place}" if place else "where the answer begins"
    refusal = _refusal(f"the answer holds no list of records {where}")
    return (
        f"CASE {none} WHEN json_type(held) = 'ARRAY' THEN json_extract(held, '$[*]')"
        f" WHEN json_type(held) = 'OBJECT' THEN json_extract(held, '$.*') ELSE {refusal} END"
    )


def _side_by_side(recipe: Recipe, source: str, held: str, *, positioned: bool) -> str:
    """Records out of lists that stand side by side, which must be of one length: nobody could tell which element is missing."""
    depth = _depth(recipe)
    mine = [(i, c) for i, c in enumerate(c for c in recipe.columns if not c.up and not c.record_name)]
    lists = ", ".join(f"json_extract(held, {literal(c.pointer)}) AS l{i}" for i, c in mine)
    lengths = ", ".join(f"CASE WHEN json_type(l{i}) <> 'NULL' THEN json_array_length(l{i}) END" for i, _ in mine)
    place = recipe.answer.records or "the top"
    checks = [
        f"WHEN json_type(l{i}) NOT IN ('ARRAY', 'NULL') THEN {_refusal(f'{c.source_field} at {place} is no list')}"
        for i, c in mine
    ]
    nothing = "0" if recipe.answer.may_lack_records else _refusal(f"the answer holds no lists at {place}")
    checks.append(f"WHEN len(list_filter([{lengths}], n -> n IS NOT NULL)) = 0 THEN {nothing}")
    uneven = _refusal(f"the lists at {place} that should stand side by side are not of one length")
    checks.append(f"WHEN len(list_distinct([{lengths}])) > 1 THEN {uneven}")
    checks += [
        f"WHEN l{i} IS NULL OR json_type(l{i}) = 'NULL' THEN {_refusal(f'the answer lacks the required column {c.source_field}')}"
        for i, c in mine
        if c.required
    ]
    outer = f", {_texts(recipe, depth - 1)}"
    inner = f"(SELECT * EXCLUDE (value){outer}, {held} AS held FROM {source})"
    counted = (
        f"(SELECT *, CASE {' '.join(checks)} ELSE list_max([{lengths}]) END AS length FROM (SELECT *, {lists} FROM {inner}))"
    )
    cells = ", ".join(f"unnest(json_extract_string(l{i}, '$[*]')) AS c{i}" for i, _ in mine)
    named = any(c.record_name and not c.up for c in recipe.columns)
    more = f", unnest(range(length::BIGINT))::VARCHAR AS n{depth}" if named else ""
    more += f", unnest(range(length::BIGINT)) AS o{depth}" if positioned else ""
    kept = ", ".join(["held", "length", *(f"l{i}" for i, _ in mine)])
    rows = f"(SELECT * EXCLUDE ({kept}), {_shape(recipe, 'held')} AS _shape, {cells}{more} FROM {counted} WHERE length > 0)"
    texts = f"[{', '.join(f'c{i}' for i, _ in mine)}] AS v{depth}"
    pairs = ", ".join(f"{literal(c.source_field)}, c{i}" for i, c in mine)
    raw = f", json_object({pairs}) AS record" if positioned else ""
    left = ", ".join(f"c{i}" for i, _ in mine)
    return f"(SELECT * EXCLUDE ({left}), {texts}{raw} FROM {rows})"


def _paths(answers: Sequence[StoredAnswer]) -> str:
    return "[" + ", ".join(literal(str(a.path)) for a in answers) + "]"


def _names(answers: Sequence[StoredAnswer]) -> str:
    return f"{_paths(answers)}[file_index::BIGINT + 1]"


def _numbers(answers: Sequence[StoredAnswer]) -> str:
    """DuckDB numbers the files of one scan from 0; the batch has numbers of its own, nearly always the same ones."""
    if all(answer.number == place for place, answer in enumerate(answers)):
        return "file_index::INTEGER"
    return "[" + ", ".join(str(a.number) for a in answers) + "][file_index::BIGINT + 1]"
