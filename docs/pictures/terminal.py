"""Draws docs/pictures/run.svg: what a terminal shows of `make run`, from a real run in a fresh home.

Run it with the project's environment: `.venv/bin/python docs/pictures/terminal.py`.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import tempfile
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

WIDTH = 104
PICTURE = Path(__file__).parent / "run.svg"
BIN = Path(sys.executable).parent


def shown(folder: str) -> str:
    """What the run prints on a terminal of WIDTH columns, colours included."""
    ours, theirs = pty.openpty()
    environment = os.environ | {
        "COLUMNS": str(WIDTH),
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "OPS_PIPELINE_HOME": "data",
        # The command is then called by its name alone, and not by where this folder happens to lie.
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }
    process = subprocess.Popen(
        [BIN / "ops-pipeline", "run"],
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        env=environment,
        cwd=folder,
    )
    os.close(theirs)
    parts = []
    while True:
        try:
            part = os.read(ours, 65_536)
        except OSError:  # the other side was closed
            break
        if not part:
            break
        parts.append(part)
    if process.wait() != 0:
        raise SystemExit("the run failed; there is nothing to draw")
    return b"".join(parts).decode()


def main() -> None:
    """Writes the picture."""
    with tempfile.TemporaryDirectory() as folder:
        text = re.sub(r"\x1b\[\?25[lh]", "", shown(folder)).replace("\r\n", "\n").rstrip()
    console = Console(record=True, width=WIDTH, file=StringIO(), force_terminal=True)
    console.print(Text.assemble(("$ ", "bold green"), "make run"))
    console.print(Text.from_ansi(text))
    console.print(Text("$", "bold green"))
    # Without the remote font that rich links to: a picture must not fetch anything.
    svg = console.export_svg(title="ops_pipeline", theme=MONOKAI, unique_id="run")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL).replace(
        "font-family: Fira Code, monospace", "font-family: monospace"
    )
    PICTURE.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
