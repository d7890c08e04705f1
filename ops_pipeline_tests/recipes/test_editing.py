"""Editing the universe file without touching what people wrote."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_pipeline.errors import UniverseError
from ops_pipeline.recipes.changes import add_tickers, remove_tickers
from ops_pipeline.recipes.loading import Catalogue
from ops_pipeline.recipes.tickers import check_ticker
from ops_pipeline.recipes.universe import PACKAGED, load_universe
from ops_pipeline_tests.recipes.files import ODD, PRICES, PROFILE, RATES


def wanted(path: Path, catalogue: Catalogue) -> dict[str, tuple[str, ...]]:
    return load_universe(path, catalogue).wanted


# --- editing --------------------------------------------------------------------------------------------------------------------

FILE = f"""\
# top

datasets:
  # my shares
  {PRICES}: # the main list
    - AAPL # apple
    # banks, and things that look like something else
    - TRUE   # aligned
    - 0700
    - "NO"

    - NULL
    - IBM # the last
  # below the list

  {RATES}: # whole
# end
"""


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_adding_inserts_lines_and_changes_no_other(path: Path, catalogue: Catalogue) -> None:
    path.write_text(FILE)
    assert add_tickers(path, catalogue, ["MSFT", "AAPL", "GE", "MSFT"]) == {PRICES: ["MSFT", "GE"]}
    before, after = FILE.splitlines(), lines(path)
    last = before.index("    - IBM # the last")
    assert after == [*before[: last + 1], "    - MSFT", '    - "GE"', *before[last + 1 :]]
    assert wanted(path, catalogue)[PRICES] == ("AAPL", "TRUE", "0700", "NO", "NULL", "IBM", "MSFT", "GE")


def test_removing_takes_lines_out_and_changes_no_other(path: Path, catalogue: Catalogue) -> None:
    path.write_text(FILE)
    assert remove_tickers(path, catalogue, ["IBM", "AAPL", "0700"]) == {PRICES: ["IBM", "AAPL", "0700"]}
    gone = ("    - AAPL # apple", "    - 0700", "    - IBM # the last")
    assert lines(path) == [line for line in FILE.splitlines() if line not in gone]
    assert wanted(path, catalogue)[PRICES] == ("TRUE", "NO", "NULL")


def test_removing_the_last_ticker_leaves_an_empty_list(path: Path, catalogue: Catalogue) -> None:
    path.write_text(FILE)
    remove_tickers(path, catalogue, ["AAPL", "TRUE", "0700", "NO", "NULL", "IBM"])
    assert f"  {PRICES}: [] # the main list" in lines(path)
    assert wanted(path, catalogue) == {PRICES: (), RATES: ("-",)}
    assert [line for line in FILE.splitlines() if line.strip().startswith("#")] == [
        x for x in lines(path) if x.strip().startswith("#")
    ]
    add_tickers(path, catalogue, ["AAPL", "NO"])
    assert wanted(path, catalogue)[PRICES] == ("AAPL", "NO")


def test_a_dataset_that_is_not_wanted_yet_comes_to_the_end(path: Path, catalogue: Catalogue) -> None:
    path.write_text(FILE)
    assert add_tickers(path, catalogue, ["AAPL"], [PROFILE, PRICES]) == {PROFILE: ["AAPL"]}
    assert lines(path) == [*FILE.splitlines()[:-1], f"  {PROFILE}:", "    - AAPL", "# end"]
    assert list(wanted(path, catalogue)) == [PRICES, RATES, PROFILE]


def test_a_dataset_without_tickers_is_added_by_its_name(path: Path, catalogue: Catalogue) -> None:
    path.write_text(f"datasets:\n  {PRICES}:\n  - AAPL")
    assert add_tickers(path, catalogue, [], [RATES]) == {}
    assert wanted(path, catalogue) == {PRICES: ("AAPL",), RATES: ("-",)}
    before = path.read_bytes()
    assert add_tickers(path, catalogue, [], [RATES]) == {}
    assert path.read_bytes() == before


def test_without_a_dataset_every_one_with_tickers_gets_the_ticker(path: Path, catalogue: Catalogue) -> None:
    path.write_text(f"datasets:\n  {PROFILE}: [AAPL]\n  {RATES}:\n  {PRICES}:\n    - IBM\n")
    assert add_tickers(path, catalogue, ["IBM"]) == {PROFILE: ["IBM"]}
    assert add_tickers(path, catalogue, ["GE"]) == {PROFILE: ["GE"], PRICES: ["GE"]}
    assert remove_tickers(path, catalogue, ["IBM"], [PRICES]) == {PRICES: ["IBM"]}
    assert wanted(path, catalogue) == {PROFILE: ("AAPL", "IBM", "GE"), RATES: ("-",), PRICES: ("GE",)}
    assert remove_tickers(path, catalogue, ["GE", "AAPL"]) == {PROFILE: ["GE", "AAPL"], PRICES: ["GE"]}


def test_the_first_edit_makes_a_copy_of_the_built_in_file(path: Path, catalogue: Catalogue) -> None:
    packaged = PACKAGED.read_bytes()
    remove_tickers(path, catalogue, ["FB"])
    assert PACKAGED.read_bytes() == packaged
    assert path.read_bytes() == packaged.replace(b"    - FB\n", b"")


def test_nothing_to_change_writes_nothing(path: Path, catalogue: Catalogue) -> None:
    assert add_tickers(path, catalogue, ["AAPL"]) == {}
    assert add_tickers(path, catalogue, []) == {}
    assert not path.exists()


@pytest.mark.parametrize(
    ("text", "after"),
    [
        (f"datasets: {{{PRICES}: [AAPL, IBM]}}", f'datasets: {{{PRICES}: [AAPL, IBM, "GE"]}}'),
        (f"datasets: {{{PRICES}: []}} # x", f'datasets: {{{PRICES}: ["GE"]}} # x'),
        (
            f"datasets:\n  {PRICES}: [\n    AAPL, # apple\n    IBM, # big blue\n  ]",
            f'datasets:\n  {PRICES}: [\n    AAPL, # apple\n    IBM, "GE", # big blue\n  ]',
        ),
        (f"datasets:\n  {PRICES}: ['IBM' ,AAPL ]\n", f"datasets:\n  {PRICES}: ['IBM' ,AAPL, \"GE\" ]\n"),
        (f'datasets:\n   "{PRICES}" :\n   -   AAPL\n', f'datasets:\n   "{PRICES}" :\n   -   AAPL\n   - "GE"\n'),
        (f"datasets:\n  {PRICES}:\n    - AAPL", f'datasets:\n  {PRICES}:\n    - AAPL\n    - "GE"'),
        (f"---\ndatasets:\n  {PRICES}:\n    - AAPL\n...\n", f'---\ndatasets:\n  {PRICES}:\n    - AAPL\n    - "GE"\n...\n'),
        (f"\ufeffdatasets:\n  {PRICES}:\n    - AAPL\n", f'datasets:\n  {PRICES}:\n    - AAPL\n    - "GE"\n'),
        (
            f"datasets:\r\n  {PRICES}:\r\n    - AAPL # a\r\n# end\r\n",
            f'datasets:\r\n  {PRICES}:\r\n    - AAPL # a\r\n    - "GE"\r\n# end\r\n',
        ),
        (f"datasets:\n  {PRICES}:\n    - >-\n      AAPL\n  {RATES}:\n", None),
        (f"datasets:\n  {PRICES}:\n    -\n      AAPL\n", f'datasets:\n  {PRICES}:\n    -\n      AAPL\n    - "GE"\n'),
    ],
)
def test_every_layout_is_edited_or_refused(path: Path, catalogue: Catalogue, text: str, after: str | None) -> None:
    path.write_bytes(text.encode())
    had = wanted(path, catalogue)[PRICES]
    if after is None:
        with pytest.raises(UniverseError, match="edit it by hand"):
            add_tickers(path, catalogue, ["GE"])
        assert path.read_bytes() == text.encode()
        return
    add_tickers(path, catalogue, ["GE"])
    assert wanted(path, catalogue)[PRICES] == (*had, "GE")
    assert path.read_bytes().decode() == after
    remove_tickers(path, catalogue, ["GE"])
    assert wanted(path, catalogue)[PRICES] == had


SHARED = f"datasets:\n  {PRICES}: &mine\n    - AAPL # apple\n    - IBM\n  {PROFILE}: *mine\n# end\n"


def test_lists_that_share_an_anchor_change_together_or_not_at_all(path: Path, catalogue: Catalogue) -> None:
    path.write_text(SHARED)
    for edit in (add_tickers, remove_tickers):
        with pytest.raises(UniverseError, match="edit it by hand"):
            edit(path, catalogue, ["GE" if edit is add_tickers else "AAPL"], [PROFILE])
        assert path.read_text() == SHARED
    add_tickers(path, catalogue, ["GE"])
    assert path.read_text() == SHARED.replace("- IBM\n", '- IBM\n    - "GE"\n')
    remove_tickers(path, catalogue, ["AAPL", "GE"])
    assert path.read_text() == SHARED.replace("    - AAPL # apple\n", "")


def test_an_entry_that_others_refer_to_is_not_torn_out(path: Path, catalogue: Catalogue) -> None:
    text = f"datasets:\n  {PRICES}:\n    - &a AAPL\n  {PROFILE}:\n    - *a\n    - IBM\n"
    path.write_text(text)
    with pytest.raises(UniverseError, match="edit it by hand"):
        remove_tickers(path, catalogue, ["AAPL"], [PRICES])
    assert path.read_text() == text


@pytest.mark.parametrize("ticker", ODD)
def test_a_ticker_of_any_spelling_comes_and_goes(path: Path, catalogue: Catalogue, ticker: str) -> None:
    path.write_text(
        FILE.replace("    - TRUE   # aligned\n", "")
        .replace("    - 0700\n", "")
        .replace('    - "NO"\n', "")
        .replace("    - NULL\n", "")
    )
    before = path.read_bytes()
    add_tickers(path, catalogue, [ticker])
    assert wanted(path, catalogue)[PRICES] == ("AAPL", "IBM", ticker)
    assert yaml.safe_load(path.read_text())["datasets"][PRICES][-1] == ticker  # to a reader who guesses types
    remove_tickers(path, catalogue, [ticker])
    assert path.read_bytes() == before


_tickers = st.one_of(st.sampled_from(ODD), st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)).filter(
    lambda t: _is_ticker(t)
)


def _is_ticker(text: str) -> bool:
    try:
        check_ticker(text)
    except UniverseError:
        return False
    return True


@settings(max_examples=60)
@given(
    start=st.lists(_tickers, max_size=5, unique=True),
    edits=st.lists(st.tuples(st.booleans(), st.lists(_tickers, min_size=1, max_size=3)), max_size=4),
    flow=st.booleans(),
)
def test_edits_do_what_they_say_to_any_list(
    start: list[str],
    edits: list[tuple[bool, list[str]]],
    flow: bool,
    tmp_path_factory: pytest.TempPathFactory,
    catalogue: Catalogue,
) -> None:
    path = tmp_path_factory.mktemp("u") / "u.yaml"
    path.write_text(
        f"# top\ndatasets:\n  {PRICES}: {'[]' if flow else ''} # here\n    # end\n  {RATES}:\n".replace("  # here", " [] # here")
    )
    add_tickers(path, catalogue, start)
    model = list(dict.fromkeys(start))
    for adds, tickers in edits:
        if adds:
            add_tickers(path, catalogue, tickers)
            model += [t for t in dict.fromkeys(tickers) if t not in model]
        elif set(tickers) <= set(model):
            remove_tickers(path, catalogue, tickers)
            model = [t for t in model if t not in tickers]
        else:
            with pytest.raises(UniverseError, match="nothing was changed"):
                remove_tickers(path, catalogue, tickers)
        assert wanted(path, catalogue) == {PRICES: tuple(model), RATES: ("-",)}
    assert {"# top", "    # end"} <= set(lines(path))


# --- refusals -------------------------------------------------------------------------------------------------------------------


def refused(path: Path, catalogue: Catalogue, edit: object, tickers: Iterable[str], datasets: Iterable[str] = ()) -> str:
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(UniverseError) as caught:
        edit(path, catalogue, tickers, datasets)  # type: ignore[operator]
    assert (path.read_bytes() if path.exists() else None) == before
    return str(caught.value)


def test_what_cannot_be_added_is_said_and_nothing_changes(path: Path, catalogue: Catalogue) -> None:
    path.write_text(FILE)
    assert "stands for `no ticker`" in refused(path, catalogue, add_tickers, ["GE", "-"])
    assert "there is no dataset 'sample.x'" in refused(path, catalogue, add_tickers, ["GE"], [PRICES, "sample.x"])
    assert "takes no tickers" in refused(path, catalogue, add_tickers, ["GE"], [RATES])
    path.write_text(f"datasets:\n  {RATES}:\n")
    assert "name one with --dataset" in refused(path, catalogue, add_tickers, ["GE"])


def test_what_cannot_be_removed_is_said_and_nothing_changes(path: Path, catalogue: Catalogue) -> None:
    path.write_text(FILE)
    assert "GE, T not found in sample.eod-prices, sample.fx-rates" in refused(
        path, catalogue, remove_tickers, ["AAPL", "GE", "T"]
    )
    assert "'sample.profile' is not wanted" in refused(path, catalogue, remove_tickers, ["AAPL"], [PROFILE])
    assert "not found" in refused(path, catalogue, remove_tickers, ["-"])
    assert "not found" in refused(path, catalogue, remove_tickers, ["AAPL"], [RATES])


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, catalogue: Catalogue) -> None:
    (tmp_path / "home").write_text("a file in the way")
    with pytest.raises(UniverseError, match="cannot be written") as caught:
        add_tickers(tmp_path / "home" / "universe.yaml", catalogue, ["GE"])
    assert str(tmp_path / "home" / "universe.yaml") in str(caught.value)


def test_a_large_universe_is_edited_at_once(path: Path, catalogue: Catalogue) -> None:
    tickers = [f"T{i}" for i in range(2000)]
    add_tickers(path, catalogue, tickers)
    remove_tickers(path, catalogue, tickers[::2])
    assert wanted(path, catalogue)[PRICES] == ("AAPL", "FB", "GOOG", "IBM", "MSFT", *tickers[1::2])
