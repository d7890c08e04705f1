"""Starts the dashboard's server: `python -m ops_pipeline.dashboard --port 8501`.

Belongs here: Streamlit's own settings. Does not belong here: the pages (`app`), the settings of a home (`ops_pipeline.settings`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ops_pipeline.dashboard.theme import STREAMLIT_THEME

APP = Path(__file__).with_name("app.py")


def streamlit_options(host: str, port: int) -> dict[str, object]:
    """Streamlit's settings, whatever a user's own Streamlit configuration says: nothing leaves the machine, and nothing is watched."""
    return {
        "server.address": host,
        "server.port": port,
        "server.headless": True,
        "server.fileWatcherType": "none",
        "server.showEmailPrompt": False,
        "server.runOnSave": False,
        "runner.magicEnabled": False,
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "viewer",
        "client.showErrorDetails": "none",
        "global.developmentMode": False,
        **STREAMLIT_THEME,
    }


def main() -> None:
    """Serves the pages until it is stopped."""
    parser = argparse.ArgumentParser(prog="python -m ops_pipeline.dashboard")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8501)
    arguments = parser.parse_args()

    from streamlit.web import bootstrap

    # Streamlit's command line writes a flag's name with underscores where its settings have dots.
    options = {name.replace(".", "_"): value for name, value in streamlit_options(arguments.host, arguments.port).items()}
    bootstrap.load_config_options(options)
    bootstrap.run(str(APP), False, [], options)


if __name__ == "__main__":
    main()
