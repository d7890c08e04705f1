"""Editing the universe file in place: the lines of the tickers concerned change, and nothing else.

Belongs here: adding and removing entries in the text, wherever YAML says that they stand. Does not belong here: what a ticker or a dataset
may be (`universe`), and reading files (`yaml`).

The text is edited, not written anew from data: a round trip through an editing YAML library turned the ticker `TRUE` into `true`, `+5` into
`5` and `NULL` into nothing, and lost the comments behind a removed entry (ruamel.yaml 0.19). The caller reads the result back before it is
written, so a layout that this module does not understand ends in an error and never in a damaged file.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import TypeAlias

import yaml

# An entry of a list as the file's data have it: a ticker, or a mapping such as {ticker: T, to: DATE} or {group: NAME}.
Entry: TypeAlias = str | dict[str, str]

_Edit = tuple[int, int, str]  # the characters from..to become this text
_NOT_TEXT = frozenset({"true", "false", "null"})


def ticker_of(entry: object) -> str | None:
    """The ticker of an entry; None where it names a group."""
    return entry if isinstance(entry, str) else entry.get("ticker") if isinstance(entry, dict) else None


def edited(
    text: str,
    add: Mapping[str, Sequence[Entry]],
    remove: Mapping[str, Container[str]],
    replace: Mapping[str, Mapping[str, Entry]] | None = None,
) -> str:
    """The text with tickers added to datasets (one that is not in the file yet is put at its end), removed and replaced in others.

    Args:
        text: a universe file that was read without error.
        add: dataset key -> new entries; an empty list adds the dataset alone.
        remove: dataset key -> tickers that go; none of these datasets is in `add`.
        replace: dataset key -> ticker -> what stands in its place.
    """
    datasets = next(value for key, value in _compose(text).value if key.value == "datasets")
    places = {key.value: (key, value) for key, value in datasets.value}
    edits = [_more(text, places[d][1], tickers) for d, tickers in add.items() if tickers and d in places]
    edits += [_new_dataset(text, datasets, d, tickers) for d, tickers in add.items() if d not in places]
    for dataset, gone in remove.items():
        edits += _fewer(text, *places[dataset], gone)
    for dataset, others in (replace or {}).items():
        for item in places[dataset][1].value:
            other = others.get(_ticker(item) or "")
            if other is not None:
                edits.append((item.start_mark.index, item.end_mark.index, scalar(other)))
    pieces, done = [], 0
    # Two datasets that share a list by an anchor want the same edit, once.
    for start, end, replacement in sorted(dict.fromkeys(edits), key=lambda e: e[0]):
        pieces += [text[done:start], replacement]
        done = max(done, end)
    return "".join([*pieces, text[done:]])


def appended(text: str, section: str, entry: Entry) -> str:
    """The text with an entry at the end of a list of its own at the top, such as `renames`; the list is made where there is none."""
    found = next((value for key, value in _compose(text).value if key.value == section), None)
    if not isinstance(found, yaml.SequenceNode):
        if found is not None:
            raise ValueError(f"{section} stands there without a list")
        return f"{text.rstrip()}\n{section}:\n  - {scalar(entry)}\n"
    at, _, more = _more(text, found, [entry]) if found.value or found.flow_style else (0, 0, "")
    return text[:at] + more + text[at:]


def grouped(text: str, name: str, path: str) -> str:
    """The text with a group at the end of `groups`, which is made where there is none."""
    found = next((value for key, value in _compose(text).value if key.value == "groups"), None)
    entry = f"{scalar(name)}: {scalar(path)}"
    if found is None:
        return f"{text.rstrip()}\ngroups:\n  {entry}\n"
    if not isinstance(found, yaml.MappingNode) or (not found.flow_style and not found.value):
        raise ValueError("groups stands there without a mapping")
    if found.flow_style:
        at, _, more = _in_flow(found, [value for _, value in found.value], entry)
    else:
        indent = " " * found.value[0][0].start_mark.column
        at, _, more = _after_line(text, _end(found.value[-1][1]), [f"{indent}{entry}"])
    return text[:at] + more + text[at:]


def _ticker(item: yaml.Node) -> str | None:
    """The ticker of an entry's node; None where it names a group."""
    if isinstance(item, yaml.MappingNode):
        return next((str(value.value) for key, value in item.value if key.value == "ticker"), None)
    return str(item.value)


