from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ops_pipeline.errors import RecipeError, UniverseError
from ops_pipeline.recipes.yaml import load_yaml


def load(tmp_path: Path, text: str | bytes) -> Any:
    path = tmp_path / "file.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_yaml(path, RecipeError)


@pytest.mark.parametrize(
    "text",
    [
        "NO",
        "no",
        "ON",
        "Y",
        "TRUE",
        "true",
        "NULL",
        "null",
        "~",
        "0700",
        "0x1F",
        "1_000",
        "1e5",
        "1.10",
        "+5",
        ".5",
        ".inf",
        "12:30",
        "2020-01-01",
        "=",
        "<<",
    ],
)
def test_what_is_written_is_what_is_read(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, f"- {text}\n- '{text}'\n") == [text, text]
    assert load(tmp_path, f"{text}: {text}") == {text: text}


def test_tags_change_nothing(tmp_path: Path) -> None:
    assert load(tmp_path, "- !!int '7'\n- !!python/object/apply:os.system ['false']\n- !mine x") == ["7", ["false"], "x"]


def test_an_empty_file_and_an_empty_value(tmp_path: Path) -> None:
    assert load(tmp_path, "") is None
    assert load(tmp_path, "# only comments\n") is None
    assert load(tmp_path, "a:\nb: []\n") == {"a": "", "b": []}


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    assert load(tmp_path, b"\xef\xbb\xbfa: \xe2\x82\xac") == {"a": "€"}


@pytest.mark.parametrize(
    "text", ["a: 1\nb: 2\na: 3\n", "x:\n  y:\n    b: 1\n    b: 1\n", "{a: 1, 'a': 2}", "? [a]\n: 1\n? [a]\n: 2\n"]
)
def test_a_key_stands_once(tmp_path: Path, text: str) -> None:
    with pytest.raises(RecipeError, match=r"file\.yaml, line \d+: not valid YAML: "):
        load(tmp_path, text)


def test_a_repeated_key_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"file\.yaml, line 3: not valid YAML: the key 'a' stands twice\."):
        load(tmp_path, "a: 1\nb: 2\na: 3\n")


@pytest.mark.parametrize(
    "text",
    ["a: [1", "\ta: 1", "a: b: c", "- a\nb", "--- 1\n--- 2", "&x [*x]", "*unknown", "a: \x01", '"\\q"', "%YAML 9.9\n---\na"],
)
def test_what_is_no_yaml_is_one_sentence_with_the_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'file.yaml'}")
    assert "not valid YAML" in str(caught.value)


@pytest.mark.parametrize("text", [b"a: \xff\xfe", "a: ä".encode("utf-16")])
def test_another_encoding_is_refused(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(RecipeError, match="UTF-8"):
        load(tmp_path, text)


def test_the_caller_chooses_the_error(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.yaml", tmp_path):
        with pytest.raises(UniverseError, match="cannot be read"):
            load_yaml(path, UniverseError)
