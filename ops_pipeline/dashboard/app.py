"""The script that Streamlit runs for every view: which pages there are, and what stands where one cannot be shown.

Belongs here: navigation, and turning errors that a user can cause into sentences. Does not belong here: the pages.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING

import streamlit as st

from ops_pipeline.dashboard import markup as m
from ops_pipeline.dashboard.repository import Repository
from ops_pipeline.dashboard.theme import STYLE
from ops_pipeline.dashboard.views import configuration, coverage, data, file, overview, partition, quality, run, runs
from ops_pipeline.errors import DatabaseBusyError, DatabaseMissingError, UserError
from ops_pipeline.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("ops_pipeline.dashboard")

# Address -> title, page, and whether the menu lists it: the others are reached by links.
PAGES: dict[str, tuple[str, Callable[[Repository], None], bool]] = {
    "overview": ("Overview", overview.show, True),
    "runs": ("Runs", runs.show, True),
    "coverage": ("Coverage", coverage.show, True),
    "data": ("Data", data.show, True),
    "quality": ("Quality", quality.show, True),
    "settings": ("Settings", configuration.show, True),
    "run": ("Run", run.show, False),
    "file": ("File", file.show, False),
    "partition": ("Partition", partition.show, False),
}


@functools.cache
def repository() -> Repository:
    """The home's repository, one for all views of this process."""
    return Repository(load_settings())


def _guarded(show: Callable[[Repository], None]) -> None:
    try:
        show(repository())
    except DatabaseMissingError:
        st.html(m.empty("There is no database yet.", "It is made by the first run:", "ops-pipeline run"))
    except DatabaseBusyError as error:
        st.html(m.empty("The database is held by another program.", f"{error} This page tries again when you reload it."))
    except UserError as error:
        st.html(m.empty("The page cannot be shown.", str(error)))


def main() -> None:
    """Draws the page that the address names."""
    st.set_page_config(page_title="ops_pipeline", layout="wide", initial_sidebar_state="collapsed")
    st.html(STYLE)
    pages = [
        st.Page(
            functools.partial(_guarded, show),
            title=title,
            url_path=address,
            default=address == "overview",
            visibility="visible" if listed else "hidden",
        )
        for address, (title, show, listed) in PAGES.items()
    ]
    st.navigation(pages, position="top").run()


main()
