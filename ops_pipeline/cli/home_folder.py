"""`ops-pipeline init`: a clean home with commented examples.

Belongs here: the files of a new home. Does not belong here: the database and the bronze folder, which the first run makes.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops_pipeline.cli import output
from ops_pipeline.cli.options import JsonOption
from ops_pipeline.errors import UserError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

EXAMPLE = "Example: ops-pipeline init ~/market-data"

_TEMPLATES = Path(__file__).parent / "templates"

_README = """\
This folder is a home of ops_pipeline: everything that it stores and everything that you tell it.

  universe.yaml    which tickers are wanted of which dataset
  recipes/         your own datasets; example.yaml explains every field
  ops.duckdb       the database, made by the first run: the ledger (ops), typed rows (silver), analytics (gold)
  bronze/          the vendors' answers as they came, compressed

Use it:

  ops-pipeline run --home {home}
  ops-pipeline runs --home {home}
  ops-pipeline sql --home {home} "SELECT * FROM gold.fact_eod LIMIT 10"

Instead of --home everywhere:

  export OPS_PIPELINE_HOME={home}

Settings are environment variables. Each line shows the default; a path that is not absolute is read from the folder that the command is
typed in.

{settings}
"""


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make; it may exist.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Make a clean home with commented examples; files that hold something are never overwritten."""
    from ops_pipeline.files import write_atomically

    home = folder.expanduser().absolute()
    files = {home / name: text for name, text in _files(home).items()}
    try:
        taken = [path for path in files if path.exists() and (not path.is_file() or path.stat().st_size)]
        if taken:
            raise UserError(
                f"{taken[0]} exists and is not empty; choose another folder, or move the file away. Nothing was written."
            )
        for path, text in files.items():
            write_atomically(path, text.encode())
    except OSError as e:
        raise UserError(f"{home}: the home cannot be made ({e.strerror or e}). Choose a folder that you may write.") from e
    if as_json:
        output.print_json({"home": str(home), "files": [str(path) for path in files]})
        return
    for path in files:
        output.show(f"made {path}")
    output.say(f"try: {output.command('run', folder)}")


def _files(home: Path) -> dict[str, str]:
    from ops_pipeline.recipes.universe import PACKAGED

    return {
        "universe.yaml": (_TEMPLATES / "universe_header.yaml").read_text("utf-8") + PACKAGED.read_text("utf-8"),
        "recipes/example.yaml": (_TEMPLATES / "example.yaml").read_text("utf-8"),
        "README.txt": _README.format(home=shlex.quote(str(home)), settings=settings_text()),
    }


def settings_text() -> str:
    """Every setting as a line of a shell's environment, with its default and its meaning."""
    from ops_pipeline.settings import PREFIX, Settings

    return "\n\n".join(
        f"  # {field.description}\n{_line(PREFIX + name.upper(), field)}" for name, field in Settings.model_fields.items()
    )


def _line(variable: str, field: FieldInfo) -> str:
    value = field.default
    if value is None:
        return f"  #{variable}="
    return f"  {variable}={str(value).lower() if isinstance(value, bool) else shlex.quote(str(value))}"
