"""What every test shares: Hypothesis without deadlines, no settings that leak in from the machine, and no silent skips in CI."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# A shared core can pause for longer than Hypothesis's 200 ms; in CI the examples are the same every time, and a quarter as many: it has two
# cores, and what the others find is found where people work.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("default"), derandomize=True, max_examples=25)
settings.load_profile("ci" if os.environ.get("CI") else "default")


# Besides our settings: the test runner tells its workers the width of its own terminal.
_OF_THE_MACHINE = ("DAGSTER_HOME", "COLUMNS", "LINES")


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("OPS_PIPELINE_") or n in _OF_THE_MACHINE]:
        monkeypatch.delenv(name)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The test that takes minutes comes first: as the last one it would keep one process busy while the others have nothing to do."""
    items.sort(key=lambda item: "defs/test_server.py" not in item.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Under CI a skipped test is a failure: a tool that is missing there must be installed, not done without."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not os.environ.get("CI") or reporter is None:
        return
    skipped = reporter.stats.get("skipped", [])
    if skipped:
        for report in skipped:
            reporter.write_line(f"SKIPPED UNDER CI: {report.nodeid}: {report.longrepr}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
