from __future__ import annotations

import os
import plistlib
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ops_pipeline.errors import UserError
from ops_pipeline.maintenance.service import Installation, find_project, install, services, state, uninstall
from ops_pipeline_tests.cli.command import PROJECT, ok, refused

HARD = 'a b "c" $HOME %h \\d'


def installation(tmp_path: Path, folder: str = "project") -> Installation:
    (tmp_path / folder).mkdir(exist_ok=True)
    return Installation(tmp_path / folder, tmp_path / folder / "data", "127.0.0.1", 3000, Path(sys.executable), tmp_path / "user")


def test_systemd_takes_the_units_whatever_the_folder_is_called(tmp_path: Path) -> None:
    made = services(installation(tmp_path, HARD), "systemd")
    assert [s.path.name for s in made] == ["ops-pipeline-webserver.service", "ops-pipeline-daemon.service"]
    for service in made:
        text = service.text.decode()
        assert f'Environment="DAGSTER_HOME={tmp_path}/a b \\"c\\" $HOME %%h \\\\d"' in text
        assert "KEY" not in text
    analyzer = shutil.which("systemd-analyze")
    if analyzer is None:
        assert sys.platform != "linux" or os.environ.get("CI"), "systemd-analyze is part of systemd"
        return
    for service in made:
        service.path.parent.mkdir(parents=True, exist_ok=True)
        service.path.write_bytes(service.text)
        done = subprocess.run([analyzer, "verify", str(service.path)], capture_output=True, text=True, check=False)
        complaints = [line for line in done.stderr.splitlines() if service.path.name in line]
        assert complaints == []


def test_launchd_gets_property_lists_that_read_the_environment_file(tmp_path: Path) -> None:
    given = installation(tmp_path)
    web, daemon = (plistlib.loads(s.text) for s in services(given, "launchd"))
    assert (web["Label"], daemon["Label"]) == ("ops-pipeline.webserver", "ops-pipeline.daemon")
    assert web["WorkingDirectory"] == str(given.project)
    # What launchd would run, run: the shell reads the file and becomes the program.
    given.environment_file.parent.mkdir(parents=True)
    given.environment_file.write_text("VENDOR_KEY='of the vendor'\n")
    shell = [*web["ProgramArguments"][:4], sys.executable, "-c", "import os; print(os.environ['VENDOR_KEY'])"]
    assert subprocess.run(shell, capture_output=True, text=True, check=True).stdout == "of the vendor\n"
    given.environment_file.unlink()
    shell[-1] = "print('without one')"
    assert subprocess.run(shell, capture_output=True, text=True, check=True).stdout == "without one\n"


@pytest.mark.parametrize("number", [0, 1])
def test_what_the_units_start_is_there(tmp_path: Path, number: int) -> None:
    (line,) = (x for x in services(installation(tmp_path), "systemd")[number].text.decode().splitlines() if "ExecStart=" in x)
    command = shlex.split(line.removeprefix("ExecStart="))
    done = subprocess.run([*command[:3], "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--workspace" in done.stdout or "run" in done.stdout


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manager that notes how it is called, in place of the machine's own."""
    folder, log = tmp_path / "bin", tmp_path / "calls"
    folder.mkdir()
    program = folder / "systemctl"
    program.write_text(f'#!/bin/sh\necho "$@" >> "{log}"\ncase "$2" in is-active) echo active;; esac\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return log


def test_installed_started_looked_at_and_removed(tmp_path: Path, calls: Path) -> None:
    made = services(installation(tmp_path), "systemd")
    assert [state(s, "systemd") for s in made] == ["not installed"] * 2
    install(made, "systemd")
    assert all(s.path.read_bytes() == s.text for s in made)
    assert "--user enable --now ops-pipeline-webserver.service ops-pipeline-daemon.service" in calls.read_text().splitlines()
    assert [state(s, "systemd") for s in made] == ["active"] * 2
    assert uninstall(made, "systemd") == [s.path for s in made]
    assert not any(s.path.exists() for s in made)
    assert uninstall(made, "systemd") == []


def test_a_manager_that_refuses_is_quoted(tmp_path: Path, calls: Path) -> None:
    (tmp_path / "bin" / "systemctl").write_text("#!/bin/sh\necho 'Failed to connect to bus' >&2\nexit 1\n")
    with pytest.raises(UserError, match="Failed to connect to bus"):
        install(services(installation(tmp_path), "systemd"), "systemd")


def test_the_project_is_a_folder_with_dagsters_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_project(None) == PROJECT
    with pytest.raises(UserError, match="--project"):
        find_project(tmp_path)


def test_the_command_prints_units_and_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    out = ok("service", "show", "--manager", "systemd", "--home", tmp_path).out
    assert out.count("ExecStart=") == 2
    assert f"OPS_PIPELINE_HOME={tmp_path}" in out
    assert "cron" in refused("service", "show", "--manager", "cron")
