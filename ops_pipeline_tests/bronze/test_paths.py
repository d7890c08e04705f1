"""The rules of names on disk: reversible, distinct, harmless on every common file system.

Belongs here: laws over all texts and the examples that a person would try. Does not belong here: anything on a
disk (`test_store`).
"""

from __future__ import annotations

import ntpath
import posixpath
import re
import string
import unicodedata
from collections.abc import Callable
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ops_pipeline.bronze.paths import MAX_PART_LENGTH, decode_name, decode_part, encode_name, encode_part, partition_folder
from ops_pipeline.errors import BronzeError

DEVICES = ["CON", "PRN", "AUX", "NUL", *(f"{device}{n}" for device in ("COM", "LPT") for n in range(1, 10))]

# Whole Unicode with lone surrogates, then texts in which the rules meet: case, edges, escapes, devices, length.
ANY_TEXT = st.text(st.characters(), max_size=300)
TRICKY_TEXT = st.one_of(
    st.text("aAbB9.-_%@/ ~", max_size=12),
    st.builds(
        lambda device, tail: device + tail,
        st.sampled_from(DEVICES + [device.lower() for device in DEVICES] + ["Con", "nUl"]),
        st.sampled_from(["", ".txt", ".", " ", ".A.B", ":", "x", "." + "A" * 300]),
    ),
    st.builds(
        lambda head, unit, times: head + unit * times,
        st.text("aA.é", max_size=3),
        st.text("aA9.-_é/", max_size=4),
        st.integers(0, 120),
    ),
)
TEXT = st.one_of(ANY_TEXT, TRICKY_TEXT)

ODD_TICKERS = [
    "BRK.B",
    "brk.b",
    "Brk.B",
    "BTC/USD",
    "BTC-USD",
    "BTC_USD",
    "^GSPC",
    "^gspc",
    "../../etc/passwd",
    "..\\..\\windows",
    "C:\\boot",
    "CON",
    "con",
    "nul",
    "NUL.TXT",
    "COM1",
    "COM¹",
    "A",
    "A.",
    "A..",
    "A ",
    " A",
    ".A",
    "-A",
    "-",
    "--",
    "_",
    ".",
    "..",
    "...",
    "",
    " ",
    "\t",
    "\u200b",
    "\0",
    "~",
    "~root",
    "%41",
    "@",
    "@a",
    "%",
    "a:b",
    "K",
    "\u212a",  # KELVIN SIGN folds to k
    "\u017f",  # LONG S folds to s
    "s",
    "ß",
    "ss",
    unicodedata.normalize("NFC", "é" * 200),
    unicodedata.normalize("NFD", "é" * 200),
    "株" * 200,
    "A" * 200,
    "A" * 196 + "CON",
    "A" * 197 + "CON",
    "A" * 198 + "CON",
    "A" * 5000,
]


def parts_of(path: str) -> list[str]:
    return path.split("/")


def assert_safe(path: str) -> None:
    assert path.isascii()
    for part in parts_of(path):
        assert 0 < len(part) <= MAX_PART_LENGTH
        assert set(part) <= set(string.ascii_letters + string.digits + ".-_%@")
        assert part[0] not in ".-~"
        assert part[-1] not in ". "
        assert part.split(".")[0].upper() not in DEVICES
    assert posixpath.normpath(path) == path
    assert not PurePosixPath(path).is_absolute()
    assert ntpath.normpath(path) == path.replace("/", "\\")
    assert PureWindowsPath(path).anchor == ""


@given(TEXT)
def test_round_trip(text: str) -> None:
    assert decode_part(encode_part(text)) == text
    assert decode_name(encode_name(text)) == text


@given(TEXT)
def test_a_file_system_that_changes_case_loses_nothing(text: str) -> None:
    path = encode_part(text)
    assert decode_part(path.lower()) == decode_part(path.upper()) == decode_part(path.swapcase()) == text


@given(TEXT, TEXT)
def test_distinct_under_case_folding(one: str, other: str) -> None:
    assume(one != other)
    assert encode_part(one).casefold() != encode_part(other).casefold()


