"""What a recipe file may say about HTTP, and what a request becomes.

Belongs here: the rules of the blocks `http` and `request`, alone and in a file, and laws about every request. Does not belong here: sending
(`sources` tests).
"""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ops_pipeline.errors import RecipeError
from ops_pipeline.recipes.http import ApiKey, HttpRequest, HttpSource
from ops_pipeline.recipes.loading import load_catalogue
from ops_pipeline.recipes.source import SourceDeclaration
from ops_pipeline.recipes.templates import PLACEHOLDERS
from ops_pipeline_tests.recipes.files import RECIPE, SOURCE, without, written

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 31)
PASTED = "0123sEcReT456789"
HTTP: dict[str, Any] = {"base_url": "https://api.example.com"}
VENDOR = {**SOURCE, "client": "http", "http": HTTP}
REQUEST = {"path": "/prices", "params": {"symbol": "{ticker}"}}


# --- laws -------------------------------------------------------------------------------------------------------------------------

# What may stand between the placeholders of a path, and anything at all in a parameter, braces written twice.
PATH_TEXT = st.text("abcXYZ019-._~!$&'()*+,;=:@", max_size=6) | st.just("%2F")
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).map(lambda t: t.replace("{", "{{").replace("}", "}}"))
FILLED = st.sampled_from([f"{{{name}}}" for name in PLACEHOLDERS])
SEGMENT = st.lists(PATH_TEXT | FILLED, max_size=3).map("".join)
PATHS = st.lists(SEGMENT, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
PARAMS = st.dictionaries(
    st.text("abcAZ019_.$:[]-", min_size=1, max_size=8), st.lists(ANY_TEXT | FILLED, max_size=3).map("".join), max_size=4
)
TICKERS = st.text(min_size=1, max_size=30) | st.sampled_from(
    ["..", ".", "../..", "a/b", "a?b#c", "&k=v", "%2e%2e", "{ticker}", "a b", "\\", "\r\n"]
)
DATES = st.none() | st.dates()


def _expected(template: str, values: dict[str, str]) -> str:
    return re.sub(r"{{|}}|{(\w+)}", lambda m: values[m[1]] if m[1] else m[0][0], template)


def _unspecial(path: str) -> bool:
    return not any(re.sub("%2e", ".", part, flags=re.IGNORECASE) in (".", "..") for part in path.split("/"))


@given(PATHS.filter(_unspecial), PARAMS, TICKERS, DATES, DATES)
def test_a_request_is_written_or_refused_and_no_value_leaves_its_place(
    path: str, params: dict[str, str], ticker: str, first: date | None, last: date | None
) -> None:
    request = HttpRequest(path=path, params=params)
    values = {"ticker": ticker} | {n: d.isoformat() for n, d in (("from_date", first), ("to_date", last)) if d}
    needed = set(re.findall(r"{(\w+)}", path))
    used = needed | {n for text in params.values() for n in re.findall(r"(?<!{)(?:{{)*{(\w+)}", text)}
    assert request.placeholders == used
    try:
        target = request.render({n: v for n, v in (("ticker", ticker), ("from_date", first), ("to_date", last)) if v})
    except ValueError as e:
        surrogate = any("\ud800" <= c <= "\udfff" for c in ticker)
        assert surrogate or needed - set(values) or not ticker.strip("."), e
        return
    assert re.fullmatch(r"[!-~]+", target)
    assert "#" not in target
    assert target.count("?") <= 1
    made, _, query = target.partition("?")
    segments, templates = made.split("/"), path.split("/")
    assert len(segments) == len(templates)
    assert [unquote(s) for s in segments] == [_expected(unquote(t), values) for t in templates]
    assert not {".", ".."} & {re.sub("%2e", ".", s, flags=re.IGNORECASE) for s in segments[1:]}
    given_params = {n: t for n, t in params.items() if set(re.findall(r"(?<!{)(?:{{)*{(\w+)}", t)) <= set(values)}
    assert parse_qsl(query, keep_blank_values=True) == [(n, _expected(t, values)) for n, t in given_params.items()]


@given(st.text(max_size=40), st.dictionaries(st.text(max_size=10), st.text(max_size=20), max_size=3))
def test_any_text_is_a_request_or_is_refused(path: str, params: dict[str, str]) -> None:
    try:
        request = HttpRequest(path=path, params=params)
    except ValidationError:
        return
    assert "ticker" in request.placeholders or request.render(
        {"ticker": "AAA", "from_date": FIRST, "to_date": LAST}
    ) == request.render({"ticker": "BBB", "from_date": FIRST, "to_date": LAST})


@given(
    st.text(max_size=60)
    | st.builds("{}://{}{}{}".format, st.sampled_from(["http", "https"]), st.text(max_size=20), st.just("/"), st.text(max_size=9))
)
def test_any_text_is_an_address_or_is_refused(text: str) -> None:
    try:
        source = HttpSource(base_url=text)
    except ValidationError as e:
        assert len(text) < 12 or text not in str(e)
        return
    assert source.base_url == text.rstrip("/")
    assert re.fullmatch(r"https?://[^/@?#\\\s]+(/[^?#\\\s]*)?", source.base_url)


def test_what_never_changes_names_the_request() -> None:
    request = HttpRequest(path="/v1/{ticker}", params={"z": "1", "from": "{from_date}", "a": "{{x}}"})
    assert request.constants == ((":path", "/v1/{ticker}"), ("a", "{{x}}"), ("z", "1"))
    assert request.render({"ticker": "AAA", "from_date": FIRST}) == "/v1/AAA?z=1&from=2024-01-01&a=%7Bx%7D"
    assert request.render({"ticker": "AAA"}) == "/v1/AAA?z=1&a=%7Bx%7D"


# --- what is refused --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com", "ftp://api.example.com", "api.example.com", "https://", "https:///v1", "//api.example.com",
        f"https://me:{PASTED}@api.example.com", f"https://{PASTED}@api.example.com", "https://@api.example.com",
        f"https://api.example.com?key={PASTED}", "https://api.example.com/#x", "https://api.example.com/ v1", "https://api example.com",
        "https://api.example.com\n", "https://api.example.com\\@evil.example", "https://api.example.com:0", "https://api.example.com:99999",
        "https://api.example.com:x", "https://äpi.example.com", "https://api.example.com/../x", "https://api.example.com/%2E%2e/x",
        "https://api.example.com/%zz", "https://api..example.com", "https://.", "https://[::1", "https://[zz]", "http://[::2]", "",
    ],
)  # fmt: skip
def test_an_address_that_is_none_or_gives_the_key_away(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        HttpSource(base_url=url)
    assert PASTED not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com",
        "https://api.example.com:8443/v3/",
        "http://localhost:8000",
        "http://127.0.0.1:1",
        "http://[::1]:80/x",
    ],
)
def test_an_address_that_is_one(url: str) -> None:
    assert HttpSource(base_url=url).base_url == url.rstrip("/")


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ({"env": PASTED, "query": "k"}, "never the key itself"),
        ({"env": "ABCD1234EFGH5678", "query": "k"}, "never the key itself"),
        ({"env": "acme_api_key", "query": "k"}, "never the key itself"),
        ({"env": "OPS_PIPELINE_KEY", "query": "k"}, "those are settings"),
        ({"env": "_KEY", "query": "k"}, "never the key itself"),
        ({"env": "FMP_KEY"}, "name either `query` or `header`"),
        ({"env": "FMP_KEY", "query": "a", "header": "b"}, "name either `query` or `header`"),
        ({"env": "FMP_KEY", "query": "a", "prefix": "Token "}, "name the header"),
        ({"env": "FMP_KEY", "header": "a b"}, "header"),
        ({"env": "FMP_KEY", "header": "a:b"}, "header"),
        ({"env": "FMP_KEY", "query": "a&b"}, "query"),
        ({"env": "FMP_KEY", "header": "X", "prefix": "a\r\nb"}, "prefix"),
    ],
)
def test_a_key_is_named_and_never_given(key: dict[str, str], why: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ApiKey.model_validate(key)
    assert why in str(caught.value)
    assert PASTED not in str(caught.value)


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        ({"path": "prices"}, "begins with /"),
        ({"path": f"/prices?key={PASTED}"}, "write parameters into `params`"),
        ({"path": "/a b"}, "percent-encode"),
        ({"path": "/ä"}, "percent-encode"),
        ({"path": "/100%"}, "percent-encode"),
        ({"path": "/{{x}}"}, "percent-encode"),
        ({"path": "/a/../b"}, "names another path"),
        ({"path": "/a/%2E./b"}, "names another path"),
        ({"path": "/{symbol}"}, "only {ticker}, {from_date}, {to_date}"),
        ({"path": "/{ticker!r}"}, "only {ticker}"),
        ({"path": "/{ticker:>9}"}, "only {ticker}"),
        ({"path": "/{ticker.__class__}"}, "only {ticker}"),
        ({"path": "/{}"}, "only {ticker}"),
        ({"path": "/{ticker"}, "written twice"),
        ({"path": "/x", "params": {"a": "}"}}, "written twice"),
        ({"path": "/x", "params": {"a b": "1"}}, "params"),
        ({"path": "/x", "params": {"apikey": PASTED}}, "apikey is the name of a key"),
        ({"path": "/x", "params": {"API-Key": PASTED}}, "the name of a key"),
        ({"path": "/x", "params": {"access_token": PASTED}}, "the name of a key"),
        ({"path": "/x", "params": {"client_secret": PASTED}}, "the name of a key"),
        ({"path": "/x", "headers": {}}, "headers"),
    ],
)  # fmt: skip
def test_a_request_that_cannot_be_sent_or_holds_a_key(request_: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError) as caught:
        HttpRequest.model_validate(request_)
    assert why in str(caught.value)
    assert PASTED not in str(caught.value)


