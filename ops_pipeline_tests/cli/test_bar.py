"""What shows while a command works: bars on a terminal alone, and the calendar of `runs`."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from ops_pipeline.cli import bar, calendar, output
from ops_pipeline.engine.checks import check_now
from ops_pipeline.engine.published import publish_now
from ops_pipeline.engine.replay import replay
from ops_pipeline.engine.run import new_run_id
from ops_pipeline.maintenance.backup import back_up, restore
from ops_pipeline.maintenance.packing import pack
from ops_pipeline.ops.browse import Day
from ops_pipeline_tests.engine.home import JANUARY, PRICES, make_home, run

Screen = Callable[..., io.StringIO]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    def make(*, terminal: bool, no_color: bool = False) -> io.StringIO:
        # What a terminal's stream is called counts: drawn characters need an encoding that has them.
        shown = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        made = Console(
            file=shown, force_terminal=terminal, no_color=no_color, color_system="standard" if terminal else None, width=80
        )
        monkeypatch.setattr(output, "console", lambda **_: made)
        return shown  # type: ignore[return-value]

    return make


def seen(shown: io.StringIO) -> str:
    return shown.buffer.getvalue().decode()  # type: ignore[attr-defined,no-any-return]


def test_a_bar_shows_on_a_terminal_and_only_when_it_takes_long(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = screen(terminal=True)
    monkeypatch.setattr(bar, "SHOWN_AFTER_SECONDS", 3600.0)
    with bar.progress("working") as tell:
        tell("copying files", 1, 4)
    assert seen(shown) == ""
    monkeypatch.setattr(bar, "SHOWN_AFTER_SECONDS", 0.0)
    with bar.progress("working") as tell:
        tell("copying files", 1, 4)
        while "25%" not in seen(shown):
            time.sleep(0.01)
    assert "copying files" in seen(shown)
    assert "25%" in seen(shown)
    piped = screen(terminal=False)
    with bar.progress("working") as tell:
        tell("copying files", 1, 4)
        time.sleep(0.05)
    assert seen(piped) == ""


def day(number: int, *, files: int = 4, failed: int = 0, deferred: int = 0, not_in_plan: int = 0, unchanged: int = 0) -> Day:
    return Day(date(2026, 1, number), 1, files, failed, deferred, not_in_plan, 0, unchanged, 0, 10, 100)


DAYS = [day(2), day(3, unchanged=4), day(5, deferred=1, not_in_plan=3), day(6, not_in_plan=4), day(31, files=400, failed=1)]


def test_the_calendar_in_a_pipe_is_plain_letters(screen: Screen) -> None:
    shown = screen(terminal=False)
    output.show(*calendar.lines(DAYS, date(2026, 2, 3)))
    lines = seen(shown).splitlines()
    assert lines[1] == "2026-01  .o-.!p" + "." * 24 + "x"
    assert lines[2] == "2026-02  ..."
    assert lines[3] == calendar.LEGEND
    assert seen(shown).isascii()
    assert [lines[0][8 + n :].startswith(str(n)) for n in (1, 5, 10, 15, 20, 25, 30)] == [True] * 7
    assert calendar.lines([], date(2026, 2, 3)) == []


def test_the_calendar_on_a_terminal_is_bars_in_colour(screen: Screen) -> None:
    shown = screen(terminal=True)
    output.show(*calendar.lines(DAYS, date(2026, 1, 31)))
    assert "\x1b[1;31m█" in seen(shown)  # the day of most files, and it failed
    assert "\x1b[32m▂" in seen(shown)
    colourless = screen(terminal=True, no_color=True)
    output.show(*calendar.lines(DAYS, date(2026, 1, 31)))
    assert ".o-.!" in re.sub(r"\x1b\[[0-9;]*m", "", seen(colourless))


def test_the_calendar_reaches_as_far_as_was_asked_within_reason() -> None:
    until = date(2026, 1, 20)
    assert calendar.span(None, until) == (date(2025, 11, 1), until)
    assert calendar.span(date(2025, 3, 9), until) == (date(2025, 3, 1), until)
    assert calendar.span(date(2000, 1, 1), until) == (date(2024, 2, 1), until)


def test_what_takes_long_tells_how_far_it_is(tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []

    def tell(what: str, done: int = 0, total: int | None = None) -> None:
        told.append((what, done, total))

    def ends(beginning: str) -> tuple[int, int | None]:
        """The last that was told of something; it never went back."""
        counted = [(done, total) for what, done, total in told if what.startswith(beginning)]
        assert counted == sorted(counted, key=lambda it: it[0])
        return counted[-1]

    home = make_home(tmp_path / "home")
    run(home, today=JANUARY)
    made = back_up(home, tmp_path / "backups", tell=tell)
    assert ends("copying bronze files") == (made.bronze_copied - 1, made.bronze_copied)
    told.clear()
    restore(home, made.folder, tell=tell)
    assert [what for what, _, _ in told][:2] == ["proving the backup", "copying bronze files"]
    report = publish_now(home, whole=True, tell=tell)
    done, tables = ends("publishing ")
    assert report.created
    assert done == tables
    checks = check_now(home, tell=tell)
    assert ends("checking ") == (len(checks) - 1, len(checks))
    replayed = replay(home, home.catalogue.recipe(PRICES), new_run_id(), to_scratch=True, tell=tell)
    assert ends("replaying ") == (0, replayed.files)
    pack(home, older_than=timedelta(0), tell=tell)
    done, files = next((d, t) for what, d, t in reversed(told) if what.startswith("packing "))
    assert done + 1 == files
