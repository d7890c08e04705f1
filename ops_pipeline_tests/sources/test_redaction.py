"""A key is found in bodies and sentences however it is written, and nothing else is taken for one."""

from __future__ import annotations

import html
import json
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote, quote_plus, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_pipeline.sources.redaction import REDACTED, SHORTEST_KEY, Redactor

# Without brackets: what stands in a key's place has some, and a key could be made of that.
PRINTABLE = "".join(chr(c) for c in range(0x21, 0x7F) if chr(c) not in "[]")
KEYS = st.text(PRINTABLE, min_size=SHORTEST_KEY, max_size=60).filter(lambda key: key not in REDACTED)
PLAIN = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=SHORTEST_KEY, max_size=60)

WAYS = {
    "as it is": lambda key: key,
    "quote": lambda key: quote(key, safe=""),
    "quote, slashes kept": quote,
    "quote, as browsers do": lambda key: quote(key, safe="!$&'()*+,;=:@/?"),
    "quote_plus": quote_plus,
    "small letters": lambda key: "".join(quote(c, safe="").lower() if quote(c, safe="") != c else c for c in key),
    "every character": lambda key: "".join(f"%{ord(c):02X}" for c in key),
    "every character, small": lambda key: "".join(f"%{ord(c):02x}" for c in key),
    "twice": lambda key: quote(quote(key, safe=""), safe=""),
    "JSON": lambda key: json.dumps(key)[1:-1],
    "JSON in JSON": lambda key: json.dumps(json.dumps(key))[3:-3],
    "JSON with slashes": lambda key: json.dumps(key)[1:-1].replace("/", "\\/"),
    "JSON with codes": lambda key: "".join(c if c.isalnum() else f"\\u{ord(c):04x}" for c in key),
    "JSON as .NET does": lambda key: "".join(c if c.isalnum() else f"\\u{ord(c):04X}" for c in key),
    "JSON, every character": lambda key: "".join(f"\\u{ord(c):04x}" for c in key),
    "JSON, some letters": lambda key: "".join(f"\\u{ord(c):04X}" if n % 3 else json.dumps(c)[1:-1] for n, c in enumerate(key)),
    "percent, some letters": lambda key: "".join(f"%{ord(c):02X}" if n % 3 else quote(c, safe="") for n, c in enumerate(key)),
    "HTML": html.escape,
    "HTML with codes": lambda key: "".join(c if c.isalnum() else f"&#{ord(c)};" for c in key),
    "HTML with hexadecimal codes": lambda key: "".join(c if c.isalnum() else f"&#x{ord(c):02X};" for c in key),
}


@pytest.mark.parametrize("way", WAYS)
@given(key=KEYS | PLAIN, before=st.binary(max_size=30), after=st.binary(max_size=30), times=st.integers(1, 3))
def test_a_key_is_found_however_it_is_written(way: str, key: str, before: bytes, after: bytes, times: int) -> None:
    written = WAYS[way](key).encode()
    clean, redacted = Redactor(key).body(before + (written + b" ") * times + after)
    assert redacted
    assert written not in clean
    assert key.encode() not in clean
    assert clean.count(REDACTED.encode()) >= 1


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=50)
@given(key=KEYS | PLAIN, left=st.integers(6, 60), before=st.binary(max_size=300))
def test_a_body_that_ends_in_the_middle_of_a_key_keeps_none_of_it(way: str, key: str, left: int, before: bytes) -> None:
    if left >= len(key) or way == "twice":
        return
    whole, part = WAYS[way](key).encode(), WAYS[way](key[:left]).encode()
    assert whole.startswith(part)
    more = whole[len(part) :]
    for stump in range(min(3, len(more) - 1) if more[:1] in (b"%", b"\\", b"&") else 0):
        clean, redacted = Redactor(key).body(before + b"=" + part + more[: stump + 1])
        assert redacted, stump
        assert part not in clean or part in before
    clean, redacted = Redactor(key).body(before + b"=" + part)
    assert redacted
    assert clean.endswith(REDACTED.encode())


@pytest.mark.parametrize(
    "key", ["\\" * 16 + "abcd", "abcd" + "\\" * 18, "%" * 20 + "abcd", "abcd" + "&\\" * 9, "\\/" * 9 + "abcd"]
)
def test_no_body_takes_for_ever_to_search(key: str) -> None:
    # Each of these had taken minutes where every way to divide the signs among the key's characters was tried.
    for sign in ("\\", "%25", "%252525", "&amp;", "\\/", "\\\\&"):
        for body in (sign * 60, sign * 60 + "abcd", "abcd" + sign * 60, "abcd" + sign * 20_000 + "abcd"):
            Redactor(key).body(body.encode())


