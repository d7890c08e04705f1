"""Answers in parts: windows that are too wide or too full, pages, offsets, cursors, and the formats of dates.

Belongs here: that every record comes exactly once, whatever the vendor's limits are, and what a vendor is refused for. Does not
belong here: one answer (`test_http`) and the rules of the block `request` (`recipes`).
"""

from __future__ import annotations

import asyncio
import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ops_pipeline.recipes.answers import AnswerFormat
from ops_pipeline.recipes.http import HttpRequest
from ops_pipeline.recipes.templates import pieces, write
from ops_pipeline.sources import Answer, Request, SourceError
from ops_pipeline.sources.http import HttpClient
from ops_pipeline.sources.paging import Series
from ops_pipeline.sources.records import Opened, UnreadableError
from ops_pipeline_tests.engine.vendor import price, weekdays
from ops_pipeline_tests.sources.http_home import DATASET, FIRST, KEY, LAST, RECIPE, VARIABLE, catalogue, make_home, run
from ops_pipeline_tests.vendor_server import Reply, Seen, VendorServer

PATHS: dict[str, Any] = {"path": "/prices", "params": {"symbol": "{ticker}", "from": "{from_date}", "to": "{to_date}"}}
SESSIONS = weekdays(FIRST, LAST)
JSON = AnswerFormat(format="json")


@pytest.fixture(autouse=True)
def _a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)


def asked(folder: Path, url: str, request: dict[str, Any], **recipe: Any) -> list[Answer]:
    """The parts of one request, in order."""
    known = catalogue(folder, url, recipe={"request": request, **recipe})
    client = HttpClient(known.sources["vendor"], known.recipes)

    async def all_parts() -> list[Answer]:
        try:
            return [one async for one in client.fetch(Request("equities", "vendor", "prices", "-", "AAA", FIRST, LAST))]
        finally:
            await client.aclose()

    parts = asyncio.run(all_parts())
    assert [one.part for one in parts] == list(range(1, len(parts) + 1))
    assert [one.last for one in parts] == [False] * (len(parts) - 1) + [True]
    return parts


def days_in(parts: list[Answer], records: str | None = None) -> list[str]:
    contents = [json.loads(part.body) for part in parts]
    return [row["date"] for content in contents for row in (content[records] if records else content)]


def rows_of(days: list[date]) -> list[dict[str, Any]]:
    return [price("AAA", day) for day in days]


# --- windows ----------------------------------------------------------------------------------------------------------------------


