"""The code location that the test's `dagster dev` loads: the project's definitions over a home whose source can be slowed and broken."""

from __future__ import annotations

import os
from pathlib import Path

from ops_pipeline.definitions import build_defs
from ops_pipeline_tests.defs.homes import FX, UNIVERSE, make_home
from ops_pipeline_tests.defs.targets import HOME, FaultyByFile

home = Path(os.environ[HOME])
defs = build_defs(make_home(home, FaultyByFile(home=home), universe=f"{UNIVERSE}  {FX}:\n"))
