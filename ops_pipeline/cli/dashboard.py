"""`ops-pipeline dashboard`: the dashboard's server.

Belongs here: checking that it can start, and becoming it. Does not belong here: the dashboard (`ops_pipeline.dashboard`), which this
program never imports: Streamlit takes a second to load and needs pandas, which `light` keeps out.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from importlib.util import find_spec
from typing import Annotated

import typer

from ops_pipeline.cli import output
from ops_pipeline.cli.home import open_home
from ops_pipeline.cli.options import HomeOption
from ops_pipeline.errors import UserError

EXAMPLE = "Example: ops-pipeline dashboard --port 8502"


def dashboard(
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="N", min=1, max=65_535, help="The port to listen on.")] = 8501,
    home: HomeOption = None,
) -> None:
    """Open the dashboard in a browser: runs, coverage, data and quality; it only reads, beside whatever the pipeline does."""
    if find_spec("streamlit") is None:
        raise UserError(
            "The dashboard needs Streamlit, which is not installed: run `make dashboard` in the project's folder, or "
            "install it with `pip install 'ops-pipeline[dashboard]'`."
        )
    context = open_home(home)
    if not _loopback(host):
        output.say(f"whoever reaches {host}:{port} sees everything that is stored: the dashboard asks for no password")
    environment = os.environ | {"OPS_PIPELINE_HOME": str(context.settings.home.absolute())}
    sys.stdout.flush()
    program = [sys.executable, "-m", "ops_pipeline.dashboard", "--host", host, "--port", str(port)]
    os.execve(sys.executable, program, environment)  # noqa: S606 - no shell is wanted: this process becomes the server


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
