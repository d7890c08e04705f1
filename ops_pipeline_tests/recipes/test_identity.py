"""Renames, delistings and reused symbols: which symbols are one instrument, and what the universe makes of it."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_pipeline.errors import UniverseError
from ops_pipeline.recipes.changes import delist_ticker, rename_ticker
from ops_pipeline.recipes.identity import Delisting, Identities, Listing, Rename, Symbol, identities_of
from ops_pipeline.recipes.loading import Catalogue
from ops_pipeline.recipes.universe import PartitionKey, Seat, load_universe
from ops_pipeline_tests.recipes.files import PRICES

EQ = "equities"
RENAMED = date(2022, 6, 9)
TODAY = date(2024, 1, 2)
FB_META = Rename(EQ, "FB", "META", RENAMED)


def chains(*events: Rename | Delisting | Listing) -> list[list[Symbol]]:
    return [list(i.symbols) for i in identities_of(events).instruments]


def meant(identities: Identities, ticker: str, day: date) -> str | None:
    found = identities.of(EQ, ticker, day)
    return found.under(day).text if found else None


def test_a_rename_continues_an_instrument_and_a_new_listing_starts_another() -> None:
    again = Listing(EQ, "FB", date(2023, 5, 1))
    # The symbol META was an exchange-traded fund's, which gave it up.
    earlier = Rename(EQ, "META", "METV", date(2022, 1, 31))
    assert chains(again, FB_META, earlier) == [
        [Symbol("META", None, date(2022, 1, 30)), Symbol("METV", date(2022, 1, 31))],
        [Symbol("FB", None, date(2022, 6, 8)), Symbol("META", RENAMED)],
        [Symbol("FB", date(2023, 5, 1))],
    ]
    identities = identities_of([again, FB_META, earlier])
    days = [date(2021, 1, 1), date(2022, 2, 1), RENAMED, TODAY]
    assert [meant(identities, "FB", day) for day in days] == ["FB", "FB", "META", "FB"]
    assert [meant(identities, "META", day) for day in days] == ["META", "METV", "META", "META"]
    assert meant(identities, "IBM", TODAY) is None
    assert identities.of("crypto", "FB", TODAY) is None


def test_a_symbol_that_is_given_up_can_be_taken_on_the_same_day() -> None:
    assert chains(Rename(EQ, "B", "A", RENAMED), Delisting(EQ, "A", RENAMED - timedelta(days=1))) == [
        [Symbol("A", None, RENAMED - timedelta(days=1))],
        [Symbol("B", None, RENAMED - timedelta(days=1)), Symbol("A", RENAMED)],
    ]


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ([FB_META, Rename(EQ, "FB", "X", TODAY)], "FB trades no more on 2024-01-02"),
        ([FB_META, Rename(EQ, "IBM", "META", TODAY)], "another instrument trades under META then"),
        ([FB_META, Listing(EQ, "META", TODAY)], "META cannot be listed on 2024-01-02"),
        ([Delisting(EQ, "A", TODAY), Delisting(EQ, "A", TODAY)], "A trades no more on"),
    ],
)
def test_what_contradicts_itself_is_refused(events: list[Rename | Delisting | Listing], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        identities_of(events)


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from("ABC"), st.integers(0, 30)), max_size=6))
@settings(max_examples=150)
def test_on_no_day_two_instruments_have_one_symbol_and_no_chain_has_a_gap(moves: list[tuple[str, str, int]]) -> None:
    first = date(2024, 1, 1)
    try:
        made = identities_of([Rename(EQ, old, new, first + timedelta(days=n)) for old, new, n in moves if old != new])
    except ValueError:
        return
    for n in range(-1, 32):
        day = first + timedelta(days=n)
        held = [s.text for i in made.instruments for s in i.symbols if s.holds(day)]
        assert len(held) == len(set(held))
    for instrument in made.instruments:
        for before, after in zip(instrument.symbols, instrument.symbols[1:], strict=False):
            assert after.valid_from is not None
            assert before.valid_to == after.valid_from - timedelta(days=1)


# --- in the universe ------------------------------------------------------------------------------------------------------------


def test_a_list_that_names_the_old_symbol_means_the_new_one_from_that_day_on(path: Path, catalogue: Catalogue) -> None:
    path.write_text(f"datasets:\n  {PRICES}: [FB, META, IBM, TWTR]\n")
    rename_ticker(path, catalogue, "FB", "META", RENAMED)
    delist_ticker(path, catalogue, "TWTR", date(2022, 10, 27))
    universe = load_universe(path, catalogue, TODAY)
    assert universe.wanted[PRICES] == ("META", "IBM", "TWTR")
    assert universe.until(PartitionKey("TWTR", PRICES)) == date(2022, 10, 27)
    assert universe.until(PartitionKey("META", PRICES)) is None
    assert universe.on(date(2020, 1, 1))[PRICES] == (Seat("META", "FB"), Seat("IBM", "IBM"), Seat("TWTR", "TWTR"))
    assert universe.on(TODAY)[PRICES] == (Seat("META", "META"), Seat("IBM", "IBM"))
    before = load_universe(path, catalogue, RENAMED - timedelta(days=1))
    assert before.wanted[PRICES][0] == "FB"


def test_where_each_symbol_has_its_own_days_both_are_asked_for(path: Path, catalogue: Catalogue) -> None:
    sources = {"sample": catalogue.sources["sample"].model_copy(update={"symbols": "dated"})}
    dated = Catalogue({**catalogue.sources, **sources}, catalogue.recipes)
    path.write_text(f"datasets:\n  {PRICES}: [META]\n")
    rename_ticker(path, dated, "FB", "META", RENAMED)
    universe = load_universe(path, dated, TODAY)
    assert universe.wanted[PRICES] == ("FB", "META")
    assert [(universe.since(PartitionKey(t, PRICES)), universe.until(PartitionKey(t, PRICES))) for t in ("FB", "META")] == [
        (None, RENAMED - timedelta(days=1)),
        (RENAMED, None),
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("renames: FB", "an entry of renames is {from, to, on}"),
        ("renames: [{from: FB, to: META}]", "an entry of renames is {from, to, on}"),
        ("renames: [{from: FB, to: META, on: 9.6.2022}]", "renames: '9.6.2022' is not a day; write YYYY-MM-DD"),
        ("renames: [{from: FB, to: META, on: ''}]", "renames: a day is missing"),
        ("renames: [{from: FB, to: 'a|b', on: 2022-06-09}]", "renames: the ticker 'a|b' holds a bar"),
        ("renames: [{from: FB, to: FB, on: 2022-06-09}]", "FB stays FB"),
        ("delistings: [{ticker: -, last_day: 2022-06-09}]", "delistings: the ticker '-' stands for"),
        ("renames: [{from: A, to: B, on: 2022-06-09}, {from: A, to: C, on: 2022-06-10}]", "A trades no more on 2022-06-10"),
    ],
)
def test_a_section_that_is_wrong_is_named(path: Path, catalogue: Catalogue, text: str, why: str) -> None:
    path.write_text(f"datasets: {{}}\n{text}\n")
    with pytest.raises(UniverseError) as caught:
        load_universe(path, catalogue)
    assert str(caught.value).startswith(str(path))
    assert why in str(caught.value)


def test_a_rename_that_contradicts_the_file_changes_nothing(path: Path, catalogue: Catalogue) -> None:
    path.write_text(f"datasets:\n  {PRICES}: [FB]\nrenames: # seen\n  - {{from: FB, to: META, on: 2022-06-09}}\n")
    before = path.read_text()
    with pytest.raises(UniverseError, match="FB trades no more") as caught:
        rename_ticker(path, catalogue, "FB", "X", TODAY)
    assert ".trial" not in str(caught.value)
    assert path.read_text() == before
    rename_ticker(path, catalogue, "META", "M", date(2023, 1, 3))
    assert "renames: # seen" in path.read_text()
    assert load_universe(path, catalogue, TODAY).wanted[PRICES] == ("M",)
    assert sorted(p.name for p in path.parent.iterdir()) == ["universe.yaml"]
