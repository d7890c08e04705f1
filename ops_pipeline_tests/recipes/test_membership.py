"""Groups and memberships with dates: who belongs, since when, and what is asked of those that left."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_pipeline.errors import UniverseError
from ops_pipeline.recipes.changes import add_tickers, import_group, remove_tickers
from ops_pipeline.recipes.loading import Catalogue
from ops_pipeline.recipes.membership import LARGEST_FILE, Member, read_members, updated, written
from ops_pipeline.recipes.universe import PartitionKey, load_universe
from ops_pipeline_tests.recipes.files import ODD, PRICES, PROFILE

DAY = timedelta(days=1)
JUNE, JULY, TODAY = date(2024, 6, 3), date(2024, 7, 1), date(2024, 8, 1)


def members_on(path: Path, catalogue: Catalogue, day: date) -> list[str]:
    return [seat.ticker for seat in load_universe(path, catalogue, TODAY).on(day)[PRICES]]


# --- files ----------------------------------------------------------------------------------------------------------------------


def test_a_file_has_a_ticker_a_line_or_columns(tmp_path: Path) -> None:
    plain, table = tmp_path / "plain.txt", tmp_path / "table.csv"
    plain.write_bytes(b"\xef\xbb\xbf# an index\r\nAAPL # apple\r\n\r\nBRK.B\r\nA#B\r\nAAPL\r\n")
    assert [m.ticker for m in read_members(plain)] == ["AAPL", "BRK.B", "A#B"]
    table.write_text('Name,Symbol,valid_to,from\n"Apple, Inc.",AAPL,,2020-01-02\n\nTwitter,TWTR,2022-10-27,\nShort,GE\n')
    assert read_members(table) == (Member("AAPL", date(2020, 1, 2)), Member("TWTR", None, date(2022, 10, 27)), Member("GE"))


@pytest.mark.parametrize("ticker", ODD)
def test_what_is_written_is_read_again(tmp_path: Path, ticker: str) -> None:
    file, members = tmp_path / "g.csv", (Member(ticker), Member(ticker, JUNE, JULY))
    file.write_text(written(members))
    assert read_members(file) == members


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "names no ticker"),
        (b"# nothing\n", "names no ticker"),
        (b"A\n-\n", "line 2: the ticker '-' stands for `no ticker`"),
        (b"A\nB|C\n", "line 2: the ticker 'B|C' holds a bar"),
        (b"A\nB...C\n", "line 2: the ticker 'B...C' holds three dots"),
        (b"A\nB\x00C\n", "line 2: the ticker 'B\\x00C' holds a character that does not print"),
        (b"A\n" + b"x" * 10_000_000, "line 2: is longer than 4096 characters"),
        (b"A\n" + b"x" * 300, "line 2: the ticker"),
        (b"\xff\xfe", "cannot be read"),
        (b"ticker,from\nA,02.01.2020\n", "line 2: valid_from: '02.01.2020' is not a day"),
        (b"ticker,from,to\nA,2020-01-02,2020-01-01\n", "line 2: A would end on 2020-01-01, before it begins"),
        (b"ticker,from\nA,2020-01-02,x\n", "line 2: has 3 cells, the header 2"),
        (b'ticker\n"A\n', "is not valid CSV"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_its_line(tmp_path: Path, body: bytes, why: str) -> None:
    file = tmp_path / "hostile.csv"
    file.write_bytes(body)
    with pytest.raises(UniverseError) as caught:
        read_members(file)
    assert str(caught.value).startswith(str(file))
    assert why in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_file_that_no_list_of_tickers_is_as_large_as_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "large.csv"
    with file.open("wb") as made:
        made.truncate(LARGEST_FILE + 1)
    with pytest.raises(UniverseError, match="is larger than 16 MB"):
        read_members(file)


@given(st.lists(st.frozensets(st.sampled_from("ABCDE")), min_size=1, max_size=6))
@settings(max_examples=100)
def test_the_members_on_every_day_are_those_of_the_state_in_force(states: list[frozenset[str]]) -> None:
    members: list[Member] = []
    for n, state in enumerate(states):
        on = JUNE + n * DAY
        members = updated(members, sorted(state), on, on - DAY)
    for n, state in enumerate(states):
        assert {m.ticker for m in members if m.on(JUNE + n * DAY)} == state


# --- the universe ---------------------------------------------------------------------------------------------------------------


def test_an_index_changes_and_who_left_is_known(path: Path, catalogue: Catalogue, tmp_path: Path) -> None:
    path.write_text(f"# mine\ndatasets:\n  {PRICES}: [] # all of it\n")
    file = tmp_path / "index.txt"
    file.write_text("A\nB\n")
    done = import_group(path, catalogue, file, "idx", [PRICES, PROFILE])
    assert (done.came, done.left, done.members, done.datasets) == (("A", "B"), (), 2, (PRICES, PROFILE))
    file.write_text("B\nC\n")
    again = import_group(path, catalogue, file, "idx", [PRICES], JULY)
    assert (again.came, again.left, again.datasets) == (("C",), ("A",), ())
    assert members_on(path, catalogue, JUNE) == ["A", "B"]
    assert members_on(path, catalogue, JULY) == ["B", "C"]
    universe = load_universe(path, catalogue, TODAY)
    assert universe.wanted[PRICES] == ("A", "B", "C"), "history of those who left is completed"
    assert universe.until(PartitionKey("A", PRICES)) == JULY - DAY
    assert universe.groups["idx"].datasets == (PRICES, PROFILE)
    assert "# mine" in path.read_text()
    with pytest.raises(UniverseError, match="B comes from the group idx; take it out of"):
        remove_tickers(path, catalogue, ["B"])


def test_dates_of_a_ticker_of_its_own(path: Path, catalogue: Catalogue) -> None:
    path.write_text(f"datasets:\n  {PRICES}:\n    - A # one\n    - B\n")
    assert remove_tickers(path, catalogue, ["A"], last_day=JUNE) == {PRICES: ["A"]}
    assert '    - {ticker: "A", to: "2024-06-03"} # one' in path.read_text()
    assert add_tickers(path, catalogue, ["A"], [PRICES], JULY) == {PRICES: ["A"]}
    assert add_tickers(path, catalogue, ["A"], [PRICES]) == {}
    assert [members_on(path, catalogue, day) for day in (JUNE, JUNE + DAY, JULY)] == [["A", "B"], ["B"], ["B", "A"]]
    assert load_universe(path, catalogue, TODAY).until(PartitionKey("A", PRICES)) is None
    with pytest.raises(UniverseError, match=r"A belongs to sample\.eod-prices since 2024-07-01 only"):
        remove_tickers(path, catalogue, ["A"], last_day=JUNE)
    assert remove_tickers(path, catalogue, ["A"]) == {PRICES: ["A"]}
    assert path.read_text() == f"datasets:\n  {PRICES}:\n    - B\n"


def test_who_comes_later_is_not_asked_for_yet(path: Path, catalogue: Catalogue) -> None:
    path.write_text(f"datasets:\n  {PRICES}: [A, {{ticker: B, from: {JULY}}}]\n")
    assert load_universe(path, catalogue, JULY - DAY).wanted[PRICES] == ("A",)
    assert load_universe(path, catalogue, JULY).wanted[PRICES] == ("A", "B")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"datasets: {{{PRICES}: [{{group: idx}}]}}", "there is no group 'idx'; groups in this file: none"),
        ("groups: [a]\ndatasets: {}", "`groups` maps names to files"),
        ("groups: {a: ''}\ndatasets: {}", "group a is the path of a file, or a list of tickers"),
        ("groups: {a: none.csv}\ndatasets: {}", "none.csv: the tickers cannot be read"),
        ("groups: {a: ['-']}\ndatasets: {}", "group a: the ticker '-' stands for"),
        (f"datasets: {{{PRICES}: [{{ticker: A, since: 2024-01-01}}]}}", "needs a list of tickers, each a text, or"),
        (f"datasets: {{{PRICES}: [{{ticker: A, from: soon}}]}}", "valid_from: 'soon' is not a day"),
    ],
)
def test_what_is_no_group_or_member_is_named(path: Path, catalogue: Catalogue, text: str, why: str) -> None:
    path.write_text(text)
    with pytest.raises(UniverseError) as caught:
        load_universe(path, catalogue)
    assert why in str(caught.value)


@pytest.mark.parametrize("name", ["", "../x", "a b", "é", "x" * 61])
def test_a_groups_name_is_a_name(path: Path, catalogue: Catalogue, tmp_path: Path, name: str) -> None:
    (tmp_path / "i.txt").write_text("A\n")
    with pytest.raises(UniverseError, match="the group's name"):
        import_group(path, catalogue, tmp_path / "i.txt", name)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["i.txt"]
