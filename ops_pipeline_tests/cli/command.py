"""The command as users have it: a process of its own, with an environment of its own.

Belongs here: starting it, and looking at what it left. Does not belong here: expectations.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops_pipeline.warehouse import Warehouse
from ops_pipeline_tests.cli.forked import Forked

PROJECT = Path(__file__).parents[2]
# Not a limit on speed: it ends a test that would otherwise hang.
HANGS_SECONDS = 300

LINEAGE = {"bronze_file_id", "run_id", "known_at", "ingested_at", "built_at", "merged_at"}
TABLES = (
    "silver.sample_eod_prices",
    "silver.sample_fx_rates",
    "gold.dim_instrument",
    "gold.dim_date",
    "gold.fact_eod",
    "gold.fact_fx",
)

# What would change the command's output or its settings.
_NOT_PASSED_ON = (
    "OPS_PIPELINE_",
    "PYTHONPATH",
    "COLUMNS",
    "NO_COLOR",
    "FORCE_COLOR",
    "PY_COLORS",
    "GITHUB_ACTIONS",
    "TERM",
    "CI",
    "COV_",
)


# What the interpreter and libraries of the terminal and of HTTP look at when they are loaded.
_READ_WHEN_LOADED = ("PYTHON", "LC_", "LANG", "COLUMNS", "LINES", "TERM", "NO_COLOR", "FORCE_COLOR", "PY_COLORS", "SSL_", "_")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the command said and how it ended."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output as the one JSON document that it must be."""
        return json.loads(self.out)


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_PASSED_ON)}
    return {**kept, "PYTHONPATH": str(PROJECT), **more}


def ops(*arguments: object, cwd: Path | None = None, env: Mapping[str, str] | None = None, fresh: bool = False) -> Answer:
    """Runs `python -m ops_pipeline ...` to its end, in a process of its own.

    Args:
        arguments: as on the command line.
        cwd: its folder; None: one that is not the project's.
        env: what its environment has besides `environment`.
        fresh: whether it has an interpreter of its own too; otherwise the process is forked from one that has loaded the command.
    """
    words, folder, given = [*map(str, arguments)], cwd or PROJECT.parent, environment(**(env or {}))
    if not fresh and not any(name.startswith(_READ_WHEN_LOADED) for name in env or {}):
        return Answer(*_forked().call(words, cwd=folder, env=given, seconds=HANGS_SECONDS))
    done = subprocess.run(
        [sys.executable, "-m", "ops_pipeline", *words],
        cwd=folder,
        env=given,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HANGS_SECONDS,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


@functools.cache
def _forked() -> Forked:
    return Forked(environment())


def ok(*arguments: object, **about: Any) -> Answer:
    """The same for a command that must succeed."""
    answer = ops(*arguments, **about)
    assert answer.status == 0, answer
    return answer


def refused(*arguments: object, **about: Any) -> str:
    """The one sentence of a command that must be refused."""
    answer = ops(*arguments, **about)
    assert answer.status == 2, answer
    assert answer.out == ""
    # A command that waited for another process on a slow machine says so first.
    said = [line for line in answer.err.splitlines() if not line.startswith("Waiting for the database ")]
    assert len(said) == 1, answer.err
    assert said[0].startswith("error: "), answer.err
    return said[0].removeprefix("error: ")


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder with the hash of its content, and every folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
        if path.suffix != ".turnstile"  # it counts who asked for the database, readers too
    }


def rows(home: Path, query: str) -> list[dict[str, Any]]:
    """A query on the home's database."""
    with Warehouse(home / "ops.duckdb").reading() as connection:
        found: list[dict[str, Any]] = connection.execute(query).to_arrow_table().to_pylist()
        return found


def contents(home: Path, *, without: Iterable[str] = LINEAGE) -> dict[str, list[tuple[Any, ...]]]:
    """The silver and gold tables as they are, row by row, without the given columns."""
    left_out = set(without)
    found: dict[str, list[tuple[Any, ...]]] = {}
    with Warehouse(home / "ops.duckdb").reading() as connection:
        for table in TABLES:
            description = connection.execute(f"SELECT * FROM {table} LIMIT 0").description
            columns = [str(column[0]) for column in description if column[0] not in left_out]
            # As text where a time has a zone: DuckDB needs another package to make a Python object of it.
            selected = ", ".join(f"{c}::VARCHAR" if c.endswith("_at") else c for c in columns)
            found[table] = connection.execute(f"SELECT {selected} FROM {table} ORDER BY ALL").fetchall()
    return found


def assert_no_lock_is_held(home: Path) -> None:
    """Every lock file of the home can be had at once."""
    files = [path for path in home.rglob("*") if path.suffix in (".lock", ".turnstile", ".lease")]
    assert files
    for path in files:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
