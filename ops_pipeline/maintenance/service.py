"""Dagster's web server and daemon as services of the user's session: systemd on Linux, launchd on macOS.

Belongs here: the unit files, where they go, and the commands that start and stop them. Does not belong here: what the services do.

Nothing needs root. Keys do not stand in the units: they are read from an environment file of the user's, which this module never reads.
"""

from __future__ import annotations

import os
import plistlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from ops_pipeline.errors import UserError
from ops_pipeline.files import write_atomically

Manager = Literal["systemd", "launchd"]
NAMES: Final = ("webserver", "daemon")
_LABEL: Final = "ops-pipeline"
_ENVIRONMENT: Final = ".config/ops-pipeline/environment"


@dataclass(frozen=True, slots=True)
class Service:
    """One of the two services.

    Attributes:
        name: `webserver` or `daemon`.
        path: of its unit file.
        text: of its unit file.
    """

    name: str
    path: Path
    text: bytes


@dataclass(frozen=True, slots=True)
class Installation:
    """What the services run.

    Attributes:
        project: the folder with workspace.yaml and dagster.yaml.
        home: the data folder.
        host: that the web server listens on.
        port: that the web server listens on.
        python: the interpreter that has ops_pipeline.
        user_home: of the user, below which unit files stand.
    """

    project: Path
    home: Path
    host: str
    port: int
    python: Path
    user_home: Path

    @property
    def environment_file(self) -> Path:
        """Lines NAME=value for the services, such as vendors' keys; the user's to write, and to keep private."""
        return self.user_home / _ENVIRONMENT

    @property
    def variables(self) -> dict[str, str]:
        """What both services are told; no secret among it."""
        return {"DAGSTER_HOME": str(self.project), "OPS_PIPELINE_HOME": str(self.home)}

    def command(self, name: str) -> list[str]:
        """The program of a service."""
        if name == "webserver":
            own = ["dagster_webserver", "-w", "workspace.yaml", "-h", self.host, "-p", str(self.port)]
        else:
            own = ["dagster._daemon", "run", "-w", "workspace.yaml"]
        return [str(self.python), "-m", *own]


def find_project(given: Path | None) -> Path:
    """The folder with workspace.yaml: the given one, the present one, or the clone that this program runs from.

    Raises:
        UserError: when none of them has it.
    """
    candidates = [given] if given else [Path.cwd(), Path(__file__).parents[2]]
    for folder in candidates:
        if (folder / "workspace.yaml").is_file() and (folder / "dagster.yaml").is_file():
            return folder.absolute()
    raise UserError(
        f"{candidates[0]} has no workspace.yaml and dagster.yaml: name the project's folder with --project DIR (a clone, or a copy of"
        " these two files)."
    )


def find_manager() -> Manager:
    """What looks after services here.

    Raises:
        UserError: when there is neither.
    """
    if sys.platform == "darwin":
        return "launchd"
    if shutil.which("systemctl"):
        return "systemd"
    raise UserError(
        "Neither systemd nor launchd is here: start `dagster-webserver` and `dagster-daemon run` in the project's folder with what looks"
        " after services on this machine; `ops-pipeline service show --manager systemd` prints what they need."
    )


def services(installation: Installation, manager: Manager) -> list[Service]:
    """The two services as the manager wants them written."""
    if manager == "systemd":
        folder = installation.user_home / ".config" / "systemd" / "user"
        return [Service(n, folder / f"{_LABEL}-{n}.service", _unit(installation, n).encode()) for n in NAMES]
    folder = installation.user_home / "Library" / "LaunchAgents"
    return [Service(n, folder / f"{_LABEL}.{n}.plist", _plist(installation, n)) for n in NAMES]