def _compose(text: str) -> yaml.MappingNode:
    root = yaml.compose(text, Loader=yaml.BaseLoader)
    if not isinstance(root, yaml.MappingNode):
        raise TypeError("a universe file that was read without error is a mapping")
    return root


def _new_dataset(text: str, datasets: yaml.MappingNode, dataset: str, tickers: Sequence[Entry]) -> _Edit:
    if datasets.flow_style:
        entry = f"{dataset}: [{_flow(tickers)}]" if tickers else f"{dataset}: []"
        return _in_flow(datasets, [value for _, value in datasets.value], entry)
    indent = " " * datasets.value[0][0].start_mark.column
    lines = [f"{indent}{dataset}:{'' if tickers else ' []'}", *(f"{indent}  - {scalar(t)}" for t in tickers)]
    return _after_line(text, _end(datasets.value[-1][1]), lines)


def _more(text: str, tickers: yaml.SequenceNode, new: Sequence[Entry]) -> _Edit:
    if tickers.flow_style:
        return _in_flow(tickers, tickers.value, _flow(new))
    dash = _dash(text, tickers.value[0])
    indent = " " * (dash - _line_start(text, dash))
    return _after_line(text, _end(tickers), [f"{indent}- {scalar(t)}" for t in new])


def _fewer(text: str, key: yaml.Node, tickers: yaml.SequenceNode, gone: Container[str]) -> list[_Edit]:
    kept = [item for item in tickers.value if _ticker(item) not in gone]
    if len(kept) == len(tickers.value):
        return []
    if tickers.flow_style:
        sources = ", ".join(text[item.start_mark.index : item.end_mark.index] for item in kept)
        return [(tickers.start_mark.index, tickers.end_mark.index, f"[{sources}]")]
    edits = [
        (_line_start(text, _dash(text, item)), _line_end(text, item.end_mark.index) + 1, "")
        for item in tickers.value
        if _ticker(item) in gone
    ]
    if not kept:
        colon = text.index(":", key.end_mark.index) + 1
        edits.append((colon, colon, " []"))
    return edits


def _in_flow(collection: yaml.CollectionNode, items: list[yaml.Node], entry: str) -> _Edit:
    at = _end(items[-1]) if items else collection.start_mark.index + 1
    return at, at, f", {entry}" if items else entry


def _after_line(text: str, index: int, lines: Iterable[str]) -> _Edit:
    at = _line_end(text, index)
    return at, at, "".join(f"\n{line}" for line in lines)


def _end(node: yaml.Node) -> int:
    """Where a node's own text ends; a block list's mark stands behind the comments that follow it, so its last entry's counts."""
    if isinstance(node, yaml.SequenceNode) and not node.flow_style and node.value:
        return _end(node.value[-1])
    end: int = node.end_mark.index
    return end


def _dash(text: str, item: yaml.Node) -> int:
    return text.rfind("-", 0, item.start_mark.index)


def _line_start(text: str, index: int) -> int:
    return text.rfind("\n", 0, index) + 1


def _line_end(text: str, index: int) -> int:
    end = text.find("\n", index)
    return len(text) if end < 0 else end


def _flow(tickers: Iterable[Entry]) -> str:
    return ", ".join(map(scalar, tickers))


def scalar(entry: Entry) -> str:
    """An entry in YAML; a ticker is quoted where some reader would see a number, a boolean or nothing."""
    if isinstance(entry, dict):
        return f"{{{', '.join(f'{name}: {scalar(value)}' for name, value in entry.items())}}}"
    ticker = entry
    plain = ticker.isascii() and ticker.isalpha() and len(ticker) > 3 and ticker.lower() not in _NOT_TEXT
    return ticker if plain else json.dumps(ticker, ensure_ascii=False)
