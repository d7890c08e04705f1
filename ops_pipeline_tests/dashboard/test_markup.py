"""What vendors and users write is shown as text, never run."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_pipeline.dashboard import markup as m
from ops_pipeline.dashboard.views.configuration import masked
from ops_pipeline.dashboard.views.file import Tree

EVIL = '<img src=x onerror="alert(1)">'


@given(st.text())
def test_no_text_becomes_markup(text: str) -> None:
    for made in (
        m.table(text, [m.Column(text)], [(text,)]),
        m.tiles([(text, text, text)]),
        m.facts([(text, text)]),
        m.empty(text, text, text),
        m.heading(text, text),
        m.link(text, m.address("run", run_id=text)).text,
        m.badge(text).text,
        Tree().of({text: [text, {text: text}]}),
    ):
        assert EVIL not in made
        # Every tag is one of ours: a text's own angle brackets are escaped.
        assert made.count("<") == made.count(">")


def test_a_tag_in_a_value_is_shown() -> None:
    assert "&lt;img" in m.table("t", [m.Column("c")], [(EVIL,)])
    assert EVIL not in Tree().of({"a": EVIL, EVIL: [EVIL]})


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1234567, "1,234,567"),
        (True, "yes"),
        (date(2024, 1, 2), "2024-01-02"),
        (datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC), "2024-01-02 03:04:05Z"),
        (0.000012345678, "1.23457e-05"),
    ],
)
def test_values_look_the_same_everywhere(value: object, shown: str) -> None:
    assert m.markup(value) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [(None, "–"), (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2_500_000, "2.5 MB"), (7e12, "7,000.0 GB")],  # noqa: RUF001
)
def test_sizes(count: int | None, shown: str) -> None:
    assert m.size(count) == shown


@pytest.mark.parametrize(
    ("taken", "shown"), [(0.004, "0.00 s"), (59.96, "60.0 s"), (61, "1 min 01 s"), (3 * 3600 + 120, "3 h 02 min")]
)
def test_durations(taken: float, shown: str) -> None:
    assert m.seconds(taken) == shown


def test_an_address_carries_its_state() -> None:
    assert m.address("run", run_id="a b&c", page=None) == "/run?run_id=a+b%26c"
    assert m.address("runs", dates=["2024-01-02", "2024-01-03"]) == "/runs?dates=2024-01-02&dates=2024-01-03"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("https://user:hunter2@host.example/p?apikey=hunter2#hunter2", "https://•••@host.example/p?•••#•••"),
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
        (16, "16"),
    ],
)
def test_secrets_in_addresses_are_masked(value: object, shown: str) -> None:
    assert masked(value) == shown


def test_a_tree_ends_where_a_page_is_full() -> None:
    made = Tree(most=20).of([{"a": n} for n in range(1000)])
    assert made.count("<details") < 20
    assert "not shown" in made