def install(made: list[Service], manager: Manager) -> None:
    """Writes the unit files and starts the services, now and with every session.

    Raises:
        UserError: when a file cannot be written or the manager refuses.
    """
    for service in made:
        try:
            write_atomically(service.path, service.text)
        except OSError as e:
            raise UserError(f"{service.path} cannot be written ({e.strerror}): make its folder writable.") from e
    if manager == "systemd":
        _call("systemctl", "--user", "daemon-reload")
        _call("systemctl", "--user", "enable", "--now", *(s.path.name for s in made))
        _call("systemctl", "--user", "restart", *(s.path.name for s in made))
        return
    for service in made:
        _call("launchctl", "bootout", f"gui/{os.getuid()}", str(service.path), may_fail=True)
        _call("launchctl", "bootstrap", f"gui/{os.getuid()}", str(service.path))


def uninstall(made: list[Service], manager: Manager) -> list[Path]:
    """Stops the services and removes their unit files; gives those that were there.

    Raises:
        UserError: when the manager refuses, or a file cannot be removed.
    """
    there = [s for s in made if s.path.exists()]
    for service in there:
        if manager == "systemd":
            _call("systemctl", "--user", "disable", "--now", service.path.name)
        else:
            _call("launchctl", "bootout", f"gui/{os.getuid()}", str(service.path), may_fail=True)
        try:
            service.path.unlink()
        except OSError as e:
            raise UserError(f"{service.path} cannot be removed ({e.strerror}): remove it by hand.") from e
    if there and manager == "systemd":
        _call("systemctl", "--user", "daemon-reload")
    return [s.path for s in there]


def state(service: Service, manager: Manager) -> str:
    """`not installed`, or what the manager says, such as `active`, `failed` or `inactive`."""
    if not service.path.exists():
        return "not installed"
    if manager == "systemd":
        return _call("systemctl", "--user", "is-active", service.path.name, may_fail=True) or "unknown"
    said = _call("launchctl", "print", f"gui/{os.getuid()}/{service.path.stem}", may_fail=True)
    found = [line.partition("=")[2].strip() for line in said.splitlines() if line.strip().startswith("state =")]
    return found[0] if found else "inactive"


def _call(*command: str, may_fail: bool = False) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603 - fixed programs, no shell
    except OSError as e:
        raise UserError(f"{command[0]} cannot be started ({e.strerror}).") from e
    if done.returncode and not may_fail:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise UserError(f"`{' '.join(command)}` failed: {said[-1] if said else f'status {done.returncode}'}")
    return done.stdout.strip()


def _unit(installation: Installation, name: str) -> str:
    lines = [
        "[Unit]",
        f"Description=ops_pipeline: Dagster's {name}",
        "After=network-online.target",
        "",
        "[Service]",
        f"WorkingDirectory={_specifier(str(installation.project))}",
        *(f"Environment={_quoted(f'{variable}={value}')}" for variable, value in installation.variables.items()),
        f"EnvironmentFile=-{_specifier(str(installation.environment_file))}",
        # Only here a dollar sign begins a variable.
        f"ExecStart={' '.join(_quoted(part).replace('$', '$$') for part in installation.command(name))}",
        "Restart=on-failure",
        "RestartSec=15",
        # A run that is stopped first finishes its write.
        "TimeoutStopSec=120",
        "KillSignal=SIGINT",
        "UMask=0077",
        "",
        "[Install]",
        "WantedBy=default.target",
        "",
    ]
    return "\n".join(lines)


def _specifier(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    """One word of a unit file, whatever it holds (systemd.syntax(7), systemd.service(5))."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _plist(installation: Installation, name: str) -> bytes:
    # launchd reads no environment file: a shell does, and becomes the program.
    script = 'if [ -r "$0" ]; then set -a; . "$0"; set +a; fi; exec "$@"'
    logs = installation.home / "logs"
    return plistlib.dumps(
        {
            "Label": f"{_LABEL}.{name}",
            "ProgramArguments": ["/bin/sh", "-c", script, str(installation.environment_file), *installation.command(name)],
            "WorkingDirectory": str(installation.project),
            "EnvironmentVariables": installation.variables,
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": 15,
            "ExitTimeOut": 120,
            "Umask": 0o077,
            "StandardOutPath": str(logs / f"{name}.log"),
            "StandardErrorPath": str(logs / f"{name}.log"),
        }
    )
