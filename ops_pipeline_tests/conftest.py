"""What every test shares: Hypothesis without deadlines, and no settings that leak in from the machine."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# A shared core can pause for longer than Hypothesis's 200 ms; in CI the examples are the same every time.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("default"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("OPS_PIPELINE_") or n == "DAGSTER_HOME"]:
        monkeypatch.delenv(name)
