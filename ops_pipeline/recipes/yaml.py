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

_Base: type[Any] = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


class _StrictLoader(_Base):  # type: ignore[misc]
    """Scalars as strings, no tags, no repeated keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
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
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a BaseLoader: it builds strings, lists and dictionaries only
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(e, "problem", None) or str(e)
        raise error(f"{path}{where}: not valid YAML: {problem}.") from e