@given(
    per_day=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    row_limit=st.integers(2, 40) | st.none(),
    max_days=st.integers(1, 70) | st.none(),
)
def test_every_record_comes_once_or_the_request_fails(per_day: list[int], row_limit: int | None, max_days: int | None) -> None:
    first = date(2024, 1, 1)
    request = HttpRequest(**PATHS, row_limit=row_limit, max_days=max_days)
    series = Series("vendor", request, JSON, first, first + timedelta(days=len(per_day) - 1))
    held = [(first + timedelta(days=k), n) for k, count in enumerate(per_day) for n in range(count)]
    got: list[tuple[date, int]] = []
    questions = 0
    while (question := series.question) is not None:
        questions += 1
        assert question.from_date is not None
        assert question.to_date is not None
        assert max_days is None or (question.to_date - question.from_date).days < max_days
        matching = [row for row in held if question.from_date <= row[0] <= question.to_date][:row_limit]
        try:
            if series.take(json.dumps([str(row) for row in matching]).encode()):
                got += matching
        except SourceError as e:
            assert e.kind == "permanent"
            assert question.from_date == question.to_date
            assert row_limit is not None
            assert per_day[(question.from_date - first).days] >= row_limit
            return
    assert got == held
    # Each cut halves the days of a question, so few answers are thrown away.
    assert row_limit is not None or questions == -(-len(per_day) // (max_days or len(per_day)))


def test_a_window_that_is_cut_at_the_vendors_limit_is_asked_in_halves(vendor: VendorServer, tmp_path: Path) -> None:
    def newest_ten(seen: Seen) -> Reply:
        return Reply(json.dumps(rows_of(weekdays(*seen.window))[::-1][:10]).encode())

    vendor.answer = newest_ten
    parts = asked(tmp_path, vendor.url, {**PATHS, "row_limit": 10})
    assert sorted(days_in(parts)) == [day.isoformat() for day in SESSIONS]
    assert [seen.window for seen in vendor.seen][:2] == [(FIRST, LAST), (FIRST, date(2024, 1, 15))]


def test_a_day_that_is_cut_fails_with_what_to_do(vendor: VendorServer, tmp_path: Path) -> None:
    vendor.answer = lambda seen: Reply(json.dumps([{"n": k} for k in range(3)]).encode())
    with pytest.raises(
        SourceError, match=r"sent 3 records, as many as it gives at most \(row_limit\), for 2024-01-01 alone"
    ) as e:
        asked(tmp_path, vendor.url, {**PATHS, "row_limit": 3})
    assert e.value.kind == "permanent"


def test_a_wide_window_is_asked_in_pieces_that_one_row_each_records(vendor: VendorServer, tmp_path: Path) -> None:
    context = make_home(tmp_path, vendor.url, ["AAA"], recipe={"request": {**PATHS, "max_days": 10}})
    outcome = run(context)["AAA"]
    assert (outcome.kind.value, len(outcome.files)) == ("promoted", 4)
    assert {(f.requested_from_date, f.requested_to_date, f.request_complete) for f in outcome.files} == {(FIRST, LAST, True)}
    assert [f.request_part for f in sorted(outcome.files, key=lambda f: f.request_part)] == [1, 2, 3, 4]
    assert sum(f.silver_rows_created for f in outcome.files) == len(SESSIONS)
    assert run(context)["AAA"].kind.value == "up_to_date"


def test_a_piece_that_fails_leaves_the_whole_request_due(vendor: VendorServer, tmp_path: Path) -> None:
    vendor.when(lambda seen: Reply(b"gone", status=404) if seen.params["from"] == "2024-01-21" else vendor.answer(seen))
    context = make_home(tmp_path, vendor.url, ["AAA"], recipe={"request": {**PATHS, "max_days": 10}})
    assert run(context)["AAA"].kind.value == "failed"
    vendor.recover()
    assert run(context)["AAA"].kind.value == "promoted"
    assert vendor.seen[0].window[0] == FIRST
    with context.warehouse.reading() as connection:
        days = connection.execute("SELECT count(*), count(DISTINCT date) FROM silver.vendor_prices").fetchall()
    assert days == [(len(SESSIONS), len(SESSIONS))]


# --- pages ------------------------------------------------------------------------------------------------------------------------


def paged(param: str, first: int, size: int, *, extra: bool = False) -> Any:
    def answer(seen: Seen) -> Reply:
        number = int(seen.params[param]) - first
        rows = rows_of(SESSIONS)[number * size : (number + 1) * size]
        content = {"meta": {"pages": -(-len(SESSIONS) // size)}, "rows": rows} if extra else rows
        return Reply(json.dumps(content).encode())

    return answer


@pytest.mark.parametrize(
    ("page", "size", "asked_for"),
    [
        ({"param": "page", "size": 10}, 10, ["1", "2", "3"]),  # a short page is the last
        ({"param": "part", "first": 0}, 12, ["0", "1", "2"]),  # an empty one is
        ({"param": "page", "first": 0, "size": len(SESSIONS)}, len(SESSIONS), ["0", "1"]),  # a full one may not be
    ],
)
def test_pages_end_where_one_is_short_or_empty(
    vendor: VendorServer, tmp_path: Path, page: dict[str, Any], size: int, asked_for: list[str]
) -> None:
    vendor.answer = paged(page["param"], page.get("first", 1), size)
    parts = asked(tmp_path, vendor.url, {**PATHS, "paging": {"page": page}})
    assert days_in(parts) == [day.isoformat() for day in SESSIONS]
    assert [seen.params[page["param"]] for seen in vendor.seen] == asked_for


def test_pages_end_where_the_vendor_says(vendor: VendorServer, tmp_path: Path) -> None:
    vendor.answer = paged("page", 1, 8, extra=True)
    parts = asked(
        tmp_path,
        vendor.url,
        {**PATHS, "paging": {"page": {"param": "page", "pages": "/meta/pages"}}},
        answer={"format": "json", "records": "/rows/*"},
    )
    assert (len(parts), days_in(parts, "rows")) == (3, [day.isoformat() for day in SESSIONS])


@pytest.mark.parametrize("total", [None, "/count"])
@pytest.mark.parametrize("served", [9, 5])
def test_offsets_follow_what_came(vendor: VendorServer, tmp_path: Path, total: str | None, served: int) -> None:
    def answer(seen: Seen) -> Reply:
        begin = int(seen.params.get("offset", "0"))
        return Reply(json.dumps({"count": len(SESSIONS), "rows": rows_of(SESSIONS)[begin : begin + served]}).encode())

    vendor.answer = answer
    offset = {"param": "offset", "size": 9 if total else served} | ({"total": total} if total else {})
    request = {**PATHS, "paging": {"offset": offset}}
    parts = asked(tmp_path, vendor.url, request, answer={"format": "json", "records": "/rows/*"})
    # With a total, a vendor that gives fewer than its size at once loses nothing.
    assert days_in(parts, "rows") == [day.isoformat() for day in SESSIONS]


def test_cursors_are_followed_to_the_last(vendor: VendorServer, tmp_path: Path) -> None:
    def answer(seen: Seen) -> Reply:
        begin = int(seen.params.get("after", "n0&x").removeprefix("n").partition("&")[0])
        following = f"n{begin + 9}&x" if begin + 9 < len(SESSIONS) else None
        return Reply(json.dumps({"next": following, "rows": rows_of(SESSIONS)[begin : begin + 9]}).encode())

    vendor.answer = answer
    request = {**PATHS, "paging": {"cursor": {"param": "after", "from": "/next"}}}
    parts = asked(tmp_path, vendor.url, request, answer={"format": "json", "records": "/rows/*"})
    assert days_in(parts, "rows") == [day.isoformat() for day in SESSIONS]


@pytest.mark.parametrize(
    ("paging", "body", "kind", "why"),
    [
        ({"page": {"param": "page"}}, b'[{"date": "2024-01-02"}]', "permanent", "the same page twice"),
        ({"cursor": {"param": "c", "from": "/next"}}, b'{"next": "x", "rows": []}', "permanent", "the same page twice"),
        ({"page": {"param": "page", "pages": "/n"}}, b'{"rows": []}', "permanent", "without a number at /n"),
        (
            {"offset": {"param": "o", "size": 9, "total": "/n"}},
            b'{"n": 5, "rows": []}',
            "transient",
            "speaks of 5 records and sent 0",
        ),
        ({"page": {"param": "page"}}, b"\xff\xfe", "transient", "no JSON"),
        ({"page": {"param": "page"}}, b"<html>", "transient", "no JSON"),
    ],
)
def test_a_vendor_that_cannot_be_followed(
    vendor: VendorServer, tmp_path: Path, paging: dict[str, Any], body: bytes, kind: str, why: str
) -> None:
    vendor.when(Reply(body))
    shape = {} if body.startswith(b"[") else {"answer": {"format": "json", "records": "/rows/*"}}
    with pytest.raises(SourceError, match=why) as caught:
        asked(tmp_path, vendor.url, {**PATHS, "paging": paging}, **shape)
    assert caught.value.kind == kind


# --- counting ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "body", "count"),
    [
        ({}, '[1, {"a": [1, 2]}, "],["]', 3),
        ({}, "[]", 0),
        ({}, '\ufeff{"a": {}, "b": {}}', 2),
        ({"records": "/rows/*"}, '{"rows": [[1], [2]]}', 2),
        ({"records": "/rows/*"}, '{"rows": null}', 0),
        ({"records": "/a~1b/*/x/*"}, '{"a/b": [{"x": [1, 2]}, {"y": 0}, {"x": {"k": 1}}]}', 3),
        ({"records": "/one"}, '{"one": {"close": 1}}', 1),
        ({"records": "/cols", "record": "parallel"}, '{"cols": {"t": [1, 2, 3], "c": [1, 2, 3]}}', 3),
        ({"format": "csv"}, 'a,b\r\n1,"two\nlines"\r\n\r\n3,4\r\n', 2),
        ({"format": "csv", "header": False, "delimiter": ";"}, "1;2\n3;4\n", 2),
        ({"format": "csv"}, "", 0),
        ({"format": "csv"}, "a,b\n", 0),
    ],
)
def test_records_are_counted_as_the_vendor_counts_them(answer: dict[str, Any], body: str, count: int) -> None:
    assert Opened(body.encode(), AnswerFormat.model_validate({"format": "json", **answer})).count == count


def test_what_is_no_json_is_not_counted() -> None:
    with pytest.raises(UnreadableError):
        Opened(b"[" * 200_000, JSON)


# --- dates and the block's rules --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("", "2024-02-29"), ("%Y%m%d", "20240229"), ("%d.%m.%y", "29.02.24"), ("iso", "2024-02-29T00%3A00%3A00Z"),
        ("epoch", "1709164800"), ("epoch_ms", "1709164800000"), ("next", "2024-03-01"), ("next:epoch", "1709251200"),
        ("next:%m/%d", "03%2F01"), ("%j", "060"),
    ],
)  # fmt: skip
def test_dates_are_written_as_vendors_want_them(form: str, text: str) -> None:
    assert write(date(2024, 2, 29), form) == text
    request = HttpRequest(path="/x", params={"a": f"{{to_date{':' if form else ''}{form}}}"})
    assert request.render({"to_date": date(2024, 2, 29)}) == f"/x?a={text}"
    assert request.render({}) == "/x"


@pytest.mark.parametrize(
    "template", ["{from_date:%H}", "{from_date:>9}", "{from_date:isoo}", "{ticker:iso}", "{from_date:%}", "{from_date:next:x}"]
)
def test_a_format_that_is_none(template: str) -> None:
    with pytest.raises(ValueError):
        pieces(template)


@pytest.mark.parametrize(
    ("block", "why"),
    [
        ({"paging": {}}, "name one of"),
        ({"paging": {"page": {"param": "p"}, "cursor": {"param": "c", "from": "/x"}}}, "name one of"),
        ({"paging": {"page": {"param": "p", "size": 5, "pages": "/n"}}}, "name `size` or `pages`"),
        ({"paging": {"cursor": {"param": "c", "from": "next"}}}, "begins with /"),
        ({"paging": {"cursor": {"param": "c", "from": "/rows/*/next"}}}, r"has no \*"),
        ({"paging": {"page": {"param": "symbol"}}}, "is put there by `paging`"),
        ({"paging": {"page": {"param": "p"}}, "row_limit": 5}, "row_limit is for answers that come at once"),
        ({"max_days": 5, "params": {"from": "{from_date}"}}, "max_days needs"),
        ({"max_days": 0}, "max_days"),
        ({"row_limit": 0}, "row_limit"),
    ],
)
def test_a_block_that_makes_no_sense(block: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        HttpRequest.model_validate({**PATHS, **block})


def test_recipes_without_parts_keep_their_hashes(tmp_path: Path) -> None:
    text = catalogue(tmp_path, "https://api.example.com").recipes[DATASET].text
    assert json.loads(text)["request"] == {k: RECIPE["request"][k] for k in ("path", "params")}


def test_a_source_calls_itself_what_its_vendor_wants(vendor: VendorServer, tmp_path: Path) -> None:
    known = catalogue(tmp_path, vendor.url, user_agent="Example Research mail@example.com")
    client = HttpClient(known.sources["vendor"], known.recipes)

    async def one() -> None:
        async for _ in client.fetch(Request("equities", "vendor", "prices", "-", "AAA", FIRST, LAST)):
            pass
        await client.aclose()

    asyncio.run(one())
    assert vendor.seen[0].headers["user-agent"] == "Example Research mail@example.com"
