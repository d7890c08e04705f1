"""The code location of the daemon's tests: the project's definitions over a home with two sources."""

from __future__ import annotations

import os
from pathlib import Path

from ops_pipeline.definitions import build_defs
from ops_pipeline_tests.defs.homes import two_sources
from ops_pipeline_tests.defs.targets import HOME

defs = build_defs(two_sources(Path(os.environ[HOME])))
