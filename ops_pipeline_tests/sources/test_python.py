"""A user's own code as a source: every way to write it works, and whatever it does wrong fails its key only.

Belongs here: `client: python` through whole runs. Does not belong here: the pages that describe it (`test_own_sources_page`).
"""

from __future__ import annotations

import asyncio
import json
import textwrap
import threading
from pathlib import Path

import pytest

from ops_pipeline.engine.outcome import Outcome
from ops_pipeline.errors import RecipeError
from ops_pipeline.recipes.source import SourceDeclaration
from ops_pipeline.sources import Answer, Request, SourceError, open_source
from ops_pipeline_tests.sources.own_home import RECIPE, make_home, rows, run

ROW = '{"date":"2024-01-02","close":1}'
MORE = '{"date":"2024-01-03","close":2}'
SECRET = "s3ntinel-TOKEN-0123456789"


def answer(home: Path, code: str, ticker: str = "AAA", *, call: str = "own.py:fetch", **python: object) -> list[Answer] | str:
    """What one question gets, or the sentence of its error."""
    (home / "sources").mkdir(parents=True, exist_ok=True)
    (home / "sources" / "own.py").write_text(textwrap.dedent(code))
    given = {"name": "own", "description": "Own.", "client": "python", "python": {"call": call, **python}}

    async def ask() -> list[Answer]:
        source = open_source(SourceDeclaration.model_validate(given).at(home), {})
        try:
            return [part async for part in source.fetch(Request("equities", "own", "prices", "-", ticker, None, None))]
        finally:
            await source.aclose()

    try:
        return asyncio.run(ask())
    except SourceError as e:
        return str(e)


def asked(home: Path, code: str, *tickers: str, call: str = "own.py:fetch", **python: object) -> dict[str, Outcome]:
    """A run over a home whose code this is."""
    (home / "sources").mkdir(parents=True, exist_ok=True)
    (home / "sources" / "own.py").write_text(textwrap.dedent(code))
    context = make_home(home, {"client": "python", "python": {"call": call, **python}}, tickers=tickers or ("AAA",))
    return run(context)


@pytest.mark.parametrize(
    "code",
    [
        f"def fetch(request): return b'[{ROW},{MORE}]'",
        f"async def fetch(request): return bytearray(b'[{ROW},{MORE}]')",
        f"def fetch(request): return [b'[{ROW}]', b'[{MORE}]']",
        f"def fetch(request):\n    yield b'[{ROW}]'\n    yield b'[{MORE}]'",
        f"async def fetch(request):\n    yield b'[{ROW}]'\n    yield b'[{MORE}]'",
        f"class fetch:\n    def fetch(self, request): return b'[{ROW},{MORE}]'",
        f"class fetch:\n    async def fetch(self, request):\n        yield b'[{ROW}]'\n        yield b'[{MORE}]'",
        f"import functools\nfetch = functools.partial(lambda body, request: body, b'[{ROW},{MORE}]')",
    ],
)
def test_every_way_to_write_it_gives_the_same(tmp_path: Path, code: str) -> None:
    parts = answer(tmp_path, code)
    assert not isinstance(parts, str)
    records = [record for part in parts for record in json.loads(part.body)]
    assert [record["close"] for record in records] == [1, 2]
    assert [part.part for part in parts] == [*range(1, len(parts) + 1)]
    assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]


