"""The universe file: what may stand in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops_pipeline.errors import UniverseError
from ops_pipeline.recipes.loading import Catalogue
from ops_pipeline.recipes.tickers import check_ticker
from ops_pipeline.recipes.universe import PartitionKey, load_universe
from ops_pipeline_tests.recipes.files import ODD, PRICES, RATES


def wanted(path: Path, catalogue: Catalogue) -> dict[str, tuple[str, ...]]:
    return load_universe(path, catalogue).wanted


# --- tickers --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ticker", ODD)
def test_a_ticker_is_what_the_vendor_says(ticker: str) -> None:
    assert check_ticker(ticker) == ticker


@pytest.mark.parametrize(
    ("ticker", "why"),
    [
        ("", "is empty"),
        (" A", "blanks at its ends"),
        ("A\u00a0", "blanks at its ends"),
        ("-", "stands for `no ticker`"),
        (".", "nothing but dots"),
        ("..", "nothing but dots"),
        ("a|b", "holds a bar"),
        ("a...b", "three dots"),
        ("x" * 201, "longer than 200"),
        ("a\nb", "does not print"),
        ("a\x00b", "does not print"),
        ("a\x85b", "does not print"),
        ("a\u200bb", "does not print"),
        ("a\u202eb", "does not print"),
        ("a\u2028b", "does not print"),
        ("a\ufeffb", "does not print"),
        ("a\udc80b", "does not print"),
        ("a\uffffb", "does not print"),
    ],
)
def test_a_ticker_that_cannot_be_one_says_why(ticker: str, why: str) -> None:
    with pytest.raises(UniverseError, match=why) as caught:
        check_ticker(ticker)
    assert len(str(caught.value)) < 200
    str(caught.value).encode()  # can be printed


# --- reading --------------------------------------------------------------------------------------------------------------------


def test_without_a_file_the_built_in_universe_is_wanted(path: Path, catalogue: Catalogue) -> None:
    universe = load_universe(path, catalogue)
    assert universe.wanted == {PRICES: ("AAPL", "FB", "GOOG", "IBM", "MSFT"), RATES: ("-",)}
    assert list(universe)[-2:] == [PartitionKey("MSFT", PRICES), PartitionKey("-", RATES)]
    assert universe.tickers == ("AAPL", "FB", "GOOG", "IBM", "MSFT", "-")
    assert PartitionKey("AAPL", PRICES) in universe
    assert PartitionKey("AAPL", RATES) not in universe
    assert PartitionKey("AAPL", "nothing") not in universe
    assert "AAPL" not in universe


def test_partitions_are_written_as_people_read_them() -> None:
    assert [str(PartitionKey("AAPL", PRICES)), str(PartitionKey("-", RATES))] == ["sample.eod-prices/AAPL", "sample.fx-rates"]


def test_tickers_are_texts_and_stand_once(path: Path, catalogue: Catalogue) -> None:
    path.write_text(f"datasets:\n  {PRICES}: [NO, 0700, NO, TRUE, 'TRUE', 1e5]\n")
    assert wanted(path, catalogue) == {PRICES: ("NO", "0700", "TRUE", "1e5")}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "expected one key `datasets`"),
        ("datasets:", "expected one key `datasets`"),
        ("datasets: [a]", "expected one key `datasets`"),
        ("datasets: {}\nmore: 1", "expected one key `datasets`"),
        ("- datasets", "expected one key `datasets`"),
        ("datasets: {sample.nothing: [A]}", "there is no dataset 'sample.nothing'; known datasets: sample.eod-prices"),
        (f"datasets: {{{PRICES}: AAPL}}", "needs a list of tickers"),
        (f"datasets:\n  {PRICES}:", "needs a list of tickers"),
        (f"datasets: {{{PRICES}: {{AAPL: 1}}}}", "needs a list of tickers"),
        (f"datasets: {{{PRICES}: [[AAPL]]}}", "needs a list of tickers"),
        (f"datasets: {{{PRICES}: ['']}}", f"dataset {PRICES}: the ticker '' is empty"),
        (f"datasets: {{{PRICES}: [AAPL, '-']}}", f"dataset {PRICES}: the ticker '-' stands for"),
        (f"datasets: {{{RATES}: [EUR]}}", "asked for as a whole"),
        (f"datasets:\n  {PRICES}: [A]\n  {PRICES}: [B]", "line 3: not valid YAML: the key 'sample.eod-prices' stands twice"),
    ],
)
def test_a_file_that_is_wrong_is_named_with_its_mistake(path: Path, catalogue: Catalogue, text: str, why: str) -> None:
    path.write_text(text)
    with pytest.raises(UniverseError) as caught:
        load_universe(path, catalogue)
    assert str(caught.value).startswith(str(path))
    assert why in str(caught.value)


def test_no_dataset_at_all_is_a_universe(path: Path, catalogue: Catalogue) -> None:
    path.write_text("datasets: {}\n")
    universe = load_universe(path, catalogue)
    assert (list(universe), universe.tickers) == ([], ())