@pytest.mark.parametrize(
    "changed",
    [
        {"timeout_seconds": 0}, {"attempts": 0}, {"attempts": 21}, {"longest_pause_seconds": -1}, {"max_bytes": 0}, {"surprise": 1},
        {"timeout_seconds": "nan"}, {"errors": [{"match": "", "kind": "permanent"}]}, {"errors": [{"match": "x", "kind": "fatal"}]},
    ],
)  # fmt: skip
def test_limits_that_make_no_sense(changed: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(changed))):
        HttpSource.model_validate({**HTTP, **changed})


def test_a_client_and_its_block_belong_together() -> None:
    assert SourceDeclaration.model_validate(VENDOR).http == HttpSource.model_validate(HTTP)
    with pytest.raises(ValidationError, match="needs an `http` block"):
        SourceDeclaration.model_validate(without(VENDOR, "http"))
    with pytest.raises(ValidationError, match="takes no `http` block"):
        SourceDeclaration.model_validate({**VENDOR, "client": "sample"})


# --- in a file --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "recipe", "why"),
    [
        (VENDOR, {}, "dataset acme.profile, field request: missing"),
        (SOURCE, {"request": REQUEST}, "field request: the source acme is not asked by HTTP"),
        (VENDOR, {"request": {"path": "/x"}}, "field request: no part of it holds {ticker}"),
        (VENDOR, {"request": REQUEST, "per_ticker": False}, "field request: {ticker} has no value"),
        (VENDOR, {"request": {"path": "/{ticker}/{from_date}"}}, "field request: {from_date} has no value in the mode snapshot"),
        (
            {**VENDOR, "http": {**HTTP, "key": {"env": "FMP_KEY", "query": "k"}}},
            {"request": {"path": "/{ticker}", "params": {"k": PASTED}}},
            "field request: the parameter k is the place of the key",
        ),
        (VENDOR, {"request": {"path": f"/{{ticker}}?k={PASTED}"}}, "field request.path"),
        ({**VENDOR, "http": {"base_url": f"https://me:{PASTED}@x.example"}}, {}, "source, field http.base_url"),
        ({**VENDOR, "http": {**HTTP, "key": {"env": PASTED, "query": "k"}}}, {}, "source, field http.key.env"),
        ({**VENDOR, "http": {**HTTP, "key": PASTED}}, {}, "source, field http.key"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_asked_is_refused_without_showing_a_key(
    tmp_path: Path, source: dict[str, Any], recipe: dict[str, Any], why: str
) -> None:
    path = written(tmp_path, {**RECIPE, **recipe}, source=source)
    with pytest.raises(RecipeError) as caught:
        load_catalogue(tmp_path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert why in text
    assert "\n" not in text
    assert PASTED not in text
    assert PASTED not in str(caught.value.__cause__)


def test_another_address_is_the_sources_only_change(tmp_path: Path) -> None:
    written(tmp_path, {**RECIPE, "request": REQUEST}, source={**VENDOR, "name": "my-vendor", "floor": "2001-01-01"})
    told, other = (
        load_catalogue(tmp_path),
        load_catalogue(tmp_path, variables={"OPS_PIPELINE_SOURCE_MY_VENDOR_BASE_URL": "http://localhost:1/"}),
    )
    assert other.recipes == told.recipes
    assert other.sources["sample"] == told.sources["sample"]
    before, after = (json.loads(c.sources["my-vendor"].model_dump_json()) for c in (told, other))
    assert after["http"].pop("base_url") == "http://localhost:1"
    assert before["http"].pop("base_url") == "https://api.example.com"
    assert after == before
