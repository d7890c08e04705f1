"""What depends on the terminal: colours, the progress bar, width, encodings, markup in data."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from ops_pipeline_tests.cli.command import HANGS_SECONDS, PROJECT, environment, ok

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
STYLED = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


def on_a_terminal(*arguments: object, columns: int = 100, **env: str) -> str:
    """What a terminal of a given width gets."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "ops_pipeline", *map(str, arguments)],
        cwd=PROJECT.parent,
        env=environment(TERM="xterm-256color", **env),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    pieces = []
    # Linux tells the end of a terminal's output by an error.
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(ours)
    assert process.wait(HANGS_SECONDS) == 0
    return b"".join(pieces).decode()


def test_colours_and_progress_are_for_terminals(tmp_path: Path) -> None:
    about = ("run", "--home", tmp_path / "home", "--ticker", "IBM", "--today", "2000-04-30")
    first = on_a_terminal(*about)
    assert COLOUR.search(first)
    assert "1/1" in first
    plain = on_a_terminal(*about, NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", plain)
    piped = ok(*about)
    assert "\x1b" not in piped.out + piped.err
    assert "1/1" not in piped.err


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(whole_home: Path, columns: int) -> None:
    for command in (("show", "last"), ("runs",), ("coverage",), ("sql", "FROM ops.file_ingestions LIMIT 2")):
        screen = STYLED.sub("", on_a_terminal(*command, "--home", whole_home, columns=columns))
        assert max(map(len, screen.splitlines())) <= columns
        assert "AAPL" in screen or command[0] in ("runs", "sql")
    assert "bronze_outcome" in screen


def test_an_encoding_without_the_characters_ends_no_command(tmp_path: Path) -> None:
    home = tmp_path / "home"
    ascii_only = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    ok("universe", "add", "Ärger", "--home", home, env=ascii_only)
    answer = ok("run", "--home", home, "--ticker", "Ärger", "--today", "2000-04-30", env=ascii_only)
    assert "\\xc4rger" in answer.out
    assert ok("universe", "list", "--home", home, "--json", env=ascii_only).document["datasets"][0]["tickers"][-1] == "Ärger"


def test_help_is_fast_because_nothing_heavy_is_loaded() -> None:
    script = (
        "import sys; sys.argv = ['ops-pipeline', *sys.argv[1:]]\n"
        "from ops_pipeline.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'duckdb', 'dagster', 'pyarrow', 'pydantic_settings', 'yaml', 'numpy', 'pandas', 'ops_pipeline.engine.run'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    for arguments in (["--help"], ["run", "--help"], ["--version"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], env=environment(), capture_output=True, text=True, check=False
        )
        assert done.stderr == "[]\n"
        assert done.stdout
