"""Reading YAML that people write by hand, strictly.

Belongs here: loading one file into plain data, refusing what YAML would silently bend. Does not belong here: what the data mean.

Two habits of YAML 1.1 corrupt market data: `NO`, `ON` and `Y` are booleans there (and tickers here), and the second of two equal keys
silently wins. So scalars stay strings (pydantic types them later) and a repeated key is an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from pathlib import Path

    from ops_pipeline.errors import UserError

_LOADER: type[Any] = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


def _plain(node: yaml.Node, within: frozenset[int] = frozenset()) -> Any:
    """A node as text, list or dictionary: no tags, no repeated keys. A constructor of the library's own takes twice the time."""
    if isinstance(node, yaml.ScalarNode):
        return node.value
    if id(node) in within:
        raise yaml.constructor.ConstructorError(None, None, "an alias names what it stands in", node.start_mark)
    inside = within | {id(node)}
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, inside) for item in node.value]
    mapping: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "found a key that is no text", key.start_mark)
        if key.value in mapping:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} stands twice", key.start_mark)
        mapping[key.value] = _plain(value, inside)
    return mapping


def load_yaml(path: Path, error: type[UserError]) -> Any:
    """The file's data: dictionaries, lists and strings only (an empty value is an empty string).

    Raises:
        error: when the file cannot be read or is not valid YAML; the text names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as e:
        raise error(f"{path}: cannot be read ({e}). Make it a readable UTF-8 text file.") from e
    return parse_yaml(text, path, error)


def parse_yaml(text: str, path: Path, error: type[UserError]) -> Any:
    """The data of a file's text.

    Raises:
        error: when it is not valid YAML; the text names file and line.
    """
    try:
        node = yaml.compose(text, Loader=_LOADER)
        return None if node is None else _plain(node)
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(e, "problem", None) or str(e)
        raise error(f"{path}{where}: not valid YAML: {problem}.") from e
