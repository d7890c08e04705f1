"""Sources of a user's own: what a recipe file says about a Python source and about a folder of files.

Belongs here: the two declarations, and where below a home they point. Does not belong here: running the code (`sources.python`) and finding
files (`sources.files`).
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

SOURCES_FOLDER: Final = "sources"

_CALL: Final = re.compile(
    r"(?P<place>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*|(?:[A-Za-z0-9_][\w.-]*/)*[A-Za-z0-9_][\w.-]*\.py):(?P<name>[A-Za-z_]\w*)",
    re.ASCII,
)
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=200)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class PythonSource(_Model):
    """Code that answers requests: `acme.py:fetch` below the home's folder `sources`, or `package.module:fetch`, which is installed."""

    call: str = Field(description="file.py:name or package.module:name")
    secrets: list[VariableName] = Field(default=[], description="environment variables whose values must not be stored or shown")
    timeout_seconds: float = Field(default=300, gt=0, le=86_400, description="for how long one request may take")
    home: Path | None = Field(default=None, exclude=True, description="filled in when the file is read")

    @field_validator("call")
    @classmethod
    def _a_place_and_a_name(cls, value: str) -> str:
        if not _CALL.fullmatch(value):
            raise ValueError("write file.py:name for a file below <home>/sources, or package.module:name for an installed module")
        return value

    @property
    def place(self) -> str:
        """The file or the module."""
        return self.call.rpartition(":")[0]

    @property
    def name(self) -> str:
        """The function or class in it."""
        return self.call.rpartition(":")[2]

    @property
    def file(self) -> Path | None:
        """The file that is run; None where an installed module is named."""
        if not self.place.endswith(".py") or self.home is None:
            return None
        return self.home / SOURCES_FOLDER / self.place


class FilesSource(_Model):
    """A folder of files that exist already; nothing outside of it is read."""

    folder: str = Field(min_length=1, description="absolute, or below the data folder")
    home: Path | None = Field(default=None, exclude=True, description="filled in when the file is read")

    @property
    def path(self) -> Path:
        """The folder, absolute."""
        return ((self.home or Path()) / Path(self.folder).expanduser()).absolute()


def check_template(template: str) -> str:
    """A recipe's `files`: where below its source's folder a dataset's files are.

    Raises:
        ValueError: it would leave the folder, or holds another placeholder than {ticker}.
    """
    parts = PurePosixPath(template).parts
    if not parts or template.startswith("/") or ".." in parts or "\\" in template or "\0" in template:
        raise ValueError("write a path below the source's folder, with / between its parts and without ..")
    if set(re.findall(r"\{[^}]*\}?", template)) - {"{ticker}"} or template.count("{") != template.count("}"):
        raise ValueError("only {ticker} can be filled in; * and ? stand for any characters of a name, ** for any folders")
    if any("**" in part and part != "**" for part in parts) or parts[-1] == "**":
        raise ValueError("** stands for whole folders: write it alone between two /, with a file's name behind it")
    return template
