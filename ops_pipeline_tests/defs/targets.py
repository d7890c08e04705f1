"""A job that Dagster can rebuild by its name, as it does for a run worker or a re-execution; its faults stand in a file of the home."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from ops_pipeline.definitions import build_defs
from ops_pipeline.sources import Answer, Request
from ops_pipeline_tests.defs.homes import Faulty, make_home

HOME = "TEST_LAKE_HOME"
FAILING = "failing.txt"
ASKED = "asked.txt"
SLOW = "slow.txt"


@dataclass
class FaultyByFile(Faulty):
    """Fails for the tickers listed in a file of the home, answers slowly for those in another, and writes down what it was asked."""

    home: Path = Path()

    def _listed(self, name: str) -> list[str]:
        path = self.home / name
        return path.read_text().split() if path.exists() else []

    async def fetch(self, request: Request) -> AsyncIterator[Answer]:
        with (self.home / ASKED).open("a") as f:
            f.write(f"{request.ticker}\n")
        if request.ticker in self._listed(SLOW):
            await asyncio.sleep(600)
        self.failing = set(self._listed(FAILING))
        async for answer in super().fetch(request):
            yield answer


def batch_job() -> dg.JobDefinition:
    """The batch job over the home that the environment names."""
    home = Path(os.environ[HOME])
    return build_defs(make_home(home, FaultyByFile(home=home))).resolve_job_def("batch")
