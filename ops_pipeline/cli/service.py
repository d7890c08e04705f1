"""Services that run Dagster every day: `ops-pipeline service install`, `status`, `show` and `uninstall`.

Belongs here: what these commands take and say. Does not belong here: unit files and the programs that look after them
(`maintenance.service`).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops_pipeline.cli import output
from ops_pipeline.cli.options import HomeOption, JsonOption
from ops_pipeline.errors import UserError

if TYPE_CHECKING:
    from ops_pipeline.maintenance.service import Installation, Manager, Service

app = typer.Typer(
    no_args_is_help=True,
    help="Dagster's web server and daemon as services of your session: systemd, launchd.",
    epilog="Example: ops-pipeline service install",
)

ProjectOption = Annotated[
    Path | None,
    typer.Option(
        "--project",
        metavar="DIR",
        help="Folder with workspace.yaml; default: the present one, else this clone.",
        show_default=False,
    ),
]
ManagerOption = Annotated[
    str | None,
    typer.Option("--manager", metavar="NAME", help="systemd or launchd; default: the one of this machine.", show_default=False),
]
HostOption = Annotated[str, typer.Option("--host", help="Address that the web server listens on.")]
PortOption = Annotated[int, typer.Option("--port", min=1, max=65_535, help="Port that the web server listens on.")]


@app.command("install", epilog="Example: ops-pipeline service install --port 3000")
def install(
    project: ProjectOption = None,
    host: HostOption = "127.0.0.1",
    port: PortOption = 3000,
    manager: ManagerOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the two unit files and start the services, now and with every session."""
    from ops_pipeline.maintenance import service as services

    installation = _installation(project, home, host, port)
    chosen = _manager(manager)
    made = services.services(installation, chosen)
    services.install(made, chosen)
    _tell(made, chosen, as_json=as_json)
    if not as_json:
        output.say(f"keys and other settings for the services: lines NAME=value in {installation.environment_file} (chmod 600)")
        if chosen == "systemd":
            output.say("to have them run while you are not logged in: loginctl enable-linger")


@app.command("status", epilog="Example: ops-pipeline service status")
def status(manager: ManagerOption = None, as_json: JsonOption = False) -> None:
    """Tell whether the services are installed and running."""
    from ops_pipeline.maintenance import service as services

    chosen = _manager(manager)
    _tell(services.services(_anywhere(), chosen), chosen, as_json=as_json)


@app.command("show", epilog="Example: ops-pipeline service show --manager systemd")
def show(
    project: ProjectOption = None,
    host: HostOption = "127.0.0.1",
    port: PortOption = 3000,
    manager: ManagerOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the unit files, and write nothing."""
    from ops_pipeline.maintenance import service as services

    made = services.services(_installation(project, home, host, port), _manager(manager))
    if as_json:
        output.print_json([{"service": one.name, "file": str(one.path), "text": one.text.decode()} for one in made])
        return
    for one in made:
        sys.stdout.write(f"# {one.path}\n{one.text.decode()}\n")


@app.command("uninstall", epilog="Example: ops-pipeline service uninstall")
def uninstall(manager: ManagerOption = None, as_json: JsonOption = False) -> None:
    """Stop the services and remove their unit files; data and settings stay."""
    from ops_pipeline.maintenance import service as services

    chosen = _manager(manager)
    removed = services.uninstall(services.services(_anywhere(), chosen), chosen)
    if as_json:
        output.print_json({"removed": [str(path) for path in removed]})
    else:
        output.show("\n".join(f"removed {path}" for path in removed) or "nothing was installed")


def _installation(project: Path | None, home: Path | None, host: str, port: int) -> Installation:
    from ops_pipeline.maintenance.service import Installation, find_project
    from ops_pipeline.settings import load_settings

    found = find_project(project)
    settings = load_settings(home=home)
    # A relative data folder means one below the project, as `make run` and `make dev` have it.
    data = settings.home if settings.home.is_absolute() or home else found / settings.home
    return Installation(found, data.absolute(), host, port, Path(sys.executable), Path.home())


def _anywhere() -> Installation:
    """Where the unit files are does not depend on what they run."""
    from ops_pipeline.maintenance.service import Installation

    return Installation(Path.cwd(), Path.cwd(), "", 0, Path(sys.executable), Path.home())


def _manager(name: str | None) -> Manager:
    from ops_pipeline.maintenance.service import find_manager

    match name:
        case None:
            return find_manager()
        case "systemd" | "launchd":
            return name
    raise UserError(f"--manager is {name!r}: write systemd or launchd.")


def _tell(made: list[Service], manager: Manager, *, as_json: bool) -> None:
    from ops_pipeline.maintenance.service import state

    found = [(one.name, str(one.path), state(one, manager)) for one in made]
    if as_json:
        output.print_json([{"service": name, "file": path, "state": now} for name, path, now in found])
    else:
        output.show(output.listing(output.texts("service", "file", "state"), found))