@pytest.mark.parametrize(
    ("misbehave", "sentence"),
    [
        ("raise ValueError('apikey=s3cr3t')", "own.py:fetch raised ValueError in line 4 for BAD; the log has the details."),
        ("raise SystemExit(3)", "own.py:fetch raised SystemExit in line 4 for BAD; the log has the details."),
        ("raise KeyboardInterrupt", "own.py:fetch raised KeyboardInterrupt in line 4 for BAD; the log has the details."),
        ("raise StopIteration", "own.py:fetch raised StopIteration in line 4 for BAD; the log has the details."),
        ("return None", "own.py:fetch gave NoneType in place of bytes; return the answer as bytes, as it was received."),
        ("return '[]'", "own.py:fetch gave str in place of bytes; encode the text, such as text.encode()."),
        ("return {}", "own.py:fetch gave dict in place of bytes; return the answer as bytes, as it was received."),
        ("return []", "own.py:fetch gave nothing; return bytes, such as b'[]' where there are no data."),
        ("raise SourceError('The desk is closed.', kind='transient')", "The desk is closed."),
    ],
)
def test_what_it_does_wrong_is_told_in_a_sentence(tmp_path: Path, misbehave: str, sentence: str) -> None:
    code = f"""\
        from ops_pipeline.sources import SourceError
        def fetch(request):
            if request.ticker == "BAD":
                {misbehave}
            return b'[{ROW}]'
    """
    assert answer(tmp_path, code, "BAD") == sentence


def test_an_exception_or_an_exit_fails_its_key_and_no_other(tmp_path: Path) -> None:
    code = f"""\
        def fetch(request):
            if request.ticker == "BAD": raise ValueError("apikey=s3cr3t")
            if request.ticker == "GONE": raise SystemExit
            yield b'[{ROW}]'
            yield b'[{MORE}]'
    """
    told = asked(tmp_path, code, "AAA", "BAD", "GONE", "CCC")
    kinds = {ticker: outcome.kind for ticker, outcome in told.items()}
    assert kinds == {"AAA": "promoted", "BAD": "failed", "GONE": "failed", "CCC": "promoted"}
    context = make_home(tmp_path, {"client": "python", "python": {"call": "own.py:fetch"}})
    assert rows(context, "SELECT close FROM silver.own_prices WHERE ticker = 'AAA' ORDER BY date") == [(1.0,), (2.0,)]
    errors = rows(context, "SELECT bronze_error FROM ops.file_ingestions WHERE bronze_error IS NOT NULL ORDER BY ticker")
    assert [error.split(" in line")[0] for (error,) in errors] == [
        "own.py:fetch raised ValueError",
        "own.py:fetch raised SystemExit",
    ]


def test_code_that_never_answers_fails_its_key_in_time_and_holds_nothing_up(tmp_path: Path) -> None:
    code = f"""\
        import threading
        release = threading.Event()
        def fetch(request):
            if request.ticker == "BAD":
                release.wait(600)
            release.set()
            return b'[{ROW}]'
    """
    told = asked(tmp_path, code, "BAD", "CCC", timeout_seconds=2)
    assert (told["BAD"].kind, told["CCC"].kind) == ("failed", "promoted")
    assert told["BAD"].reason == "own.py:fetch gave nothing within 2 s: run again, or raise timeout_seconds."


@pytest.mark.parametrize(
    ("code", "call", "sentence"),
    [
        ("def fetch(request) return 1", "own.py:fetch", "raised SyntaxError in line 1 when it was loaded"),
        ("import os\nraise OSError", "own.py:fetch", "raised OSError in line 2 when it was loaded"),
        ("x = 1", "own.py:fetch", "own.py has no fetch: correct `call` of the source own."),
        ("fetch = 1", "own.py:fetch", "own.py:fetch is no function or class"),
        ("class fetch: pass", "own.py:fetch", "has no method fetch(request): add it."),
        ("import neighbour", "own.py:fetch", "raised ModuleNotFoundError in line 1"),
        ("", "other.py:fetch", "cannot be read (No such file or directory): put the code of the source own there"),
        ("", "no_such_package_of_ours:fetch", "no_such_package_of_ours:fetch raised ModuleNotFoundError when it was loaded"),
        ("", "linked.py:fetch", "leads out of"),
    ],
)
def test_code_that_cannot_be_loaded_is_told_in_a_sentence(tmp_path: Path, code: str, call: str, sentence: str) -> None:
    home = tmp_path / "home"
    (home / "sources").mkdir(parents=True)
    (home / "sources" / "neighbour.py").touch()
    (tmp_path / "elsewhere.py").write_text("def fetch(request): return b'[]'")
    (home / "sources" / "linked.py").symlink_to(tmp_path / "elsewhere.py")
    told = answer(home, code, call=call)
    assert isinstance(told, str)
    assert sentence in told


