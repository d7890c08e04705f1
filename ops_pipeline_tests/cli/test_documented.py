"""Every command and every option stands in the documentation, and has help with an example."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from ops_pipeline import __version__
from ops_pipeline.cli.app import PANELS, app
from ops_pipeline_tests.cli.command import PROJECT, ok

PAGE = PROJECT / "docs" / "commands.md"


def _commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*path, name))
        yield (*path, name), command


COMMANDS = list(_commands(typer.main.get_command(app)))
BY_NAME = pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[" ".join(path) for path, _ in COMMANDS])


def _documentation() -> str:
    pages = [PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md")]
    return "\n".join(page.read_text(encoding="utf-8") for page in pages if page.is_file())


def _section(name: str) -> str:
    found = re.search(rf"^## {name}$(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert found, f"docs/commands.md has no section {name}"
    return found[1]


def _long_options(command: Any) -> list[str]:
    return [option for parameter in command.params for option in parameter.opts if option.startswith("--") and option != "--help"]


def test_there_are_commands() -> None:
    assert {" ".join(path) for path, _ in COMMANDS} == {
        "run", "retry", "replay", "due", "runs", "show", "coverage", "gaps", "asof", "explain", "restatements", "dropped",
        "dashboard", "sql",
        "checks", "publish", "morning", "doctor", "migrate", "init",
        "service", "service install", "service status", "service show", "service uninstall",
        "reconcile", "backup", "restore", "compact", "pack", "purge", "disk",
        "universe", "universe list", "universe add", "universe remove",
        "universe rename", "universe delist", "universe groups", "universe import",
        "datasets", "datasets list", "datasets show", "datasets try",
        "rejects", "rejects list", "rejects show", "rejects retry",
        "dropped hide", "dropped restore", "dropped hidden",
    }  # fmt: skip


@BY_NAME
def test_a_command_is_documented(path: tuple[str, ...], command: Any) -> None:
    name = " ".join(("ops-pipeline", *path))
    assert name in _documentation(), f"neither README.md nor docs/ names `{name}`"
    section = _section(path[0])
    for option in _long_options(command):
        assert option in section, f"docs/commands.md does not explain {option} of `{name}`"


@BY_NAME
def test_the_page_names_no_option_that_does_not_exist(path: tuple[str, ...], command: Any) -> None:
    known = {option for other, it in COMMANDS if other[0] == path[0] for option in _long_options(it)}
    assert set(re.findall(r"`?(--[a-z][a-z-]+)", _section(path[0]))) <= known


@BY_NAME
def test_a_command_has_help_with_an_example(path: tuple[str, ...], command: Any) -> None:
    assert command.help
    assert command.epilog is not None
    assert command.epilog.startswith(f"Example: ops-pipeline {path[0]} ")
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{' '.join(path)}: {parameter.name} has no help"


@BY_NAME
def test_the_home_can_be_given_and_json_can_be_had(path: tuple[str, ...], command: Any) -> None:
    if path in (("universe",), ("service",)):
        return
    options = _long_options(command)
    assert "--json" in options or path == ("dashboard",)
    # Services belong to a user's session, not to a home.
    assert "--home" in options or path in (("init",), ("service", "status"), ("service", "uninstall"))


@pytest.mark.parametrize("name", [path[0] for path, _ in COMMANDS if len(path) == 1])
def test_a_command_has_its_place_among_the_others(name: str) -> None:
    assert typer.main.get_command(app).commands[name].rich_help_panel in PANELS  # type: ignore[attr-defined]


def completed(folder: Path, line: str) -> list[str]:
    """What the shell calls at a press of Tab, as `--show-completion` prints it."""
    env = {"_OPS_PIPELINE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    return ok(cwd=folder, env=env).out.split()


def test_tab_completes_commands_and_options(tmp_path: Path) -> None:
    assert completed(tmp_path, "ops-pipeline ru") == ["run", "runs"]
    assert completed(tmp_path, "ops-pipeline runs --s") == ["--since"]


def test_tab_completes_datasets_tickers_and_runs(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "universe.yaml").write_text(
        "groups: {tech: [AAPL, NVDA]}\ndatasets: {sample.eod-prices: [AAPL, IBM, {group: tech}], sample.fx-rates: }\n"
    )
    assert completed(tmp_path, f"ops-pipeline run --home {home} --dataset sa") == ["sample.eod-prices", "sample.fx-rates"]
    assert completed(tmp_path, "ops-pipeline run --dataset fred.o") == ["fred.observations", "fred.observations.vintages"], (
        "not wanted"
    )
    assert "coinbase.candles" in completed(tmp_path, "ops-pipeline universe add BTC-USD --dataset ")
    assert completed(tmp_path, f"ops-pipeline coverage --home {home} --ticker ") == ["AAPL", "IBM", "NVDA"]
    assert completed(tmp_path, f"ops-pipeline show --home {home} ") == ["last"], "there is no database yet"


def test_version_and_help(tmp_path: Path) -> None:
    assert ok("--version", cwd=tmp_path).out == f"ops-pipeline {__version__}\n"
    shown = ok("--help", cwd=tmp_path).out
    assert all(path[0] in shown for path, _ in COMMANDS)
    for option in ("--install-completion", "--show-completion", "--version"):
        assert option in PAGE.read_text(encoding="utf-8")