@given(TEXT, st.sampled_from([str.lower, str.upper, str.swapcase, str.title, str.casefold]))
def test_texts_that_differ_only_in_case_stay_apart(text: str, change: Callable[[str], str]) -> None:
    other = change(text)
    assume(other != text)
    assert encode_part(text).casefold() != encode_part(other).casefold()
    assert encode_name(text).casefold() != encode_name(other).casefold()


@given(TEXT)
def test_safe_anywhere(text: str) -> None:
    assert_safe(encode_part(text))
    assert_safe(encode_name(text))


@given(st.lists(TEXT, min_size=5, max_size=5))
def test_a_partition_folder_is_safe_and_stays_below(texts: list[str]) -> None:
    folder = partition_folder(*texts)
    assert_safe(folder)
    assert folder == folder.strip("/")
    assert len(parts_of(folder)) >= 4


# Few values, so that equal and nearly equal neighbours are drawn; the long one spills into a second part.
FEW = st.sampled_from(["-", "", "a", "A", "%", "b" * 250, "B" * 250, "_"])


@given(st.tuples(FEW, FEW, FEW, FEW, FEW), st.tuples(FEW, FEW, FEW, FEW, FEW))
def test_partitions_never_share_a_folder(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assume(one != other)
    assert partition_folder(*one).casefold() != partition_folder(*other).casefold()


def test_odd_tickers_are_safe_distinct_and_reversible() -> None:
    paths = [encode_part(ticker) for ticker in ODD_TICKERS]
    assert [decode_part(path) for path in paths] == ODD_TICKERS
    assert len({path.casefold() for path in paths}) == len(ODD_TICKERS)
    for path in paths:
        assert_safe(path)


@pytest.mark.parametrize("extension", ["", ".TXT", ".", ".A.B"])
@pytest.mark.parametrize("device", DEVICES)
def test_devices_of_windows_are_never_a_part(device: str, extension: str) -> None:
    for text in (device + extension, (device + extension).lower(), f"{'A' * 197}{device}{extension}"):
        assert_safe(encode_part(text))
        assert_safe(encode_name(text))


@pytest.mark.parametrize(
    ("ticker", "part"),
    [
        ("AAPL", "AAPL"),
        ("BRK.B", "BRK.B"),
        ("BTC-USD", "BTC-USD"),
        ("BTC_USD", "BTC_USD"),
        ("0700.HK", "0700.HK"),
        ("brk.b", "@brk.b"),
        ("Brk.B", "B@rk.@B"),
        ("^GSPC", "%5EGSPC"),
        ("BTC/USD", "BTC%2FUSD"),
        ("CON", "%43ON"),
        ("-", "_"),
    ],
)
def test_ordinary_tickers_stay_readable(ticker: str, part: str) -> None:
    assert encode_part(ticker) == part


@pytest.mark.parametrize("name", ["eod-prices", "sample", "fx-rates", "income-statement", "quarter", "a1"])
def test_ordinary_names_stay_as_they_are(name: str) -> None:
    assert encode_name(name) == name


def test_a_partition_without_discriminator_has_no_folder_for_it() -> None:
    assert partition_folder("equities", "sample", "eod-prices", "-", "BRK.B") == "equities/sample/eod-prices/BRK.B"
    assert partition_folder("equities", "fmp", "income-statement", "annual", "IBM") == "equities/fmp/income-statement/annual/IBM"
    assert partition_folder("fx", "sample", "fx-rates", "-", "-") == "fx/sample/fx-rates/_"


@pytest.mark.parametrize(
    "path", ["", ".", "..", "A.", "%", "%4", "%G1", "%41", "@@a", "@A@", "AA/BB", "-A", "CON", "é", "A%", "%FF", "\u212a", "A%/B"]
)
def test_what_no_text_encodes_to_is_refused(path: str) -> None:
    with pytest.raises(BronzeError, match=re.escape(repr(path))):
        decode_part(path)


@given(TEXT)
def test_decoding_accepts_only_what_encoding_gives(path: str) -> None:
    try:
        text = decode_part(path)
    except BronzeError:
        return
    assert encode_part(text).lower() == path.lower()