def test_its_secrets_stand_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("DESK_TOKEN", SECRET)
    code = """\
        import os
        from ops_pipeline.sources import SourceError
        def fetch(request):
            token = os.environ["DESK_TOKEN"]
            if request.ticker == "A": raise ValueError(token)
            if request.ticker == "B": raise SourceError("refused " + token, kind="permanent", body=token.encode())
            return ('[{"date":"2024-01-02","close":1,"note":"%s"}]' % token).encode()
    """
    home = tmp_path / "home"
    told = asked(home, code, "A", "B", "C", secrets=["DESK_TOKEN"])
    assert told["B"].reason == "refused [redacted]"
    context = make_home(home, {"client": "python", "python": {"call": "own.py:fetch"}})
    assert rows(context, "SELECT note FROM silver.own_prices") == [("[redacted]",)]
    assert rows(context, "SELECT ticker FROM ops.file_ingestions WHERE bronze_redacted ORDER BY ticker") == [("B",), ("C",)]
    assert SECRET not in caplog.text
    assert "[redacted]" in caplog.text
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and SECRET.encode() in p.read_bytes()]


def test_no_compiled_copy_is_read_or_written_and_a_change_counts_at_once(tmp_path: Path) -> None:
    assert answer(tmp_path, "def fetch(request): return b'[1]'") == [Answer(b"[1]")]
    assert answer(tmp_path, "def fetch(request): return b'[2]'") == [Answer(b"[2]")]
    assert list((tmp_path / "sources").iterdir()) == [tmp_path / "sources" / "own.py"]


def test_one_request_at_a_time_unless_the_source_says_more(tmp_path: Path) -> None:
    code = f"""\
        import threading
        busy = threading.Lock()
        def fetch(request):
            if not busy.acquire(blocking=False): raise RuntimeError("two at once")
            threading.Event().wait(0.01)
            busy.release()
            return b'[{ROW}]'
    """
    told = asked(tmp_path, code, *"ABCD")
    assert {outcome.kind for outcome in told.values()} == {"promoted"}


def test_an_object_is_made_once_and_closed(tmp_path: Path) -> None:
    code = f"""\
        import pathlib
        class fetch:
            def __init__(self): self.seen = []
            def fetch(self, request):
                self.seen.append(request.ticker)
                return b'[{ROW}]'
            def close(self): pathlib.Path({str(tmp_path / "closed")!r}).write_text(",".join(self.seen))
    """
    assert {o.kind for o in asked(tmp_path, code, "A", "B").values()} == {"promoted"}
    assert (tmp_path / "closed").read_text() == "A,B"


@pytest.mark.parametrize("call", ["fetch", "../own.py:fetch", "/own.py:fetch", "own.py:", "a..b:fetch", "own.py:fetch()"])
def test_a_call_that_names_no_place_is_refused(tmp_path: Path, call: str) -> None:
    with pytest.raises(RecipeError, match=r"field python\.call: write file\.py:name"):
        make_home(tmp_path, {"client": "python", "python": {"call": call}}, RECIPE)


def test_no_thread_is_left(tmp_path: Path) -> None:
    # Code that does not end in time goes on in its thread, as in a test before this one.
    before = set(threading.enumerate())
    answer(tmp_path, f"def fetch(request): return b'[{ROW}]'")
    for thread in set(threading.enumerate()) - before:
        if thread.name == "ops-pipeline-own-source":
            thread.join(300)  # it was told to end, and does so in its own time
            assert not thread.is_alive()