# None that a key has, so that what is left of it cannot come from them.
OTHER_BYTES = st.lists(st.integers(128, 255), max_size=7).map(bytes)
BASE64 = {
    "base64": lambda text: b64encode(text),
    "of addresses": lambda text: urlsafe_b64encode(text).rstrip(b"="),
    "in an address": lambda text: quote(b64encode(text), safe="").encode(),
    "in JSON": lambda text: b64encode(text).replace(b"/", b"\\/"),
    "in JSON with codes": lambda text: b64encode(text).replace(b"/", b"\\u002F").replace(b"+", b"\\u002b"),
}


@pytest.mark.parametrize("way", BASE64)
@given(key=KEYS | PLAIN, user=OTHER_BYTES, more=OTHER_BYTES)
def test_a_key_in_base64_is_found_amid_whatever(way: str, key: str, user: bytes, more: bytes) -> None:
    """Such as the pair of user and key that basic authentication sends, wherever in a group of three bytes the key begins."""
    clean, redacted = Redactor(key).body(b'{"sent": "Basic ' + BASE64[way](user + key.encode() + more) + b'"}')
    assert redacted
    assert clean.startswith(b'{"sent": "Basic ')
    assert clean.endswith(b'"}')
    plain = unquote(clean.decode().replace("\\u002F", "/").replace("\\u002b", "+").replace("\\/", "/"))
    whole, (first, last) = b64encode(user + key.encode() + more).decode(), (len(user) * 8, (len(user) + len(key)) * 8)
    mine = whole[-(-first // 6) : last // 6]
    for text in (mine, mine.replace("+", "-").replace("/", "_")):
        assert not any(text[k : k + 6] in plain for k in range(len(text) - 5))
    assert REDACTED in plain
    assert "\\u002[" not in plain, "half an escape is no JSON"


@settings(max_examples=50)
@given(key=KEYS | PLAIN, user=OTHER_BYTES, left=st.integers(0, 60))
def test_a_body_that_ends_within_base64_keeps_none_of_it(key: str, user: bytes, left: int) -> None:
    whole = b64encode(user + key.encode())
    shown = -(-len(user) * 8 // 6) + 8 + left
    if shown <= len(whole) - 4:
        clean, redacted = Redactor(key).body(b"Basic " + whole[:shown])
        assert redacted
        assert clean.endswith(REDACTED.encode())
        assert len(clean) < len(b"Basic ") + len(REDACTED) + -(-len(user) * 8 // 6) + 1


@pytest.mark.parametrize("way", WAYS)
def test_a_key_of_signs_only_is_found(way: str) -> None:
    key = "[]{}<>&\"'\\/+=%~^|`"
    assert Redactor(key).body(WAYS[way](key).encode()) == (REDACTED.encode(), True)


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be"])
@given(key=KEYS)
def test_a_key_in_another_coding_is_found(coding: str, key: str) -> None:
    body = f"<h1>{key} is wrong</h1>".encode(coding)
    clean, redacted = Redactor(key).body(body)
    assert redacted
    assert clean.decode(coding) == f"<h1>{REDACTED} is wrong</h1>"


@given(KEYS, st.binary(max_size=200))
def test_what_holds_no_key_stays_as_it_is(key: str, body: bytes) -> None:
    clean, redacted = Redactor(key).body(body)
    assert redacted == (clean != body)
    if not redacted:
        assert clean == body


def test_a_body_without_key_is_not_even_copied() -> None:
    body = b"[" + b"x" * 1000 + b"]"
    assert Redactor("0123456789abcdef").body(body)[0] is body


@pytest.mark.parametrize("key", [None, "", "k", "demo", "1234567"])
def test_a_short_key_is_not_looked_for(key: str | None) -> None:
    body = b'{"kind": "demo", "volume": 1234567}'
    redactor = Redactor(key)
    assert redactor.body(body) == (body, False)
    assert redactor.text("k demo 1234567") == "k demo 1234567"


@given(KEYS, st.text(max_size=30))
def test_a_sentence_loses_the_key_and_nothing_else(key: str, around: str) -> None:
    assert key not in Redactor(key).text(f"{around}{key}.")
    assert Redactor("0123456789abcdef").text("äöü 日本 [x]") == "äöü 日本 [x]"
