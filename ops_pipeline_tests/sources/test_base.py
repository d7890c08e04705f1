"""The identity of requests and files, and what an error carries.

Belongs here: laws over all requests. Does not belong here: any one source.
"""

from __future__ import annotations

import dataclasses
import re
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ops_pipeline.recipes.loading import load_catalogue
from ops_pipeline.sources import Request, SourceError, open_source
from ops_pipeline.sources.sample import SampleSource

TEXT = st.text(st.characters(), max_size=20) | st.sampled_from(["-", "", '"', '","', "annual", "1"])
DATES = st.none() | st.dates()
PARAMS = st.lists(st.tuples(TEXT, TEXT), max_size=4).map(tuple)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "domain": TEXT,
    "source": TEXT,
    "dataset": TEXT,
    "discriminator": TEXT,
    "ticker": TEXT,
    "from_date": DATES,
    "to_date": DATES,
    "params": PARAMS,
}
REQUESTS = st.builds(Request, **FIELDS)
PARTS = st.integers(1, 10_000)

KNOWN = Request(
    "equities", "sample", "eod-prices", "-", "AAPL", date(2010, 1, 1), date(2010, 6, 30), (("limit", "5"), ("adjusted", "true"))
)


def test_ids_never_change_from_version_to_version() -> None:
    # They are in the ledger and in file names: a change here would make every stored file unknown.
    assert KNOWN.request_id == "63bd6bbf2fd721995e4187d9209990d0"
    assert KNOWN.file_id(1) == "80d41aaa09a80497a0cb30394920847b"
    assert KNOWN.file_id(2) == "335fb17dfbbb9390cf98d5214f943a84"


@given(REQUESTS, PARTS)
def test_ids_are_32_hexadecimal_digits_and_repeat(request_: Request, part: int) -> None:
    twin = dataclasses.replace(request_)
    assert re.fullmatch("[0-9a-f]{32}", request_.request_id)
    assert re.fullmatch("[0-9a-f]{32}", request_.file_id(part))
    assert twin.request_id == request_.request_id
    assert twin.file_id(part) == request_.file_id(part)
    assert request_.file_id(part) != request_.request_id


@given(REQUESTS, st.sampled_from(sorted(FIELDS)), st.data())
def test_ids_differ_when_any_field_differs(request_: Request, field: str, data: st.DataObject) -> None:
    other = dataclasses.replace(request_, **{field: data.draw(FIELDS[field])})
    assume(other != request_)
    assert other.request_id != request_.request_id
    assert other.file_id(1) != request_.file_id(1)


@given(REQUESTS, st.permutations(["domain", "source", "dataset", "discriminator", "ticker"]))
def test_ids_know_which_field_holds_a_text(request_: Request, names: list[str]) -> None:
    texts = {name: getattr(request_, other) for name, other in zip(sorted(names), names, strict=True)}
    moved = dataclasses.replace(request_, **texts)
    assert (moved.request_id == request_.request_id) == (moved == request_)


@given(REQUESTS, PARTS, PARTS)
def test_file_ids_differ_by_part(request_: Request, one: int, other: int) -> None:
    assert (request_.file_id(one) == request_.file_id(other)) == (one == other)


@given(REQUESTS, st.data())
def test_the_order_of_parameters_has_no_meaning(request_: Request, data: st.DataObject) -> None:
    shuffled = dataclasses.replace(request_, params=tuple(data.draw(st.permutations(request_.params))))
    assert shuffled == request_
    assert shuffled.request_id == request_.request_id
    assert shuffled.params == tuple(sorted(shuffled.params))


def test_a_window_moves_the_id() -> None:
    later = dataclasses.replace(KNOWN, to_date=date(2010, 6, 30) + timedelta(days=1))
    open_ended = dataclasses.replace(KNOWN, to_date=None)
    assert len({KNOWN.request_id, later.request_id, open_ended.request_id}) == 3


@pytest.mark.parametrize("part", [0, -1])
def test_parts_count_from_one(part: int) -> None:
    with pytest.raises(ValueError, match="parts count from 1"):
        KNOWN.file_id(part)


def test_an_error_carries_what_the_caller_needs() -> None:
    error = SourceError("The vendor is down: try later.", kind="transient", status_code=503, body=b"<html>")
    assert (str(error), error.kind, error.status_code, error.body) == (
        "The vendor is down: try later.",
        "transient",
        503,
        b"<html>",
    )
    bare = SourceError("No.", kind="permanent")
    assert (bare.status_code, bare.body) == (None, None)


def test_a_source_is_opened_as_its_declaration_says() -> None:
    catalogue = load_catalogue()
    assert isinstance(open_source(catalogue.sources["sample"], catalogue.recipes), SampleSource)
